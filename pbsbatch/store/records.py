"""What goes into a store and what is known of it afterwards. Every column of its tables is named here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pbsbatch.detections import SECOND, UNTYPED

__all__ = [
    "CELL_COLUMNS",
    "SECOND_COLUMNS",
    "SUMS",
    "TILE_FAILED",
    "TILE_OK",
    "UNTYPED",
    "BlockRows",
    "CommittedInfo",
    "Measure",
    "Preview",
    "StoreHeader",
    "TileRows",
]

TILE_OK: Final = 0
TILE_FAILED: Final = 1

JSON = Any
Measure = Callable[[Iterator[Mapping[str, NDArray[Any]]], "TileRows"], Mapping[str, JSON]]
"""What is to be said of a slide in its store's attributes: from its cells, chunk by chunk, and its tiles."""

CELL_COLUMNS: Final[Mapping[str, str]] = {
    "id": "int32", "x0": "float32", "y0": "float32", "x1": "float32", "y1": "float32", "score": "float32",
    "class": "uint8", "type": "uint8", "type_score": "float32", "area_px": "int32",
}  # fmt: skip
SECOND_COLUMNS: Final[Mapping[str, str]] = {name: SECOND[name].name for name in SECOND.names or ()}
"""There only where the run asked for a second opinion."""


@dataclass(frozen=True, slots=True)
class StoreHeader:
    """What settling needs to know of a slide. Law: chosen before the work, the same for every attempt."""

    slide_id: str
    width: int  # level-0 px
    height: int
    mpp: float | None
    classes: tuple[str, ...]
    strips: int
    band_px: float  # the seam band, level-0 px
    types: tuple[str, ...] = ()  # what the column `type` indexes; none where no cell is given a type
    attributes: Mapping[str, JSON] = field(default_factory=dict)  # "pbsbatch" in the store's root attributes
    second_types: tuple[str, ...] = ()  # what `second_type` indexes; none where no second opinion was asked

    def __post_init__(self) -> None:
        if min(self.width, self.height) < 1 or self.strips < 0 or self.band_px < 0:
            raise ValueError(f"a store cannot have this size: {self}")
        if not self.slide_id or self.slide_id.startswith(".") or "/" in self.slide_id:
            raise ValueError(f"a slide id must be a plain file name, not {self.slide_id!r}")
        if "store" in self.attributes:
            raise ValueError("the attribute 'store' is the store's own")

    def to_json(self) -> str:
        """Return the header as JSON, always the same text for the same header."""
        said = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "second_types" or self.second_types}
        return json.dumps(said, sort_keys=True, allow_nan=False)

    @property
    def columns(self) -> Mapping[str, str]:
        """Return the columns of its table of cells with their types."""
        return {**CELL_COLUMNS, **SECOND_COLUMNS} if self.second_types else CELL_COLUMNS


SUMS: Final = (
    "samples", "bare", "bare_r", "bare_g", "bare_b", "laplace", "laplace2",
    "red", "touching", "overlapping", "sized", "diameter", "whole", "pale", "pallor", "edges", "slope",
    "points", "red_r", "red_g", "red_b", "failed",
)  # fmt: skip
"""What is summed over a block of a slide, in whole numbers so that it does not matter how tiles cut it.

samples: points of a lattice; bare: those outside every cell, and bare_*: their optical densities, 1/100; laplace,
laplace2: the Laplacian of green at the samples, and its square. red: red cells whose centre is there; touching,
overlapping: those that do it to another; sized: those that the slide's edge does not cut, and diameter: of their
boxes, 1/100 work px; whole: those that nothing overlaps or cuts. Of the whole ones, pale: how many have a paler
centre; pallor: the share of the rim's density that their centre lacks, 1/1000; edges, slope: profiles through their
rims, and how steep these are, 1/1000 per work px; points, red_*: points within them, and their densities.
failed: tiles that could not be read.
"""


