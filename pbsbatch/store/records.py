"""What goes into a store and what is known of it afterwards. Every column of its tables is named here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pbsbatch.detections import UNTYPED

__all__ = [
    "CELL_COLUMNS",
    "TILE_FAILED",
    "TILE_OK",
    "UNTYPED",
    "Committed",
    "CommittedInfo",
    "Preview",
    "StoreHeader",
    "TileRows",
]

TILE_OK: Final = 0
TILE_FAILED: Final = 1

JSON = Any

CELL_COLUMNS: Final[Mapping[str, str]] = {
    "id": "int32", "x0": "float32", "y0": "float32", "x1": "float32", "y1": "float32", "score": "float32",
    "class": "uint8", "type": "uint8", "type_score": "float32", "area_px": "int32",
}  # fmt: skip


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

    def __post_init__(self) -> None:
        if min(self.width, self.height) < 1 or self.strips < 0 or self.band_px < 0:
            raise ValueError(f"a store cannot have this size: {self}")
        if not self.slide_id or self.slide_id.startswith(".") or "/" in self.slide_id:
            raise ValueError(f"a slide id must be a plain file name, not {self.slide_id!r}")
        if "store" in self.attributes:
            raise ValueError("the attribute 'store' is the store's own")

    def to_json(self) -> str:
        """Return the header as JSON, always the same text for the same header."""
        return json.dumps(asdict(self), sort_keys=True, allow_nan=False)


@dataclass(frozen=True, slots=True)
class TileRows:
    """The tiles of a strip, one row each. A column is added here and nowhere else."""

    core: NDArray[np.float64] = field(metadata={"dtype": "float64", "width": 4})  # x0, y0, x1, y1 in level-0 px
    status: NDArray[np.uint8] = field(metadata={"dtype": "uint8"})  # TILE_OK or TILE_FAILED
    n_cells: NDArray[np.int32] = field(metadata={"dtype": "int32"})  # cells the tile owns
    focus: NDArray[np.float32] = field(metadata={"dtype": "float32"})

    def __len__(self) -> int:
        return len(self.status)

    def __post_init__(self) -> None:
        n = len(self.status)
        for f in fields(self):
            array, shape = getattr(self, f.name), (n, 4) if "width" in f.metadata else (n,)
            if array.shape != shape or array.dtype != np.dtype(f.metadata["dtype"]):
                raise ValueError(f"TileRows.{f.name} is {array.dtype} {array.shape}, not {f.metadata['dtype']} {shape}")

    @classmethod
    def empty(cls) -> TileRows:
        """Return no tiles."""
        return cls(
            **{f.name: np.zeros((0, 4) if "width" in f.metadata else 0, f.metadata["dtype"]) for f in fields(cls)}
        )

    @classmethod
    def concat(cls, parts: Sequence[TileRows]) -> TileRows:
        """Return the tiles of all parts, in the order given."""
        if not parts:
            return cls.empty()
        return cls(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)})

    def by_column(self) -> dict[str, NDArray[Any]]:
        """Return the columns by name, the core as four."""
        corners = dict(zip(("x0", "y0", "x1", "y1"), self.core.T, strict=True))
        return corners | {f.name: getattr(self, f.name) for f in fields(self) if f.name != "core"}

    @classmethod
    def from_columns(cls, columns: Mapping[str, NDArray[Any]]) -> TileRows:
        """Return the tiles whose columns, of any type that holds the values, are given by name."""
        core = np.stack([columns[n] for n in ("x0", "y0", "x1", "y1")], axis=1)
        given = {"core": core, **columns}
        return cls(**{f.name: given[f.name].astype(f.metadata["dtype"]) for f in fields(cls)})

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

    @property
    def analysed_fraction(self) -> float:
        """Return the analysed part of the area that was to be analysed; 0 where there was none."""
        total = self.area_ok_px + self.area_failed_px
        return self.area_ok_px / total if total else 0.0


@dataclass(frozen=True)
class Committed(CommittedInfo):
    """A published store, with what it takes on disk."""

    files: int
    bytes: int
