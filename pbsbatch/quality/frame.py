"""The counting frame: where on a slide cells are counted for a density, each of them once and without bias.

Law. A cell is counted where the right lower corner of its box lies. So each cell belongs to one place, whatever it
touches: a region counts the cells that touch its left or upper border, and not those that touch its right or lower one,
also where the region is a union of blocks (Gundersen 1977). A cell that the slide's right or lower edge cuts has its
corner beyond, and is never counted; one that the left or upper edge cuts is counted if enough of it can be seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pbsbatch import rules
from pbsbatch.quality.zones import EMPTY, MONOLAYER, UNSEEN
from pbsbatch.store import BlockRows

__all__ = ["Frame"]


@dataclass(frozen=True, slots=True)
class Frame:
    """The zones of a slide as a grid of blocks, and the blocks within which cells are counted. Level-0 pixels."""

    side: float
    inner: tuple[float, float, float, float]  # x0, y0, x1, y1: the slide without the borders where nothing is counted
    zones: NDArray[np.uint8]  # (rows, columns)
    counts: NDArray[np.bool_]  # (rows, columns)
    area: float  # of what counts

    @classmethod
    def of(
        cls, blocks: BlockRows, zones: NDArray[np.uint8], *, side: float, width: int, height: int, mpp: float
    ) -> Frame:
        """Return the frame over the monolayer of a slide. Where a tile failed, what reaches out of it was not seen."""
        rows, cols = (int(np.ceil(length / side)) for length in (height, width))
        grid = np.full((max(1, rows), max(1, cols)), EMPTY, np.uint8)
        grid[blocks.at[:, 1], blocks.at[:, 0]] = zones
        unseen = np.pad(grid == UNSEEN, ((1, 0), (1, 0)))
        counts = (grid == MONOLAYER) & ~(unseen[:-1, 1:] | unseen[1:, :-1] | unseen[:-1, :-1])
        near, far = rules.FRAME_NEAR_UM / mpp, rules.FRAME_FAR_UM / mpp
        inner = (near, near, width - far, height - far)
        within = np.clip(np.minimum(blocks.box[:, 2:], inner[2:]) - np.maximum(blocks.box[:, :2], inner[:2]), 0, None)
        whole = (blocks.box[:, 2:] - blocks.box[:, :2]).prod(axis=1)
        areas = blocks.area * within.prod(axis=1) / whole
        return cls(side, inner, grid, counts, float(areas[counts[blocks.at[:, 1], blocks.at[:, 0]]].sum()))

    def zone_at(self, x: NDArray[np.floating], y: NDArray[np.floating]) -> NDArray[np.uint8]:
        """Return the zones of points."""
        return np.asarray(self.zones[self._block(x, y)], np.uint8)

    def holds(self, x1: NDArray[np.floating], y1: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Say which cells are counted, from the right lower corners of their boxes."""
        left, top, right, bottom = self.inner
        inside: NDArray[np.bool_] = (x1 >= left) & (x1 < right) & (y1 >= top) & (y1 < bottom)
        return inside & self.counts[self._block(x1, y1)]

    def _block(self, x: NDArray[np.floating], y: NDArray[np.floating]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        rows, cols = self.zones.shape
        row, col = (np.floor(np.asarray(v, np.float64) / self.side).astype(np.intp) for v in (y, x))
        return np.clip(row, 0, rows - 1), np.clip(col, 0, cols - 1)
