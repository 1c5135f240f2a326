"""Which cells touch or overlap others, from their boxes: each cell stands for the ellipse within its box."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pbsbatch_kernels.jit import kernel

__all__ = ["ALIKE", "OTHERS", "OVER_ALIKE", "OVER_OTHERS", "touching"]

ALIKE, OTHERS, OVER_ALIKE, OVER_OTHERS = 1, 2, 4, 8
"""bits: touches a cell of its own class, of another class; overlaps one of its own class, of another class"""


def touching(boxes: NDArray[np.floating], classes: NDArray[np.uint8], near: float, over: float) -> NDArray[np.uint8]:
    """Return for each cell (x0, y0, x1, y1) which kinds of cells it touches and overlaps.

    Law: two cells touch where the distance of their centres is less than `near` times the sum of their radii towards
    each other, and overlap where it is less than `over` times that, over <= near. It does not depend on the order of
    cells, nor on cells further away.
    """
    if not 0 <= over <= near:
        raise ValueError(f"cells that overlap must be nearer than those that touch: {over} and {near}")
    if boxes.shape != (len(classes), 4) or not np.isfinite(boxes).all():
        raise ValueError(f"boxes must be finite, ({len(classes)}, 4), not {boxes.shape}")
    if not len(boxes):
        return np.zeros(0, np.uint8)
    return _touching(np.ascontiguousarray(boxes, np.float64), np.ascontiguousarray(classes), near, over)


@kernel
def _touching(boxes: NDArray[np.float64], classes: NDArray[np.uint8], near: float, over: float) -> NDArray[np.uint8]:
    n = len(boxes)
    largest, left, top, right, bottom = 1.0, np.inf, np.inf, -np.inf, -np.inf
    for i in range(n):
        largest = max(largest, boxes[i, 2] - boxes[i, 0], boxes[i, 3] - boxes[i, 1])
        x, y = (boxes[i, 0] + boxes[i, 2]) / 2, (boxes[i, 1] + boxes[i, 3]) / 2
        left, right, top, bottom = min(left, x), max(right, x), min(top, y), max(bottom, y)
    # no two that touch are two bins apart, and there are never many more bins than cells
    side = max(largest * max(1.0, near) * 1.001, math.sqrt((right - left) * (bottom - top) / (4.0 * n + 64.0)))
    side = max(side, (right - left) / (4.0 * n + 64.0), (bottom - top) / (4.0 * n + 64.0))
    across, down = int((right - left) / side) + 1, int((bottom - top) / side) + 1
    start = np.zeros(across * down + 1, np.int64)
    which = np.empty(n, np.int64)
    for i in range(n):
        x, y = (boxes[i, 0] + boxes[i, 2]) / 2, (boxes[i, 1] + boxes[i, 3]) / 2
        which[i] = int((y - top) / side) * across + int((x - left) / side)
        start[which[i] + 1] += 1
    for k in range(across * down):
        start[k + 1] += start[k]
    fill = start[:-1].copy()
    order = np.empty(n, np.int64)
    for i in range(n):
        order[fill[which[i]]] = i
        fill[which[i]] += 1
    out = np.zeros(n, np.uint8)
    for i in range(n):
        row, col = which[i] // across, which[i] % across
        xi, yi = (boxes[i, 0] + boxes[i, 2]) / 2, (boxes[i, 1] + boxes[i, 3]) / 2
        ai, bi = max((boxes[i, 2] - boxes[i, 0]) / 2, 1e-3), max((boxes[i, 3] - boxes[i, 1]) / 2, 1e-3)
        for v in range(max(0, row - 1), min(down, row + 2)):
            first, last = v * across + max(0, col - 1), v * across + min(across - 1, col + 1)
            for p in range(start[first], start[last + 1]):
                j = order[p]
                if j <= i:
                    continue
                dx = (boxes[j, 0] + boxes[j, 2]) / 2 - xi
                dy = (boxes[j, 1] + boxes[j, 3]) / 2 - yi
                aj, bj = max((boxes[j, 2] - boxes[j, 0]) / 2, 1e-3), max((boxes[j, 3] - boxes[j, 1]) / 2, 1e-3)
                qi = math.sqrt((dx / ai) * (dx / ai) + (dy / bi) * (dy / bi))  # distance in radii of cell i
                qj = math.sqrt((dx / aj) * (dx / aj) + (dy / bj) * (dy / bj))
                radii = 1.0 / qi + 1.0 / qj if qi > 0.0 and qj > 0.0 else np.inf  # as shares of the distance
                kind = 0
                if near * radii > 1.0:
                    kind |= ALIKE if classes[i] == classes[j] else OTHERS
                if over * radii > 1.0:
                    kind |= OVER_ALIKE if classes[i] == classes[j] else OVER_OTHERS
                out[i] |= kind
                out[j] |= kind
    return out
