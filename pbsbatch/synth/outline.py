"""Exact masks: boxes, label images and outlines of virtual cells.

Law: pixel (X, Y) lies in a cell if and only if its centre ((X + .5) mpp, (Y + .5) mpp) lies inside the
cell's outline. Picture, boxes, labels and polygons all ask `inside`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pbsbatch.synth.cells import DEBRIS, Cell, edge, reach
from pbsbatch.synth.jit import kernel

__all__ = ["boxes", "inside", "paint", "raster", "rings"]


@kernel
def inside(c: Cell, dx: float, dy: float) -> bool:
    """Say whether the point (dx, dy) um from the centre lies in the cell."""
    rho = math.sqrt(dx * dx + dy * dy)
    if rho < 0.3 * c.r:
        return True
    return rho < edge(c, dx, dy, rho)


@kernel
def _span(centre: float, half: float, mpp: float, low: int, high: int) -> tuple[int, int]:
    """Return the pixels whose centres can lie within half um of centre, cut to [low, high)."""
    first = int(np.floor((centre - half) / mpp - 0.5))
    last = int(np.ceil((centre + half) / mpp - 0.5))
    return max(low, first), min(high, last + 1)


@kernel
def boxes(cells: NDArray[np.void], mpp: float, width: int, height: int) -> NDArray[np.int32]:
    """Return (x0, y0, x1, y1, area) of each whole mask cut to the slide; area 0 where nothing is left."""
    out = np.zeros((cells.size, 5), np.int32)
    for i in range(cells.size):
        c = cells[i]
        if c.kind == DEBRIS:
            continue
        half = reach(c)
        xa, xb = _span(c.x, half, mpp, 0, width)
        ya, yb = _span(c.y, half, mpp, 0, height)
        x0, y0, x1, y1, area = width, height, 0, 0, 0
        for yy in range(ya, yb):
            dy = (yy + 0.5) * mpp - c.y
            for xx in range(xa, xb):
                if inside(c, (xx + 0.5) * mpp - c.x, dy):
                    area += 1
                    x0, x1 = min(x0, xx), max(x1, xx + 1)
                    y0, y1 = min(y0, yy), max(y1, yy + 1)
        if area > 0:
            out[i, 0], out[i, 1], out[i, 2], out[i, 3], out[i, 4] = x0, y0, x1, y1, area
    return out


@kernel
def paint(cells: NDArray[np.void], mpp: float, x: int, y: int, labels: NDArray[np.int32]) -> None:
    """Write the cells' ids into the label image of a region at (x, y), later cells over earlier ones."""
    h, w = labels.shape
    for i in range(cells.size):
        c = cells[i]
        if c.kind == DEBRIS:
            continue
        half = reach(c)
        xa, xb = _span(c.x, half, mpp, x, x + w)
        ya, yb = _span(c.y, half, mpp, y, y + h)
        for yy in range(ya, yb):
            dy = (yy + 0.5) * mpp - c.y
            for xx in range(xa, xb):
                if inside(c, (xx + 0.5) * mpp - c.x, dy):
                    labels[yy - y, xx - x] = c.id


@kernel
def raster(cells: NDArray[np.void], i: int, mpp: float, box: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return the mask of cell i within its box (x0, y0, x1, y1)."""
    c = cells[i]
    out = np.zeros((box[3] - box[1], box[2] - box[0]), np.bool_)
    for yy in range(box[1], box[3]):
        for xx in range(box[0], box[2]):
            out[yy - box[1], xx - box[0]] = inside(c, (xx + 0.5) * mpp - c.x, (yy + 0.5) * mpp - c.y)
    return out


@kernel
def _is(mask: NDArray[np.bool_], x: int, y: int) -> bool:
    return 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1] and bool(mask[y, x])


@kernel
def _walk(mask: NDArray[np.bool_], x: int, y: int, seen: NDArray[np.bool_], out: NDArray[np.int32]) -> int:
    """Follow the pixel edges around the mask from the top left corner of (x, y), mask on the right; return corners.

    Corners go to out as (x, y); where two pixels touch at a corner only, the walk keeps them together.
    """
    px, py, dx, dy = x, y, 1, 0
    n = 0
    while True:
        if dx == 1:
            if seen[py, px]:
                return n
            seen[py, px] = True
        px, py = px + dx, py + dy
        # the two pixels ahead: on the left and on the right of the direction of travel
        left = _is(mask, px + (dx + dy - 1) // 2, py + (dy - dx - 1) // 2)
        right = _is(mask, px + (dx - dy - 1) // 2, py + (dy + dx - 1) // 2)
        if left:
            dx, dy = dy, -dx
        elif not right:
            dx, dy = -dy, dx
        else:
            continue
        out[n, 0], out[n, 1] = px, py
        n += 1


@kernel
def rings(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the outlines of a mask without holes as (corners (N, 2) in x, y; ends of the rings).

    Law: an outline runs along pixel edges, so its shoelace area is the mask's pixel count.
    """
    h, w = mask.shape
    seen = np.zeros((h, w), np.bool_)
    out = np.empty((4 * mask.size + 8, 2), np.int32)
    ends = np.empty(mask.size + 1, np.int64)
    n = rings_n = 0
    for y in range(h):
        for x in range(w):
            if mask[y, x] and not seen[y, x] and not _is(mask, x, y - 1):
                n += _walk(mask, x, y, seen, out[n:])
                ends[rings_n] = n
                rings_n += 1
    return out[:n].copy(), ends[:rings_n].copy()
