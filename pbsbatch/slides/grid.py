"""The work grid: reading any slide at any scale, and its thumbnail, from nothing but `levels` and `read`.

Law: a pixel depends on its absolute position on the grid alone; any split into regions gives the same bits. That
makes the split below for bounded memory invisible.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pbsbatch.errors import TileError
from pbsbatch.geometry import Box, Level
from pbsbatch_kernels.resample import area_taps, linear_taps, resample, shrink_whole

__all__ = ["Readable", "exact_levels", "level_for", "read_scaled", "thumbnail"]

SAME = 1e-6  # ratios closer than this are one: 0.2 px over 200,000
SOURCE_PX = 1 << 24  # at most this many source pixels in memory at once (48 MB)
UNREADABLE = (128, 128, 128)
SALVAGE = 5  # a thumbnail around a bad tile is tried in parts down to 1/32 of its side


class Readable(Protocol):
    """What read_scaled needs of a slide."""

    @property
    def levels(self) -> tuple[Level, ...]: ...
    @property
    def background(self) -> tuple[int, int, int]: ...
    def read(self, level: int, x: int, y: int, w: int, h: int) -> NDArray[np.uint8]: ...


def exact_levels(sizes: tuple[tuple[int, int], ...]) -> tuple[Level, ...]:
    """Return levels with exact downsamples.

    Writers halve and round odd sizes down or up, so 37 px out of 300 is a downsample of 8, not 8.108: a whole number
    that explains both sides within a pixel is the truth. Otherwise the longer side, where rounding weighs least, tells.
    """
    w0, h0 = sizes[0]
    levels = []
    for index, (w, h) in enumerate(sizes):
        whole = round((w0 + h0) / (w + h))
        fits = whole > 0 and abs(w - w0 / whole) <= 1 and abs(h - h0 / whole) <= 1
        exact = float(whole) if fits else (w0 / w if w0 >= h0 else h0 / h)
        levels.append(Level(index, w, h, exact))
    return tuple(levels)


def level_for(levels: tuple[Level, ...], scale: float) -> Level:
    """Return the coarsest level that is at least as fine as scale; level 0 where none is."""
    return max((v for v in levels if v.downsample <= scale * (1 + SAME)), key=lambda v: v.downsample, default=levels[0])


def read_scaled(slide: Readable, scale: float, x: int, y: int, w: int, h: int) -> NDArray[np.uint8]:
    """Return (h, w, 3) RGB of work pixels: area means when shrinking, linear when enlarging, a copy when equal."""
    if not (math.isfinite(scale) and scale > 0) or w < 0 or h < 0:
        raise ValueError(f"not a region on a work grid: scale {scale}, size {w} x {h}")
    if not (w and h):
        return np.empty((h, w, 3), np.uint8)
    return _scaled(slide, level_for(slide.levels, scale), scale, Box(x, y, w, h))


def thumbnail(slide: Readable, max_px: int) -> tuple[NDArray[np.uint8], float]:
    """Return the whole slide with its longer side at most max_px, never enlarged, and its scale.

    One bad tile must not cost the slide its overview: what cannot be read is grey, so that people see the hole and a
    plan does not take it for bare glass. Raises TileError where nothing at all can be read.
    """
    full = slide.levels[0]
    scale = max(1.0, max(full.width, full.height) / max(1, max_px))
    w, h = (max(1, round(side / scale)) for side in (full.width, full.height))
    out = np.full((h, w, 3), UNREADABLE[0], np.uint8)
    failed: list[TileError] = []
    if not _salvage(slide, scale, Box(0, 0, w, h), out, failed, SALVAGE):
        raise failed[0]
    return out, scale


def _salvage(
    slide: Readable, scale: float, box: Box, out: NDArray[np.uint8], failed: list[TileError], depth: int
) -> bool:
    """Fill what can be read of a box, in ever smaller quarters where it fails; say whether anything could."""
    try:
        out[box.y : box.y1, box.x : box.x1] = read_scaled(slide, scale, box.x, box.y, box.w, box.h)
        return True
    except TileError as error:
        failed.append(error)
    if depth == 0 or box.area == 1:
        return False
    x, y = box.x + (box.w + 1) // 2, box.y + (box.h + 1) // 2
    columns, rows = ((box.x, x), (x, box.x1)), ((box.y, y), (y, box.y1))
    quarters = [Box.between(x0, y0, x1, y1) for y0, y1 in rows for x0, x1 in columns]
    read = [_salvage(slide, scale, q, out, failed, depth - 1) for q in quarters if q.area]
    return any(read)


def _scaled(slide: Readable, level: Level, scale: float, box: Box) -> NDArray[np.uint8]:
    ratio = scale / level.downsample
    if ratio * ratio * box.area > SOURCE_PX and box.area > 1:
        return _halves(slide, level, scale, box)
    whole = round(ratio)
    if abs(ratio - 1) <= SAME:
        return _read(slide, level, box)
    out = np.empty((box.h, box.w, 3), np.uint8)
    if whole >= 2 and abs(ratio - whole) <= SAME * ratio:
        source = _read(slide, level, Box(box.x * whole, box.y * whole, box.w * whole, box.h * whole))
        shrink_whole(source, whole, out)
        return out
    x_from, x_size, x_starts, x_weights = _taps(ratio, box.x, box.w)
    y_from, y_size, y_starts, y_weights = _taps(ratio, box.y, box.h)
    source = _read(slide, level, Box(x_from, y_from, x_size, y_size))
    resample(source, x_starts, x_weights, y_starts, y_weights, out)
    return out


def _halves(slide: Readable, level: Level, scale: float, box: Box) -> NDArray[np.uint8]:
    """Return the same bits from two reads of half the size, for bounded memory."""
    out = np.empty((box.h, box.w, 3), np.uint8)
    if box.h >= box.w:
        cut = box.h // 2
        out[:cut] = _scaled(slide, level, scale, Box(box.x, box.y, box.w, cut))
        out[cut:] = _scaled(slide, level, scale, Box(box.x, box.y + cut, box.w, box.h - cut))
    else:
        cut = box.w // 2
        out[:, :cut] = _scaled(slide, level, scale, Box(box.x, box.y, cut, box.h))
        out[:, cut:] = _scaled(slide, level, scale, Box(box.x + cut, box.y, box.w - cut, box.h))
    return out


def _read(slide: Readable, level: Level, box: Box) -> NDArray[np.uint8]:
    """Return a contiguous, writable read: each other kind of array would compile the kernels once more."""
    return np.require(slide.read(level.index, box.x, box.y, box.w, box.h), np.uint8, ["C", "W"])


def _taps(ratio: float, first: int, count: int) -> tuple[int, int, NDArray[np.int32], NDArray[np.int32]]:
    """Return the source interval (from, size) that output pixels need on one axis, with starts and weights."""
    if ratio > 1:
        fill, width = area_taps, math.ceil(ratio) + 1
        lo, hi = math.floor(first * ratio), math.ceil((first + count) * ratio)
    else:
        fill, width = linear_taps, 2
        lo = math.floor((first + 0.5) * ratio - 0.5)
        hi = math.floor((first + count - 0.5) * ratio - 0.5) + 2
    starts, weights = np.empty(count, np.int32), np.empty((count, width), np.int32)
    fill(ratio, first, count, lo, starts, weights)
    return lo, hi - lo, starts, weights