@dataclass(frozen=True, slots=True)
class BlockRows:
    """Sums over parts of the blocks of a slide. Blocks lie on a grid of their own, whatever the tiles.

    Law: the sums of all parts of a block are those of the whole block.
    """

    at: NDArray[np.int32]  # (N, 2) column and row in the slide's grid of blocks
    box: NDArray[np.float64]  # (N, 4) x0, y0, x1, y1 of the part, in level-0 px
    area: NDArray[np.float64]  # (N,) level-0 px
    sums: NDArray[np.int64]  # (N, len(SUMS))

    def __len__(self) -> int:
        return len(self.area)

    def __post_init__(self) -> None:
        n = len(self.area)
        for name, shape, dtype in _BLOCK_FIELDS:
            array = getattr(self, name)
            if array.shape != (n, *shape) or array.dtype != np.dtype(dtype):
                raise ValueError(f"BlockRows.{name} is {array.dtype} {array.shape}, not {dtype} {(n, *shape)}")

    def __getitem__(self, name: str) -> NDArray[np.int64]:
        """Return one of SUMS by its name."""
        column: NDArray[np.int64] = self.sums[:, SUMS.index(name)]
        return column

    @classmethod
    def empty(cls) -> BlockRows:
        """Return no blocks."""
        return cls(**{name: np.zeros((0, *shape), dtype) for name, shape, dtype in _BLOCK_FIELDS})

    @classmethod
    def concat(cls, parts: Sequence[BlockRows]) -> BlockRows:
        """Return the parts of all, in the order given."""
        if not parts:
            return cls.empty()
        return cls(**{name: np.concatenate([getattr(p, name) for p in parts]) for name, _, _ in _BLOCK_FIELDS})

    def in_order(self) -> BlockRows:
        """Return the same parts by row, column, and place."""
        order = np.lexsort((self.box[:, 0], self.box[:, 1], self.at[:, 0], self.at[:, 1]))
        return BlockRows(**{name: getattr(self, name)[order] for name, _, _ in _BLOCK_FIELDS})

    def merged(self) -> BlockRows:
        """Return whole blocks: the sums of their parts, and the box around them."""
        if not len(self):
            return self
        rows = self.in_order()
        first = np.flatnonzero(np.any(np.diff(rows.at, axis=0, prepend=rows.at[:1] - 1), axis=1))
        low, high = np.minimum.reduceat(rows.box, first), np.maximum.reduceat(rows.box, first)
        return BlockRows(
            at=rows.at[first], box=np.concatenate([low[:, :2], high[:, 2:]], axis=1),
            area=np.add.reduceat(rows.area, first), sums=np.add.reduceat(rows.sums, first),
        )  # fmt: skip


