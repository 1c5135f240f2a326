"""The smear map: what the blocks of a slide say, as a grid that the page colours.

Law: a figure is that of whole blocks as the store has them; what was not measured is null, never a number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbsbatch.quality import figures_of
from pbsbatch.quality.zones import ZONES, zones_of
from pbsbatch.store import BlockRows

__all__ = ["FIGURES", "smear_map"]

FIGURES: Mapping[str, tuple[str, str]] = {
    "rbc_per_mpx": ("density", "red cells per megapixel"),
    "covered": ("covered", "share of the area that lies in cells"),
    "overlap": ("overlap", "share of red cells that touch another"),
    "pallor": ("pallor", "share of lone red cells that are paler in their centre"),
    "focus": ("focus", "variance of green's Laplacian: higher is sharper"),
    "edge_px": ("blur", "width of red cells' rims in work px: higher is less sharp"),
}
"""By the names of figures_of: what the page calls them, and what they are."""


def smear_map(blocks: BlockRows) -> dict[str, Any]:
    """Return the grid of blocks in level-0 pixels and each figure over it, row by row."""
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
    figures.append({"name": "zones", "meaning": "", "names": ZONES, "values": _laid_out(at, shape, zones)})
    failed = blocks["failed"] > 0
    if failed.any():
        values = np.where(failed, 1.0, np.nan)
        figures.append({"name": "unread", "meaning": "could not be read", "low": 0, "high": 1,
                        "values": _laid_out(at, shape, values)})  # fmt: skip
    return {
        "columns": _edges(at[:, 0], blocks.box[:, 0], blocks.box[:, 2], shape[1]),
        "rows": _edges(at[:, 1], blocks.box[:, 1], blocks.box[:, 3], shape[0]), "figures": figures,
    }  # fmt: skip


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
