"""What the pixels of one tile say about the smear, summed over the blocks of the slide that it covers.

Coordinates are work pixels of the slide. Only a lattice of points and profiles through whole cells are looked at: a
tile of 2560 px costs a few milliseconds.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pbsbatch_kernels.jit import kernel

__all__ = ["CLEAR", "DARK", "LATTICE_PX", "OVERLAPS", "OWNED", "RED", "SUMMED", "TOUCHES", "UNCUT", "block_sums"]

RED, OWNED, UNCUT, CLEAR, TOUCHES, OVERLAPS = 1, 2, 4, 8, 16, 32
"""bits of a cell: a red cell; the tile's own; not cut by the slide's edge; overlapped by no cell of any kind; touches,
and overlaps another red cell"""
LATTICE_PX = 16
"""A point is looked at in the middle of each square of so many pixels; the sides of blocks are multiples of it."""
GROW_PX = 2.0
"""The soft rim around a cell, which is neither cell nor glass."""
DARK = 8.0
"""Density by which a rim stands out from what is around it, at least, to be a rim."""
SUMMED = (
    "samples", "bare", "bare_r", "bare_g", "bare_b", "laplace", "laplace2",
    "red", "touching", "overlapping", "sized", "diameter", "whole", "pale", "pallor", "edges", "slope",
    "points", "red_r", "red_g", "red_b",
)  # fmt: skip
_SAMPLES, _BARE, _BARE_R, _LAPLACE, _LAPLACE2 = 0, 1, 2, 5, 6
_RED, _TOUCHING, _OVERLAPPING, _SIZED, _DIAMETER = 7, 8, 9, 10, 11
_WHOLE, _PALE, _PALLOR, _EDGES, _SLOPE, _POINTS, _RED_R = 12, 13, 14, 15, 16, 17, 18
_WAYS = 8
_LONGEST = 128


@kernel
def block_sums(
    pixels: NDArray[np.uint8], corner: tuple[int, int], core: tuple[int, int, int, int], whole: tuple[int, int],
    side: int, boxes: NDArray[np.float64], bits: NDArray[np.uint8], density: NDArray[np.uint8], pale: float,
) -> NDArray[np.int64]:  # fmt: skip
    """Return (rows, columns, len(SUMMED)) sums over the blocks that the core touches.

    corner is where pixels begin, core x0, y0, x1, y1, whole the slide's size. Law: a sample, a cell belongs to one
    block and to the one tile whose core holds it, so that sums over tiles do not depend on how they are cut.
    """
    x0, y0, x1, y1 = core
    first_col, first_row = x0 // side, y0 // side
    out = np.zeros(((y1 - 1) // side - first_row + 1, (x1 - 1) // side - first_col + 1, len(SUMMED)), np.int64)
    _lattice(pixels, corner, core, whole, side, boxes, density, out)
    reading = np.zeros(6, np.float64)
    for i in range(len(boxes)):
        if bits[i] & (RED | OWNED) != (RED | OWNED):
            continue
        x, y = (boxes[i, 0] + boxes[i, 2]) / 2, (boxes[i, 1] + boxes[i, 3]) / 2
        row = min(max(int(y) // side - first_row, 0), out.shape[0] - 1)
        col = min(max(int(x) // side - first_col, 0), out.shape[1] - 1)
        sums = out[row, col]
        sums[_RED] += 1
        sums[_TOUCHING] += (bits[i] & TOUCHES) != 0
        sums[_OVERLAPPING] += (bits[i] & OVERLAPS) != 0
        if not bits[i] & UNCUT:
            continue
        sums[_SIZED] += 1
        sums[_DIAMETER] += int(50 * (boxes[i, 2] - boxes[i, 0] + boxes[i, 3] - boxes[i, 1]) + 0.5)
        if bits[i] & CLEAR and _profile(pixels, corner, boxes[i], density, reading):
            sums[_WHOLE] += 1
            sums[_PALE] += reading[0] >= pale
            sums[_PALLOR] += math.floor(1000 * min(1.0, max(-1.0, reading[0])) + 0.5)
            sums[_EDGES] += int(reading[1])
            sums[_SLOPE] += int(1000 * reading[2] + 0.5)
            sums[_POINTS] += 3 * _WAYS + 1
            for c in range(3):
                sums[_RED_R + c] += int(reading[3 + c])
    return out


@kernel
def _lattice(
    pixels: NDArray[np.uint8], corner: tuple[int, int], core: tuple[int, int, int, int], whole: tuple[int, int],
    side: int, boxes: NDArray[np.float64], density: NDArray[np.uint8], out: NDArray[np.int64],
) -> None:  # fmt: skip
    """Add what the points of the lattice say; points so near the slide's edge that the Laplacian leaves it are none."""
    x0, y0, x1, y1 = core
    half = LATTICE_PX // 2
    i0, j0 = (x0 + LATTICE_PX - half - 1) // LATTICE_PX, (y0 + LATTICE_PX - half - 1) // LATTICE_PX
    i1 = (min(x1, whole[0] - 3) + LATTICE_PX - half - 1) // LATTICE_PX
    j1 = (min(y1, whole[1] - 3) + LATTICE_PX - half - 1) // LATTICE_PX
    inside = np.zeros((max(0, j1 - j0), max(0, i1 - i0)), np.bool_)
    for n in range(len(boxes)):
        x, y = (boxes[n, 0] + boxes[n, 2]) / 2, (boxes[n, 1] + boxes[n, 3]) / 2
        a, b = (boxes[n, 2] - boxes[n, 0]) / 2 + GROW_PX, (boxes[n, 3] - boxes[n, 1]) / 2 + GROW_PX
        for j in range(max(j0, int((y - b) / LATTICE_PX) - 1), min(j1, int((y + b) / LATTICE_PX) + 2)):
            v = (j * LATTICE_PX + half + 0.5 - y) / b
            for i in range(max(i0, int((x - a) / LATTICE_PX) - 1), min(i1, int((x + a) / LATTICE_PX) + 2)):
                u = (i * LATTICE_PX + half + 0.5 - x) / a
                if u * u + v * v < 1.0:
                    inside[j - j0, i - i0] = True
    first_col, first_row = x0 // side, y0 // side
    for j in range(j0, j1):
        y = j * LATTICE_PX + half - corner[1]
        row = (j * LATTICE_PX + half) // side - first_row
        for i in range(i0, i1):
            x = i * LATTICE_PX + half - corner[0]
            sums = out[row, (i * LATTICE_PX + half) // side - first_col]
            sums[_SAMPLES] += 1
            if not inside[j - j0, i - i0]:
                sums[_BARE] += 1
                for c in range(3):
                    sums[_BARE_R + c] += density[pixels[y, x, c]]
            lap = _four(pixels, y - 2, x) + _four(pixels, y + 2, x) + _four(pixels, y, x - 2) + _four(pixels, y, x + 2)
            lap -= 4 * _four(pixels, y, x)
            sums[_LAPLACE] += lap
            sums[_LAPLACE2] += lap * lap


@kernel
def _four(pixels: NDArray[np.uint8], y: int, x: int) -> np.int64:
    """Return the sum of green over 2 x 2 pixels."""
    upper = np.int64(pixels[y, x, 1]) + np.int64(pixels[y, x + 1, 1])
    return np.int64(upper + np.int64(pixels[y + 1, x, 1]) + np.int64(pixels[y + 1, x + 1, 1]))


@kernel
def _profile(
    pixels: NDArray[np.uint8], corner: tuple[int, int], box: NDArray[np.float64], density: NDArray[np.uint8],
    reading: NDArray[np.float64],
) -> bool:  # fmt: skip
    """Read a whole cell: how much paler its centre is, its edges, sums of their slopes and of densities; say if it can.

    The pallor is the share of the rim's density over glass that the centre lacks.
    """
    height, width = pixels.shape[:2]
    x, y = (box[0] + box[2]) / 2 - corner[0], (box[1] + box[3]) / 2 - corner[1]
    a, b = (box[2] - box[0]) / 2, (box[3] - box[1]) / 2
    far = 1.4 * max(a, b) + 2.0
    if min(a, b) < 3.0 or x < far or y < far or x > width - far or y > height - far or far > _LONGEST:
        return False
    centre = float(density[pixels[int(y), int(x), 1]])
    for c in range(3):
        reading[3 + c] = density[pixels[int(y), int(x), c]]
    rim, around, edges, slope = 0.0, 0.0, 0, 0.0
    line = np.empty(_LONGEST, np.float64)
    for way in range(_WAYS):
        cos, sin = math.cos(way * 2.0 * math.pi / _WAYS), math.sin(way * 2.0 * math.pi / _WAYS)
        radius = 1.0 / math.sqrt((cos / a) * (cos / a) + (sin / b) * (sin / b))
        for part in (0.22, 0.62, 0.75):
            v, u = int(y + part * radius * sin), int(x + part * radius * cos)
            for c in range(3):
                reading[3 + c] += density[pixels[v, u, c]]
            if part < 0.5:
                centre += density[pixels[v, u, 1]]
            else:
                rim += density[pixels[v, u, 1]]
        steps = min(_LONGEST, int(0.75 * radius) + 1)
        low, high = 255.0, 0.0
        for k in range(steps):
            t = 0.62 * radius + k
            line[k] = density[pixels[int(y + t * sin), int(x + t * cos), 1]]
            low, high = min(low, line[k]), max(high, line[k])
        around += low
        steepest = 0.0
        for k in range(steps - 2):
            steepest = max(steepest, line[k] - line[k + 2])
        if high - low >= DARK:
            edges += 1
            slope += steepest / (2.0 * (high - low))
    centre, rim, around = centre / (_WAYS + 1), rim / (2 * _WAYS), around / _WAYS
    reading[0] = (rim - centre) / (rim - around) if rim - around >= DARK else 0.0
    reading[1], reading[2] = edges, slope
    return True