_BLOCK_FIELDS: Final = (
    ("at", (2,), "int32"), ("box", (4,), "float64"), ("area", (), "float64"), ("sums", (len(SUMS),), "int64"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TileRows:
    """The tiles of a strip, one row each, and what their pixels say. A column is added here and nowhere else.

    What was not measured is not a number: the quality of a failed tile, the pallor of one without whole cells.
    """

    core: NDArray[np.float64] = field(metadata={"dtype": "float64", "width": 4})  # x0, y0, x1, y1 in level-0 px
    status: NDArray[np.uint8] = field(metadata={"dtype": "uint8"})  # TILE_OK or TILE_FAILED
    n_cells: NDArray[np.int32] = field(metadata={"dtype": "int32"})  # cells the tile owns
    focus: NDArray[np.float32] = field(metadata={"dtype": "float32"})  # variance of green's Laplacian at half size
    edge_px: NDArray[np.float32] = field(metadata={"dtype": "float32"})  # width of whole red cells' rims, work px
    rbc_per_mpx: NDArray[np.float32] = field(metadata={"dtype": "float32"})  # red cells per 1e6 level-0 px
    covered: NDArray[np.float32] = field(metadata={"dtype": "float32"})  # share of the core that lies in cells
    overlap: NDArray[np.float32] = field(metadata={"dtype": "float32"})  # share of red cells that touch another
    pallor: NDArray[np.float32] = field(metadata={"dtype": "float32"})  # share of whole ones with a paler centre
    glass_od: NDArray[np.float32] = field(metadata={"dtype": "float32"})  # density of green outside of cells
    rbc_od: NDArray[np.float32] = field(metadata={"dtype": "float32"})  # the same within whole red cells
    blocks: BlockRows = field(default_factory=BlockRows.empty)

    def __len__(self) -> int:
        return len(self.status)

    def __post_init__(self) -> None:
        n = len(self.status)
        for f in self.columns():
            array, shape = getattr(self, f.name), (n, 4) if "width" in f.metadata else (n,)
            if array.shape != shape or array.dtype != np.dtype(f.metadata["dtype"]):
                raise ValueError(f"TileRows.{f.name} is {array.dtype} {array.shape}, not {f.metadata['dtype']} {shape}")

    @classmethod
    def columns(cls) -> tuple[Field[Any], ...]:
        """Return the fields that hold one value for each tile."""
        return tuple(f for f in fields(cls) if f.metadata)

    @classmethod
    def plain(cls, core: NDArray[np.float64], status: NDArray[np.uint8], n_cells: NDArray[np.int32]) -> TileRows:
        """Return tiles of whose quality nothing is known."""
        given: dict[str, Any] = {f.name: np.full(len(status), np.nan, np.float32) for f in cls.columns()}
        return cls(**given | {"core": core, "status": status, "n_cells": n_cells})

    @classmethod
    def empty(cls) -> TileRows:
        """Return no tiles."""
        return cls.plain(np.zeros((0, 4)), np.zeros(0, np.uint8), np.zeros(0, np.int32))

    @classmethod
    def concat(cls, parts: Sequence[TileRows]) -> TileRows:
        """Return the tiles of all parts, in the order given."""
        if not parts:
            return cls.empty()
        columns = {f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in cls.columns()}
        return cls(**columns, blocks=BlockRows.concat([p.blocks for p in parts]))

    def take(self, index: NDArray[np.integer[Any]]) -> TileRows:
        """Return the chosen tiles in the order of index; all blocks stay."""
        return TileRows(**{f.name: getattr(self, f.name)[index] for f in self.columns()}, blocks=self.blocks)

    def by_column(self) -> dict[str, NDArray[Any]]:
        """Return the columns by name, the core as four."""
        corners = dict(zip(("x0", "y0", "x1", "y1"), self.core.T, strict=True))
        return corners | {f.name: getattr(self, f.name) for f in self.columns() if f.name != "core"}

    @classmethod
    def from_columns(cls, columns: Mapping[str, NDArray[Any]], blocks: BlockRows) -> TileRows:
        """Return the tiles whose columns, of any type that holds the values, are given by name."""
        core = np.stack([columns[n] for n in ("x0", "y0", "x1", "y1")], axis=1)
        given = {"core": core, **columns}
        return cls(**{f.name: given[f.name].astype(f.metadata["dtype"]) for f in cls.columns()}, blocks=blocks)

    @property
    def areas(self) -> NDArray[np.float64]:
        """Return the cores' areas in level-0 pixels."""
        sizes: NDArray[np.float64] = np.clip(self.core[:, 2:] - self.core[:, :2], 0, None).prod(axis=1)
        return sizes


@dataclass(frozen=True, slots=True)
class Preview:
    """A small picture of the whole slide and level-0 pixels per pixel of it."""

    pixels: NDArray[np.uint8]  # (H, W, 3)
    downsample: float

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or self.pixels.shape[2] != 3 or self.pixels.dtype != np.uint8 or not self.pixels.size:
            raise ValueError(f"a preview is uint8 (H, W, 3), not {self.pixels.dtype} {self.pixels.shape}")
        if not self.downsample > 0:
            raise ValueError(f"a preview's downsample must be positive, not {self.downsample}")


@dataclass(frozen=True)
class CommittedInfo:
    """What a published store says of itself in its root attributes."""

    key: str
    path: Path
    cells: int
    counts: Mapping[str, int]  # per class name
    tiles_ok: int
    tiles_failed: int
    area_ok_px: float  # sum of the cores' areas in level-0 px, by status
    area_failed_px: float
    seam_candidates: int  # views within the band of a tile border
    seam_joined: int  # views that another view stands for
    measures: Mapping[str, JSON] = field(default_factory=dict)  # what commit's `measure` said

    @property
    def analysed_fraction(self) -> float:
        """Return the analysed part of the area that was to be analysed; 0 where there was none."""
        total = self.area_ok_px + self.area_failed_px
        return self.area_ok_px / total if total else 0.0
