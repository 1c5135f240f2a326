"""Join the strips of a slide: settle the seams and give ids. Pure of writing.

Law: the result depends on the cells alone, not on which process wrote which strip, nor when.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbsbatch.detections import NEAR_BORDER, OWNED, SECOND, UNTYPED
from pbsbatch.store.records import TILE_OK, TileRows
from pbsbatch.store.strips import Strip
from pbsbatch_kernels import seams

__all__ = ["CELL", "Seams", "in_order", "settle_seams"]

CELL = np.dtype(
    [("x0", "f4"), ("y0", "f4"), ("x1", "f4"), ("y1", "f4"), ("score", "f4"), ("class", "u1"), ("area_px", "i4"),
     ("type", "u1"), ("type_score", "f4"), ("tile", "i4"), ("strip", "i4"), ("row", "i8")]
)  # fmt: skip
"""A cell without its mask, and where it came from."""
_ASKED = np.dtype([*CELL.descr, *SECOND.descr])
_COLUMNS = {
    "score": "scores", "class": "classes", "area_px": "areas", "type": "types", "type_score": "type_scores",
    "tile": "tiles",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Seams:
    """Which cells of each strip are kept, and what happened at the borders."""

    kept: tuple[NDArray[np.bool_], ...]
    candidates: int  # views within the band of a border
    joined: int  # views that another view stands for

    @property
    def cells(self) -> int:
        """Return how many cells the slide has."""
        return sum(int(k.sum()) for k in self.kept)


def settle_seams(strips: Sequence[Strip], tiles: TileRows, band_px: float) -> Seams:
    """Decide which cells are kept. Holds the slide's near-border cells without masks, and a bit per cell."""
    kept: list[NDArray[np.bool_]] = []
    near = [np.zeros(0, CELL)]
    owned = [np.zeros(0, np.bool_)]
    for k, strip in enumerate(strips):
        flags = strip.column("flags")
        rows = np.flatnonzero(flags & NEAR_BORDER)
        kept.append((flags & (OWNED | NEAR_BORDER)) == OWNED)
        near.append(_load(strip, k, rows))
        owned.append((flags[rows] & OWNED) != 0)
    views, own = np.concatenate(near), np.concatenate(owned)
    boxes = np.stack([views[n] for n in ("x0", "y0", "x1", "y1")], axis=1)
    keep, stands_for = seams.settle(boxes, views["score"], views["class"], views["tile"], own, band_px)
    # Two views that neither tile owns are one cell lost between them only if it lies in somebody's core:
    # beyond the region of interest it is nobody's.
    orphan = np.flatnonzero(keep & ~own)
    keep[orphan] = seams.covered(boxes[orphan], tiles.core[tiles.status == TILE_OK])
    for k, rows_kept in enumerate(kept):
        rows_kept[views["row"][keep & (views["strip"] == k)]] = True
    return Seams(tuple(kept), len(views), int(stands_for[keep].sum()))


def _load(strip: Strip, k: int, rows: NDArray[np.int64], *, asked: bool = False) -> NDArray[Any]:
    cells = np.zeros(len(rows), _ASKED if asked else CELL)
    boxes = strip.column("boxes")[rows]
    for i, name in enumerate(("x0", "y0", "x1", "y1")):
        cells[name] = boxes[:, i]
    for name, column in _COLUMNS.items():
        cells[name] = strip.column(column)[rows]
    cells["strip"], cells["row"] = k, rows
    if asked and strip.asked:
        for name in SECOND.names or ():
            cells[name] = strip.column(name)[rows]
    elif asked:  # a strip without white cells
        cells["second_type"] = UNTYPED
    return cells


def in_order(strips: Sequence[Strip], seams: Seams, *, asked: bool = False) -> Iterator[NDArray[Any]]:
    """Yield the kept cells in the order of their ids: (y0, x0, y1, x1, class, -score), then tile.

    asked: with what a second opinion said of each.

    Strips come in the order of their first cell; a cell waits until no later strip can hold one above
    it. So no more cells are held than two neighbouring strips have.
    """
    order = sorted(range(len(strips)), key=lambda k: (strips[k].first_y, k))
    waiting = np.zeros(0, _ASKED if asked else CELL)
    for n, k in enumerate(order):
        bound = strips[order[n + 1]].first_y if n + 1 < len(order) else np.inf
        waiting = np.concatenate([waiting, _load(strips[k], k, np.flatnonzero(seams.kept[k]), asked=asked)])
        waiting = waiting[_id_order(waiting)]
        ready = len(waiting) if bound == np.inf else int(np.searchsorted(waiting["y0"], bound, side="left"))
        if ready:
            yield waiting[:ready]
        waiting = waiting[ready:]


def _id_order(cells: NDArray[Any]) -> NDArray[np.intp]:
    last_to_first = ("row", "strip", "tile", "score", "class", "x1", "y1", "x0", "y0")
    return np.lexsort([-cells[n] if n == "score" else cells[n] for n in last_to_first])
