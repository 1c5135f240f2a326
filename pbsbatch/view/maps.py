"""The smear map: what the blocks of a slide say, as a grid that the page colours.

Laws. A figure is that of whole blocks as the store has them; what was not measured is null, never a number. A cell's
type counts for the block that holds the centre of its box.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbsbatch.colours import ZONE_COLOURS
from pbsbatch.quality import figures_of
from pbsbatch.quality.zones import ZONES, zones_of
from pbsbatch.store import BlockRows

__all__ = ["FIGURES", "TypesSeen", "smear_map"]

FIGURES: Mapping[str, tuple[str, str]] = {
    "rbc_per_mpx": ("density", "red cells per megapixel"),
    "covered": ("covered", "share of the area that lies in cells"),
    "overlap": ("overlap", "share of red cells that touch another"),
    "pallor": ("pallor", "share of lone red cells that are paler in their centre"),
    "focus": ("focus", "variance of green's Laplacian: higher is sharper"),
    "edge_px": ("blur", "width of red cells' rims in work px: higher is less sharp"),
}
"""By the names of figures_of: what the page calls them, and what they are."""


class TypesSeen:
    """How many cells of each type lie in each block. Cells that have none are passed over."""

    def __init__(self, blocks: BlockRows, types: int) -> None:
        at, shape = blocks.at, (0, 0)
        if len(blocks):
            at = at - at.min(axis=0)
            shape = (int(at[:, 1].max()) + 1, int(at[:, 0].max()) + 1)
        self.counts = np.zeros((types, *shape), np.int32)
        self._columns = _edges(at[:, 0], blocks.box[:, 0], blocks.box[:, 2], shape[1])
        self._rows = _edges(at[:, 1], blocks.box[:, 1], blocks.box[:, 3], shape[0])

    def add(self, types: NDArray[np.uint8], x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
        """Count cells by the centres of their boxes."""
        column, row = _place(x, self._columns), _place(y, self._rows)
        told = (types < len(self.counts)) & (column >= 0) & (row >= 0)
        np.add.at(self.counts, (types[told], row[told], column[told]), 1)


def smear_map(
    blocks: BlockRows, seen: NDArray[np.int32] | None = None, types: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the grid of blocks in level-0 pixels and each figure over it, row by row.

    seen: of TypesSeen; types: the names of the types with their colours.
    """
    if not len(blocks):
        return {"columns": [], "rows": [], "figures": []}
    at = blocks.at - blocks.at.min(axis=0)
    shape = (int(at[:, 1].max()) + 1, int(at[:, 0].max()) + 1)
    figures = []
    for name, values in figures_of(blocks.sums, blocks.area).items():
        if name in FIGURES and np.isfinite(values).any():
            title, meaning = FIGURES[name]
            low, high = np.quantile(values[np.isfinite(values)], [0.02, 0.98])
            figures.append({
                "name": title, "meaning": meaning, "low": _short(low), "high": _short(high),
                "values": _laid_out(at, shape, values),
            })  # fmt: skip
    zones = zones_of(blocks).astype(np.float64)
    figures.append({
        "name": "zones", "meaning": "", "names": ZONES, "colours": [ZONE_COLOURS[name] for name in ZONES],
        "values": _laid_out(at, shape, zones),
    })  # fmt: skip
    if seen is not None and seen.any():
        figures.append(_types(seen, types or {}))
    failed = blocks["failed"] > 0
    if failed.any():
        values = np.where(failed, 1.0, np.nan)
        figures.append({"name": "unread", "meaning": "could not be read", "low": 0, "high": 1,
                        "values": _laid_out(at, shape, values)})  # fmt: skip
    return {
        "columns": _edges(at[:, 0], blocks.box[:, 0], blocks.box[:, 2], shape[1]),
        "rows": _edges(at[:, 1], blocks.box[:, 1], blocks.box[:, 3], shape[0]), "figures": figures,
    }  # fmt: skip


def _types(seen: NDArray[np.int32], types: Mapping[str, str]) -> dict[str, Any]:
    """Return the map of the most frequent type in each block; of equals the first."""
    most, some = seen.argmax(axis=0).ravel().tolist(), seen.any(axis=0).ravel().tolist()
    return {
        "name": "type", "meaning": "the most frequent type of white cells", "names": list(types),
        "colours": list(types.values()), "counts": seen.sum(axis=(1, 2)).tolist(),
        "values": [kind if any_ else None for kind, any_ in zip(most, some, strict=True)],
    }  # fmt: skip


def _place(values: NDArray[np.float64], edges: list[list[float] | None]) -> NDArray[np.int64]:
    """Return in which column (or row) of blocks coordinates lie, -1 where in none."""
    known = np.array([i for i, pair in enumerate(edges) if pair is not None], np.int64)
    low, high = np.array([pair for pair in edges if pair is not None], np.float64).reshape(-1, 2).T
    at = np.searchsorted(low, values, side="right") - 1
    inside = (at >= 0) & (values < np.append(high, -np.inf)[at])
    return np.where(inside, np.append(known, -1)[at], -1)


def _laid_out(at: NDArray[np.int32], shape: tuple[int, int], values: NDArray[np.float64]) -> list[float | None]:
    grid: list[float | None] = [None] * (shape[0] * shape[1])
    for (column, row), value in zip(at.tolist(), values.tolist(), strict=True):
        if np.isfinite(value):
            grid[row * shape[1] + column] = _short(value)
    return grid


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _edges(
    at: NDArray[np.int32], low: NDArray[np.float64], high: NDArray[np.float64], count: int
) -> list[list[float] | None]:
    """Return from where to where each column (or row) of blocks lies; of one without blocks, None."""
    first, last = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(first, at, low)
    np.maximum.at(last, at, high)
    return [[a, b] if b > a else None for a, b in zip(first.tolist(), last.tolist(), strict=True)]
