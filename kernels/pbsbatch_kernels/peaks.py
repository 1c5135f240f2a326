"""Find the centres of round things on a distance map, each decision within a bounded reach."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pbsbatch_kernels.jit import kernel

__all__ = ["local_maxima", "unmerged", "votes"]


@kernel
def local_maxima(height: NDArray[np.float32], reach: int, floor: float) -> NDArray[np.int32]:
    """Return (N, 2) y, x in raster order of the maxima within a square of half-width reach.

    Law: a pixel is a maximum if no other pixel of the square is higher, nor equal and earlier in raster order.
    """
    rows, cols = height.shape
    out = np.empty((1024, 2), np.int32)
    n = 0
    for y in range(rows):
        for x in range(cols):
            here = height[y, x]
            if here < floor:
                continue
            # the four neighbours refuse nearly every pixel before the square is walked
            if x > 0 and height[y, x - 1] >= here:
                continue
            if y > 0 and height[y - 1, x] >= here:
                continue
            if x + 1 < cols and height[y, x + 1] > here:
                continue
            if y + 1 < rows and height[y + 1, x] > here:
                continue
            top = True
            for v in range(max(0, y - reach), min(rows, y + reach + 1)):
                for u in range(max(0, x - reach), min(cols, x + reach + 1)):
                    other = height[v, u]
                    if other > here or (other == here and (v < y or (v == y and u < x))):
                        top = False
                        break
                if not top:
                    break
            if top:
                if n == len(out):
                    grown = np.empty((2 * n, 2), np.int32)
                    grown[:n] = out
                    out = grown
                out[n, 0] = y
                out[n, 1] = x
                n += 1
    return out[:n]


@kernel
def _saddle(height: NDArray[np.float32], y0: int, x0: int, y1: int, x1: int) -> float:
    """Return the lowest height met on the straight line between two pixels."""
    steps = max(abs(y1 - y0), abs(x1 - x0))
    lowest = np.inf
    for s in range(steps + 1):
        # round half up in integers, so that the line does not depend on where the origin is
        y = y0 + (2 * (y1 - y0) * s + steps) // (2 * steps)
        x = x0 + (2 * (x1 - x0) * s + steps) // (2 * steps)
        lowest = min(lowest, height[y, x])
    return lowest


@kernel
def unmerged(height: NDArray[np.float32], peaks: NDArray[np.int32], reach: float, ratio: float) -> NDArray[np.bool_]:
    """Say which peaks stand for a thing of their own.

    Law: a peak falls if a higher one (ties: earlier in raster order) lies within reach and the saddle between them
    is at least ratio of the lower peak. Whether the higher peak stands itself is not asked, so that no decision travels
    further than reach.
    """
    n = len(peaks)
    stands = np.ones(n, np.bool_)
    for i in range(n):
        y, x = peaks[i]
        here = height[y, x]
        for step in (-1, 1):
            j = i + step
            while 0 <= j < n and abs(peaks[j, 0] - y) <= reach:
                v, u = peaks[j]
                other = height[v, u]
                gap = float((v - y) * (v - y) + (u - x) * (u - x))
                higher = other > here or (other == here and j < i)
                if higher and gap <= reach * reach and _saddle(height, y, x, v, u) >= ratio * here:
                    stands[i] = False
                    break
                j += step
            if not stands[i]:
                break
    return stands


@kernel
def votes(
    mask: NDArray[np.uint8],
    mute: NDArray[np.uint8],
    gx: NDArray[np.int16],
    gy: NDArray[np.int16],
    nearest: int,
    furthest: int,
) -> NDArray[np.int32]:
    """Return how many border pixels of the mask point at each pixel from nearest .. furthest away.

    Law: (gx, gy) points into the mask; steps are rounded before they are added, so the origin does not matter.
    """
    rows, cols = mask.shape
    out = np.zeros((rows, cols), np.int32)
    for y in range(1, rows - 1):
        for x in range(1, cols - 1):
            if mask[y, x] == 0 or mute[y, x]:
                continue
            if mask[y, x - 1] and mask[y, x + 1] and mask[y - 1, x] and mask[y + 1, x]:
                continue
            dx = float(gx[y, x])
            dy = float(gy[y, x])
            norm = np.sqrt(dx * dx + dy * dy)
            if norm == 0.0:
                continue
            for r in range(nearest, furthest + 1):
                u = x + int(np.floor(r * dx / norm + 0.5))
                v = y + int(np.floor(r * dy / norm + 0.5))
                if 0 <= u < cols and 0 <= v < rows:
                    out[v, u] += 1
    return out
