"""Look at a slide once, before its tiles: where cells may be, and the colours of a few windows.

Law: what is read depends on the slide and the scale alone, never on tiles, order or workers; at most
MAX_WINDOWS reads of WINDOW_PX squared pixels and one thumbnail.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from pbsbatch.errors import TileError, UnreadableSlideError
from pbsbatch.geometry import Box
from pbsbatch.models.base import Survey
from pbsbatch.models.classical_colour import DENSITY, add_colours, glass_rgb
from pbsbatch.slides.base import Slide

__all__ = ["MAX_WINDOWS", "WINDOW_PX", "survey", "tissue_mask", "windows_of"]

WINDOW_PX = 512
MAX_WINDOWS = 16
N_PALEST = 2
"""windows spent on the palest part of a slide, so that glass is seen even on a slide that is thick nearly everywhere"""

THUMBNAIL_STEP = 16
"""work pixels per thumbnail pixel: 4 um, so that a lone platelet still stands out from glass"""

MAX_THUMBNAIL_PX = 4096
HALF_CELL_PX = 52
"""work pixels by which the map of cells is widened: half the largest cell and a rounding"""

MIN_DIFFERENCE = 3
"""8-bit levels from glass below which a thumbnail pixel is noise"""


def survey(slide: Slide, scale: float) -> Survey:
    """Read the thumbnail and the windows of a slide; a small field is its own window."""
    whole = Box(0, 0, math.ceil(slide.levels[0].width / scale), math.ceil(slide.levels[0].height / scale))
    max_px = min(MAX_THUMBNAIL_PX, max(1, math.ceil(max(whole.w, whole.h) / THUMBNAIL_STEP)))
    try:
        thumbnail, downsample = slide.thumbnail(max_px)
    except TileError as error:
        raise _unreadable(slide, error) from error
    windows = windows_of(thumbnail, downsample / scale, whole)
    joint = np.zeros((256, 256), np.int64)
    colours = np.zeros((3, 256), np.int64)
    for pixels in _readable(slide, scale, windows):
        add_colours(pixels, joint, colours)
    background = glass_rgb(joint, colours)
    reach = max(1, math.ceil(HALF_CELL_PX * scale / downsample))
    return Survey(thumbnail, downsample, background, tissue_mask(thumbnail, background, widen=reach), windows, joint)


def _readable(slide: Slide, scale: float, windows: tuple[Box, ...]) -> Iterator[NDArray[np.uint8]]:
    """Yield the windows' pixels block by block; a damaged block is left out, and fails the slide only if all are."""
    faults: list[TileError] = []
    blocks = [block for box in windows for block in _blocks(box)]
    for block in blocks:
        try:
            yield slide.read_scaled(scale, block.x, block.y, block.w, block.h)
        except TileError as error:
            faults.append(error)
    if len(faults) == len(blocks):
        raise _unreadable(slide, faults[0])


def _unreadable(slide: Slide, error: TileError) -> UnreadableSlideError:
    cure = "Copy the slide again from its source"
    return UnreadableSlideError(f"nothing of it can be read: {error.what}", path=slide.path, cure=cure)


def _blocks(box: Box) -> Iterator[Box]:
    for y in range(box.y, box.y1, WINDOW_PX):
        for x in range(box.x, box.x1, WINDOW_PX):
            yield Box(x, y, WINDOW_PX, WINDOW_PX).intersect(box)


def tissue_mask(thumbnail: NDArray[np.uint8], background: tuple[int, int, int], widen: int = 2) -> NDArray[np.bool_]:
    """Say where cells may be. Law: a pixel that differs from glass by more than its noise is kept, and so is all within
    `widen` thumbnail pixels of one; where no glass is found everything is kept.
    """
    if not thumbnail.size:
        return np.zeros(thumbnail.shape[:2], np.bool_)
    away = np.abs(thumbnail.astype(np.int16) - np.array(background, np.int16)).max(2)
    quiet = away[away <= 4 * MIN_DIFFERENCE]
    if not quiet.size:
        return np.ones(thumbnail.shape[:2], np.bool_)
    noise = float(np.median(quiet))
    differs = (away > max(MIN_DIFFERENCE, min(2.5 * noise, 2 * MIN_DIFFERENCE))).astype(np.uint8)
    return np.asarray(cv2.dilate(differs, np.ones((2 * widen + 1, 2 * widen + 1), np.uint8)) > 0)


def windows_of(thumbnail: NDArray[np.uint8], step: float, whole: Box) -> tuple[Box, ...]:
    """Choose the windows (work pixels) on a slide of `whole` work pixels with `step` of them per thumbnail pixel.

    Law: a field no larger than all windows together is one window. Else blocks of middling density, spread over the
    slide in raster order, and the palest ones.
    """
    if whole.area <= MAX_WINDOWS * WINDOW_PX**2:
        return (whole,)
    rows, cols = math.ceil(whole.h / WINDOW_PX), math.ceil(whole.w / WINDOW_PX)
    density = cv2.LUT(np.ascontiguousarray(thumbnail[..., 1]), DENSITY).astype(np.float64)
    mean = np.full((rows, cols), np.nan)
    for r in range(rows):
        for c in range(cols):
            y0, x0 = int(r * WINDOW_PX / step), int(c * WINDOW_PX / step)
            y1, x1 = math.ceil((r + 1) * WINDOW_PX / step), math.ceil((c + 1) * WINDOW_PX / step)
            block = density[y0:y1, x0:x1]
            if block.size and block.max() > block.min():  # a constant block is fill, not glass
                mean[r, c] = block.mean()
    seen = np.flatnonzero(~np.isnan(mean))
    if not len(seen):
        seen = np.arange(mean.size)
        mean[:] = 0
    order = seen[np.argsort(mean.ravel()[seen], kind="stable")]
    palest, rest = order[:N_PALEST], order[N_PALEST:]
    covered = rest[mean.ravel()[rest] > mean.ravel()[order[0]] + 3]
    pool = (
        np.sort(covered[len(covered) // 5 : max(1, len(covered) - len(covered) // 5)]) if len(covered) else rest[::-1]
    )
    n = min(len(pool), MAX_WINDOWS - N_PALEST)
    chosen = pool[(np.arange(n) * len(pool)) // max(n, 1)] if len(covered) else pool[:n]
    picked = sorted({int(i) for i in (*palest, *chosen)})
    boxes = (Box((i % cols) * WINDOW_PX, (i // cols) * WINDOW_PX, WINDOW_PX, WINDOW_PX) for i in picked)
    return tuple(b.intersect(whole) for b in boxes)
