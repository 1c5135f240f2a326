"""Write the tables of a store: its cells in the order of their ids, and its tiles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbsbatch import ngff
from pbsbatch.detections import DISAGREE, LOW_MARGIN
from pbsbatch.store.records import SUMS, TILE_FAILED, TILE_OK, UNTYPED, BlockRows, StoreHeader, TileRows
from pbsbatch.store.settle import Seams, in_order
from pbsbatch.store.strips import Strip

__all__ = ["Numbered", "read_cells", "read_tiles", "write_cells", "write_tiles"]

_CHUNK = 1 << 16  # at most: a small table is one chunk of its own size
_SHARD = 1 << 22
HELD_ROWS = 1 << 16
"""Up to so many cells, what was just written is not read back: that was a fifth of the work of settling a field."""
_BLOCK_COLUMNS = ("column", "row", "x0", "y0", "x1", "y1", "area")


@dataclass(frozen=True, slots=True)
class Numbered:
    """The id of every cell of every strip, 0 where it was dropped, and the counts per class."""

    ids: tuple[NDArray[np.int32], ...]
    counts: tuple[int, ...]
    table: Mapping[str, NDArray[Any]] | None = None  # a small slide's, as read_cells would give it


def write_cells(path: Path, header: StoreHeader, strips: Sequence[Strip], seams: Seams) -> Numbered:
    """Stream the table of cells and give the ids 1..N."""
    attributes = {
        "classes": list(header.classes), "types": list(header.types), "untyped": UNTYPED, "unit": "level-0 px",
        "order": "id is 1..N by y0, x0, y1, x1, class, -score", "boxes": "x0, y0, x1, y1: half-open corners",
    }  # fmt: skip
    if header.second_types:
        flags = {"disagree": DISAGREE, "low_margin": LOW_MARGIN}
        attributes |= {"second_types": list(header.second_types), "second_flags": flags}
    ngff.write_group(path, attributes)
    total = seams.cells
    writers = {n: ngff.RowWriter(path / n, _spec((total,), t)) for n, t in header.columns.items()}
    ids = tuple(np.zeros(s.cells, np.int32) for s in strips)
    counts = np.zeros(len(header.classes), np.int64)
    given = 0
    held: list[NDArray[Any]] = []
    try:
        for cells in in_order(strips, seams, asked=bool(header.second_types)):
            if total <= HELD_ROWS:
                held.append(cells)
            numbers = np.arange(given + 1, given + 1 + len(cells), dtype=np.int32)
            given += len(cells)
            for k in np.unique(cells["strip"]):
                mine = cells["strip"] == k
                ids[k][cells["row"][mine]] = numbers[mine]
            counts += np.bincount(cells["class"], minlength=len(counts))
            for name, writer in writers.items():
                writer.append(numbers if name == "id" else cells[name])
        for writer in writers.values():
            writer.finish()
    finally:
        for writer in writers.values():
            writer.abandon()
    return Numbered(ids, tuple(counts.tolist()), _table(held, header))


def _table(held: list[NDArray[Any]], header: StoreHeader) -> Mapping[str, NDArray[Any]] | None:
    if not held:
        return None
    rows = np.concatenate(held)
    return {name: np.ascontiguousarray(rows[name]) for name in header.columns if name != "id"}


def read_cells(path: Path, names: Iterable[str], rows: int = 1 << 18) -> Iterator[dict[str, NDArray[Any]]]:
    """Yield these columns of the table of cells in its order, some rows at a time, but for the id, which is the row."""
    columns = {name: ngff.open_array(path / name) for name in names if name != "id"}
    for start in range(0, columns["score"].shape[0], rows):
        yield {name: np.asarray(column[start : start + rows]) for name, column in columns.items()}


def write_tiles(path: Path, tiles: TileRows) -> None:
    """Write tiles, in the order of the strips, and below them blocks: one array, because each more costs two files."""
    columns, blocks = tiles.by_column(), tiles.blocks.merged()
    attributes = {
        "columns": list(columns), "unit": "level-0 px", "status": {"ok": TILE_OK, "failed": TILE_FAILED},
        "tiles": len(tiles), "blocks": len(blocks), "block_columns": [*_BLOCK_COLUMNS, *SUMS],
    }  # fmt: skip
    ngff.write_group(path, attributes)
    width = max(len(columns), len(_BLOCK_COLUMNS) + len(SUMS))
    table = np.full((len(tiles) + len(blocks), width), np.nan)
    table[: len(tiles), : len(columns)] = np.stack([values.astype(np.float64) for values in columns.values()], axis=1)
    sums = np.concatenate([blocks.at, blocks.box, blocks.area[:, None], blocks.sums], axis=1)
    table[len(tiles) :, : sums.shape[1]] = sums
    ngff.write_array(path / "table", _spec(table.shape, "float64"), table)


def read_tiles(path: Path) -> TileRows:
    """Return what write_tiles wrote."""
    about = ngff.read_attributes(path)
    table = np.asarray(ngff.open_array(path / "table")[:])
    tiles, sums = table[: about["tiles"]], table[about["tiles"] :]
    blocks = BlockRows(
        sums[:, :2].astype(np.int32), sums[:, 2:6].copy(), sums[:, 6].copy(),
        np.rint(sums[:, 7 : 7 + len(SUMS)]).astype(np.int64),
    )  # fmt: skip
    return TileRows.from_columns(dict(zip(about["columns"], tiles.T, strict=False)), blocks)


def _spec(shape: tuple[int, ...], dtype: str) -> ngff.ArraySpec:
    rows = min(_CHUNK, max(1, shape[0]))
    chunk = (rows, *shape[1:])
    shard = (min(_SHARD, max(1, -(-shape[0] // rows)) * rows), *shape[1:])
    return ngff.ArraySpec(shape, chunk, shard, dtype, separator=".")
