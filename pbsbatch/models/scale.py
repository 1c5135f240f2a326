"""Estimate um per pixel from the one ruler every smear carries: a red cell is 7.2 um wide.

Law: the estimate depends on the slide alone; None where too few cells can be measured. It sets a model's scale
and never a unit in a result.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pbsbatch.errors import TileError
from pbsbatch.geometry import Box
from pbsbatch.models.classical_colour import Thresholds, colour_planes, histogram, thresholds
from pbsbatch.models.classical_parts import Mask
from pbsbatch.models.survey import WINDOW_PX, windows_of
from pbsbatch.slides.base import Slide
from pbsbatch_kernels.peaks import local_maxima

__all__ = ["BIN", "RED_CELL_UM", "ScaleEstimate", "commonest", "diameters_px", "estimate_mpp"]

RED_CELL_UM = 7.2
"""Mean diameter of a red cell on a dried smear."""

SMALLEST_PX, LARGEST_PX = 11.0, 260.0
"""Diameters that are looked for: cells of 14 to 200 px, and what varies about them."""

OUTLINE_TO_CELL = 1.04
DISC_TO_CELL = 1.14
"""The threshold lies inside a blurred border, and a disc inside a cell that is not round: measured against labelled
fields of three laboratories (whose boxes are loose) and drawn ones (whose boxes are exact), the middle of both."""

MIN_CELLS = 2
MIN_ROUNDNESS = 0.82  # 4 pi area / perimeter^2; two touching discs have about 0.6
MAX_ASPECT = 1.45
BIN = 0.08  # of ln diameter: width of the bins among which the commonest size is sought


@dataclass(frozen=True, slots=True)
class ScaleEstimate:
    """um per level-0 pixel; confidence 0..1 grows with the number of cells and shrinks with their spread."""

    mpp: float
    confidence: float
    n_cells: int


def estimate_mpp(slide: Slide) -> ScaleEstimate | None:
    """Measure the red cells of a few windows; None where fewer than MIN_CELLS can be measured."""
    windows = list(_windows(slide))
    joint = np.zeros((256, 256), np.int64)
    for pixels in windows:
        joint += histogram(pixels)
    t = thresholds(joint)
    found = np.concatenate([np.zeros(0), *(diameters_px(pixels, t) for pixels in windows)])
    return _from_diameters(found)


def diameters_px(pixels: NDArray[np.uint8], t: Thresholds) -> NDArray[np.float64]:
    """Return the diameters of unstained round things: by area where one stands alone, else by the discs inside.

    Discs are taken where red cells touch or overlap: few fields hold three cells that stand alone.
    """
    planes = colour_planes(np.asarray(cv2.GaussianBlur(pixels, (5, 5), 0), np.uint8))
    mask = (planes["green"] > t.cell).astype(np.uint8)
    mask[[0, -1], :] = 0
    mask[:, [0, -1]] = 0
    found, tree = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    contours = [np.asarray(c, np.int32) for c in found]
    parents: list[int] = [] if tree is None else tree[0][:, 3].tolist()
    crowd = np.zeros(mask.shape, np.uint8)
    sizes = []
    for contour, parent in zip(contours, parents, strict=True):
        if parent >= 0:
            continue
        x, y, w, h = cv2.boundingRect(contour)
        if min(w, h) < SMALLEST_PX:
            continue
        cut = x < 2 or y < 2 or x + w > mask.shape[1] - 2 or y + h > mask.shape[0] - 2
        diameter = 0.0 if cut or max(w, h) > LARGEST_PX else _round_diameter(contour)
        if not diameter:
            cv2.drawContours(crowd, [contour], -1, 1, -1)
        elif not _is_stained(contour, (x, y, w, h), planes, t):
            sizes.append(diameter)
    for contour, parent in zip(contours, parents, strict=True):
        if parent >= 0 and not _is_round_hole(contour):
            cv2.drawContours(crowd, [contour], -1, 0, -1)
    stained = (planes["stain"] > t.stain) & (crowd > 0)
    return np.array(sizes + _disc_diameters(crowd, stained), np.float64)


def _is_round_hole(contour: NDArray[np.int32]) -> bool:
    """Tell a pale centre from the gap between cells, whose sides are hollow."""
    hull = max(float(cv2.contourArea(cv2.convexHull(contour))), 1.0)
    return len(contour) < 8 or float(cv2.contourArea(contour)) / hull > 0.8


def _disc_diameters(crowd: Mask, stained: NDArray[np.bool_]) -> list[float]:
    """Return the diameters of the largest discs that fit into a crowd of cells, away from stained ones."""
    depth = np.asarray(cv2.distanceTransform(crowd, cv2.DIST_L2, 5), np.float32)
    away = np.asarray(cv2.distanceTransform(1 - stained.astype(np.uint8), cv2.DIST_L2, 5), np.float32)
    peaks = local_maxima(depth, 3, SMALLEST_PX / 2)
    if not len(peaks):
        return []
    coarse = commonest(2 * depth[peaks[:, 0], peaks[:, 1]].astype(np.float64))
    peaks = local_maxima(depth, max(3, int(0.35 * coarse)), SMALLEST_PX / 2)
    r = depth[peaks[:, 0], peaks[:, 1]]
    y, x = peaks[:, 0], peaks[:, 1]
    rows, cols = crowd.shape
    whole = (y - r > 2) & (x - r > 2) & (y + r < rows - 3) & (x + r < cols - 3) & (2 * r < LARGEST_PX)
    return [float(v) for v in DISC_TO_CELL * (2 * r[whole & (away[y, x] > r)] - 1)]


def _windows(slide: Slide) -> Iterator[NDArray[np.uint8]]:
    """Yield level-0 windows: a small field whole, else up to 16 of twice the survey's width."""
    level = slide.levels[0]
    whole = Box(0, 0, level.width, level.height)
    thumbnail, downsample = slide.thumbnail(1024)
    for box in windows_of(thumbnail, downsample, whole):
        wide = box if box == whole else box.grow(WINDOW_PX // 2).intersect(whole)
        with contextlib.suppress(TileError):  # a damaged window measures nothing; the others do
            yield slide.read(0, wide.x, wide.y, wide.w, wide.h)


def _round_diameter(contour: NDArray[np.int32]) -> float:
    """Return the diameter of the circle of the same area, 0 where the outline is not round."""
    # the outline runs through pixel centres: half a pixel all around is added back
    area, around = cv2.contourArea(contour), cv2.arcLength(cv2.convexHull(contour), True)
    full = area + around / 2 + 1
    _, (a, b), _ = cv2.minAreaRect(contour)
    longer = around + np.pi
    solid = area / max(cv2.contourArea(cv2.convexHull(contour)), 1.0)
    if solid < 0.92 or 4 * np.pi * full / longer**2 < MIN_ROUNDNESS or max(a, b) > MAX_ASPECT * max(min(a, b), 1.0):
        return 0.0
    return float(OUTLINE_TO_CELL * 2 * np.sqrt(full / np.pi))


def _is_stained(
    contour: NDArray[np.int32], box: tuple[int, int, int, int], planes: dict[str, Mask], t: Thresholds
) -> bool:
    x, y, w, h = box
    inside = np.zeros((h, w), np.uint8)
    cv2.drawContours(inside, [contour], -1, 1, -1, offset=(-x, -y))
    dense = (inside > 0) & (planes["green"][y : y + h, x : x + w] > t.cell)
    stained = planes["stain"][y : y + h, x : x + w][dense] > t.stain
    return bool(stained.mean() > 0.15) if stained.size else True


def commonest(found: NDArray[np.float64]) -> float:
    """Return the diameter whose neighbourhood covers most area: specks are many but small, clumps large but few."""
    log = np.sort(np.log(found))
    total = np.concatenate([[0.0], np.cumsum(np.exp(2 * log))])
    support = total[np.searchsorted(log, log + 2 * BIN)] - total[np.searchsorted(log, log - 2 * BIN)]
    return float(np.exp(log[int(np.argmax(support))]))


def _from_diameters(found: NDArray[np.float64]) -> ScaleEstimate | None:
    if len(found) < MIN_CELLS:
        return None
    near = found[np.abs(np.log(found / commonest(found))) < 3 * BIN]
    if len(near) < MIN_CELLS:
        return None
    median = float(np.median(near))
    spread = float(np.median(np.abs(near - median))) / median
    share = float((near**2).sum() / (found**2).sum())
    confidence = share * min(1.0, len(near) / 12) * max(0.0, 1 - 3 * spread)
    return ScaleEstimate(RED_CELL_UM / median, round(min(1.0, confidence), 3), len(near))
