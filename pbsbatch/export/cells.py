"""Stream the cells of a store with their outlines, some at a time, in the order of their ids.

Laws. Every cell comes once. An outline is that of the cell's pixels in the label image; a cell that others cover
whole has the rectangle of its box, and says so. Memory is bounded by the window, not by the slide or its cells.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbsbatch.store import StoredSlide
from pbsbatch_kernels.masks import cut
from pbsbatch_kernels.polygons import trace

__all__ = ["Cells", "joined", "stream"]

ROWS = 1 << 16
"""Rows of the table that are read at a time: one chunk of it."""
BAND_PX, WINDOW_PX = 1024, 4096
"""Labels are read in windows of about this height and width: whole chunks of theirs."""
ROOM = 0.25
"""A mask may lie outside its box by this share of the box; what a model fills stays within a sixteenth."""


@dataclass(frozen=True, slots=True)
class Cells:
    """Some cells in the order of their ids."""

    columns: Mapping[str, NDArray[Any]]
    points: NDArray[np.floating[Any]]  # (V, 2) x, y of all outlines, clockwise, the first not repeated
    starts: NDArray[np.int64]  # (N + 1,) where each outline begins
    covered: NDArray[np.bool_]  # (N,) no pixel of it shows: the outline is its box

    def __len__(self) -> int:
        return len(self.covered)

    def outline(self, i: int) -> NDArray[np.floating[Any]]:
        """Return the outline (V, 2) of one cell."""
        return self.points[self.starts[i] : self.starts[i + 1]]


def stream(slide: StoredSlide) -> Iterator[Cells]:
    """Yield all cells of a slide with their outlines."""
    for first in range(0, slide.info.cells, ROWS):
        columns = slide.rows(first, min(first + ROWS, slide.info.cells))
        band = (columns["y0"] // BAND_PX).astype(np.int64)  # ids run by y0, so that bands are stretches of rows
        edges = [0, *(np.flatnonzero(np.diff(band)) + 1).tolist(), len(band)]
        for start, end in pairwise(edges):
            yield _outlined(slide, {name: values[start:end] for name, values in columns.items()})


def joined(
    columns: Mapping[str, NDArray[Any]], outlines: Sequence[NDArray[np.floating[Any]]], covered: NDArray[np.bool_]
) -> Cells:
    """Return cells with these outlines, one for each row."""
    starts = np.concatenate([[0], np.cumsum([len(one) for one in outlines])]).astype(np.int64)
    points = np.concatenate(outlines) if outlines else np.zeros((0, 2), np.float32)
    return Cells(columns, points, starts, covered)


def _outlined(slide: StoredSlide, columns: Mapping[str, NDArray[Any]]) -> Cells:
    """Trace the outlines of one band, window by window, and put them back into the order of ids."""
    outlines: dict[int, NDArray[np.float32]] = {}
    window = (columns["x0"] // WINDOW_PX).astype(np.int64)
    for w in np.unique(window):
        rows = np.flatnonzero(window == w)
        outlines |= dict(zip(rows.tolist(), _traced(slide, columns, rows), strict=True))
    covered = np.array([len(outlines[i]) == 0 for i in range(len(window))], np.bool_)
    return joined(columns, [_box(columns, i) if covered[i] else outlines[i] for i in range(len(window))], covered)


def _traced(
    slide: StoredSlide, columns: Mapping[str, NDArray[Any]], rows: NDArray[np.intp]
) -> list[NDArray[np.float32]]:
    """Return the outlines of cells that lie in one window."""
    boxes = np.stack([columns[name][rows] for name in ("x0", "y0", "x1", "y1")], axis=1)
    room = math.ceil(ROOM * float((boxes[:, 2:] - boxes[:, :2]).max())) + 1
    labels = slide.labels(0)
    x0, y0 = (max(0, math.floor(v) - room) for v in boxes[:, :2].min(0).tolist())
    x1, y1 = boxes[:, 2:].max(0).tolist()
    x1, y1 = min(labels.width, math.ceil(x1) + room), min(labels.height, math.ceil(y1) + room)
    ids = columns["id"][rows]
    first, last = int(ids.min()), int(ids.max())
    bits, offsets, windows = cut(labels.read(x0, y0, x1 - x0, y1 - y0), first, last - first + 1)
    mine = ids - first
    windows = windows[mine] + np.array([x0, y0, 0, 0], np.int32)
    sizes = np.diff(offsets)[mine]
    at = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    chosen = np.concatenate([bits[offsets[i] : offsets[i + 1]] for i in mine]) if len(mine) else bits[:0]
    points, starts = trace(chosen, at, windows)
    return [points[starts[i] : starts[i + 1]] for i in range(len(mine))]


def _box(columns: Mapping[str, NDArray[Any]], i: int) -> NDArray[np.float32]:
    x0, y0, x1, y1 = (float(columns[name][i]) for name in ("x0", "y0", "x1", "y1"))
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float32)
