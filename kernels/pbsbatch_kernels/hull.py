"""Count the pixels of a mask's convex hull, in whole numbers.

A pixel stands for the middles of its four sides, half a pixel from its centre; the hull is that of all these points,
and a pixel belongs to it if its centre does, the border included. This is how scikit-image defines a convex image.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pbsbatch_kernels.jit import kernel

__all__ = ["hull_area"]

_FAR = 1 << 40


@kernel
def hull_area(spans: NDArray[np.int64], chain: NDArray[np.int64], edge: NDArray[np.int64]) -> int:
    """Return the hull's pixels, given the first and last set column of each row, first > last where there is none.

    The first and the last row must have pixels. Work space: chain (2 * rows + 1, 2), edge (rows,).
    """
    total = 0
    _left_edge(spans, 1, chain, edge)
    for row in range(len(spans)):
        total += 1 - edge[row]
    _left_edge(spans, -1, chain, edge)  # the right edge is the left edge of the mirrored mask
    for row in range(len(spans)):
        total -= edge[row]
    return total


@kernel
def _left_edge(spans: NDArray[np.int64], side: int, chain: NDArray[np.int64], edge: NDArray[np.int64]) -> None:
    """Write the first column inside the hull for each row; side -1 mirrors the columns.

    Corners are in half pixels: row r is line 2 r; the lines between rows hold upper and lower sides.
    """
    rows = len(spans)
    n = 0
    for line in range(-1, 2 * rows):
        x = _FAR
        for row in range(max(line >> 1, 0), min((line + 3) >> 1, rows)):  # one row, or the two beside the line
            if spans[row, 0] <= spans[row, 1]:
                column = spans[row, 0] if side > 0 else -spans[row, 1]
                x = min(x, 2 * column - 1 + (line & 1))
        if x == _FAR:
            continue
        while n > 1:
            dx, dy = chain[n - 1, 0] - chain[n - 2, 0], chain[n - 1, 1] - chain[n - 2, 1]
            if dx * (line - chain[n - 2, 1]) < (x - chain[n - 2, 0]) * dy:
                break
            n -= 1
        chain[n, 0], chain[n, 1] = x, line
        n += 1
    k = 0
    for row in range(rows):
        while chain[k + 1, 1] < 2 * row:
            k += 1
        dx, dy = chain[k + 1, 0] - chain[k, 0], chain[k + 1, 1] - chain[k, 1]
        # the least column whose centre is not left of the edge: the quotient rounded up
        edge[row] = -(-(chain[k, 0] * dy + dx * (2 * row - chain[k, 1])) // (2 * dy))
