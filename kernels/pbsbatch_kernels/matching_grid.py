"""A grid over the truths of one image and class, so that a detection meets its neighbours only."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pbsbatch_kernels.jit import kernel

__all__ = ["WORTH_IT", "Grid", "grid", "no_grid", "window"]

WORTH_IT = 48
"""With fewer truths, comparing with each of them is faster."""
LARGE = 4.0
"""A truth whose side exceeds the mean by this factor is compared with every detection: one would spoil the grid."""


class Grid(NamedTuple):
    """Truths by the cell of their first corner. Law: cell c holds the sorted truths [heads[c], heads[c + 1]); the last
    entry of all holds the large ones. There are at most about four cells for each truth.
    """

    x: float
    y: float
    columns_per_px: float
    rows_per_px: float
    columns: int
    rows: int
    widest: float
    tallest: float
    heads: NDArray[np.int64]


@kernel
def no_grid(n: int) -> Grid:
    """Return a grid of no cells: each detection meets all n truths."""
    return Grid(0.0, 0.0, 0.0, 0.0, 0, 0, 0.0, 0.0, np.array([0, n], np.int64))


@kernel
def grid(boxes: NDArray[np.float64], who: NDArray[np.int64]) -> tuple[Grid, NDArray[np.int64]]:
    """Return the grid, and the truths `who` sorted by it."""
    n, mean = len(who), 0.0
    for g in who:
        mean += max(boxes[g, 2], boxes[g, 3]) / n
    wide, tall, left, top, right, bottom = 0.0, 0.0, np.inf, np.inf, -np.inf, -np.inf
    for g in who:
        if max(boxes[g, 2], boxes[g, 3]) <= LARGE * mean:
            wide, tall = max(wide, boxes[g, 2]), max(tall, boxes[g, 3])
            left, right = min(left, boxes[g, 0]), max(right, boxes[g, 0])
            top, bottom = min(top, boxes[g, 1]), max(bottom, boxes[g, 1])
    most = int(2.0 * np.sqrt(n)) + 1
    columns, rows = _lines(right - left, wide, most), _lines(bottom - top, tall, most)
    across = columns / (right - left) if right > left else 0.0
    down = rows / (bottom - top) if bottom > top else 0.0
    cells, heads = np.empty(n, np.int64), np.zeros(columns * rows + 2, np.int64)
    for k in range(n):
        g = who[k]
        cells[k] = columns * rows
        if max(boxes[g, 2], boxes[g, 3]) <= LARGE * mean:
            row = _place(boxes[g, 1], top, down, rows)
            cells[k] = row * columns + _place(boxes[g, 0], left, across, columns)
        heads[cells[k] + 1] += 1
    for c in range(1, len(heads)):
        heads[c] += heads[c - 1]
    next_, out = heads.copy(), np.empty(n, np.int64)
    for k in range(n):
        out[next_[cells[k]]] = who[k]
        next_[cells[k]] += 1
    return Grid(left, top, across, down, columns, rows, wide, tall, heads), out


@kernel
def window(of: Grid, box: tuple[float, float, float, float], reach: float) -> tuple[int, int, int, int]:
    """Return first and last column and row of the truths that may touch corners or lie within reach of them."""
    if of.rows == 0:
        return 0, 0, 0, -1
    # a little slack: corners are rounded, and far out a box is wider than its w by up to a part in 10^16 of x
    slack_x = reach + of.widest + 1e-12 * (abs(box[0]) + abs(box[2]) + of.widest + reach)
    slack_y = reach + of.tallest + 1e-12 * (abs(box[1]) + abs(box[3]) + of.tallest + reach)
    return (
        _place(box[0] - slack_x, of.x, of.columns_per_px, of.columns),
        _place(box[2] + slack_x, of.x, of.columns_per_px, of.columns),
        _place(box[1] - slack_y, of.y, of.rows_per_px, of.rows),
        _place(box[3] + slack_y, of.y, of.rows_per_px, of.rows),
    )


@kernel
def _lines(extent: float, side: float, most: int) -> int:
    if not extent > 0.0:
        return 1
    return most if extent >= side * most else int(extent / side) + 1


@kernel
def _place(x: float, origin: float, per_px: float, n: int) -> int:
    """Return the row or column of a coordinate; what lies outside belongs to the first or the last."""
    at = (x - origin) * per_px
    if not at > 0.0:
        return 0
    return n - 1 if at >= n else int(at)
