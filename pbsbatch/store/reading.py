"""Read a published store: its cells and tiles as arrays, its labels by box."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbsbatch import ngff
from pbsbatch.store.build import info_of
from pbsbatch.store.records import CELL_COLUMNS, SECOND_COLUMNS, CommittedInfo, TileRows
from pbsbatch.store.tables import read_tiles

__all__ = ["StoredLabels", "StoredSlide", "open_store"]


@dataclass(frozen=True)
class StoredLabels:
    """One level of a slide's labels; a pixel holds the id of its cell, 0 where there is none."""

    width: int
    height: int
    downsample: int
    _array: Any

    @property
    def array(self) -> Any:
        """Return the whole level as an array that is read where it is sliced."""
        return self._array

    def read(self, x: int, y: int, w: int, h: int) -> NDArray[np.int32]:
        """Return (h, w) ids of a box, in pixels of this level, that lies inside."""
        if x < 0 or y < 0 or w < 0 or h < 0 or x + w > self.width or y + h > self.height:
            raise ValueError(f"box {(x, y, w, h)} leaves the level's {self.width} x {self.height} px")
        return np.asarray(self._array[y : y + h, x : x + w], np.int32)


@dataclass(frozen=True)
class StoredSlide:
    """A published store, opened for reading."""

    path: Path
    info: CommittedInfo
    attributes: Mapping[str, Any]  # "pbsbatch" of the root

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the names that the column `class` indexes."""
        return tuple(self.attributes["store"]["classes"])

    @cached_property
    def types(self) -> tuple[str, ...]:
        """Return the names that the column `type` indexes; empty where no cell was given a type."""
        return tuple(self._about_cells["types"])

    @cached_property
    def second_types(self) -> tuple[str, ...]:
        """Return the names that the column `second_type` indexes; empty where no second opinion was asked."""
        return tuple(self._about_cells.get("second_types", ()))

    @cached_property
    def _about_cells(self) -> Mapping[str, Any]:
        return ngff.read_attributes(self.path / "cells")

    @property
    def columns(self) -> Mapping[str, str]:
        """Return the columns of the table of cells with their types."""
        return {**CELL_COLUMNS, **SECOND_COLUMNS} if self.second_types else CELL_COLUMNS

    @property
    def levels(self) -> int:
        """Return how many levels the labels have, and the preview."""
        about = self.attributes["store"]
        return ngff.levels_for(int(about["width_px"]), int(about["height_px"]))

    @cached_property
    def cells(self) -> Mapping[str, NDArray[Any]]:
        """Return the table of cells by column, rows in the order of the ids."""
        return {n: np.asarray(ngff.open_array(self.path / "cells" / n)[:]) for n in self.columns}

    def rows(self, first: int, end: int) -> Mapping[str, NDArray[Any]]:
        """Return rows first .. end - 1 of the table of cells: what a slide of millions is read by."""
        return {n: np.asarray(ngff.open_array(self.path / "cells" / n)[first:end]) for n in self.columns}

    @cached_property
    def tiles(self) -> TileRows:
        """Return the table of tiles, with whole blocks."""
        return read_tiles(self.path / "tiles")

    def labels(self, level: int = 0) -> StoredLabels:
        """Return one level of the labels."""
        array = ngff.open_array(self.path / "labels" / "cells" / str(level))
        return StoredLabels(array.shape[1], array.shape[0], 2**level, array)

    def preview(self, level: int = 0) -> NDArray[np.uint8]:
        """Return one level of the preview as (h, w, 3) RGB."""
        return np.asarray(ngff.open_array(self.path / str(level))[:], np.uint8).transpose(1, 2, 0)


def open_store(path: Path) -> StoredSlide:
    """Open a published store. Raises StoreError where there is none that can be read."""
    info = info_of(Path(path))
    return StoredSlide(Path(path), info, ngff.read_attributes(Path(path))["pbsbatch"])
