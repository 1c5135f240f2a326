"""One strip as one file: columns, masks and checksums, readable by byte range.

    magic, size and crc32 of the header | header (JSON) | columns | masks

Law: a file that opens has the size and the checksums its header says, or StoreError is raised;
never wrong data. Cells lie in a fixed order, whatever order they came in.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbsbatch.detections import SECOND, Detections, unasked
from pbsbatch.disk import write_atomic
from pbsbatch.errors import StoreError
from pbsbatch.store.records import BlockRows, TileRows
from pbsbatch_kernels import masks

__all__ = ["HeldStrip", "Strip", "StripFile", "write_strip"]

_MAGIC = b"pbsstrp3"
_PREFIX = struct.Struct("<8sII")
_GATHER_GAP = 1 << 16  # masks closer than this are read with one call
_CHECK_STEP = 1 << 22
_CELLS = ("boxes", "scores", "classes", "tiles", "flags", "windows", "offsets", "types", "type_scores")
_LOCAL = 4096.0  # cells lie in columns of this width so that a region's masks lie together


def write_strip(path: Path, tag: str, strip: int, held: HeldStrip) -> None:
    """Write a strip so that it is there wholly or not at all. The tag says whose it is."""
    described, at, crc = {}, 0, 0
    for name, array in held.columns.items():
        described[name] = {"dtype": array.dtype.str, "shape": array.shape, "at": at}
        at += array.nbytes
        crc = zlib.crc32(_bytes(array), crc)
    extent = (held.first_y, held.top, held.bottom) if held.cells else None
    header = json.dumps({
        "tag": tag, "strip": strip, "cells": held.cells, "extent": extent, "columns": described,
        "masks_at": at, "masks": len(held.bits), "crc": zlib.crc32(_bytes(held.bits), crc),
    }).encode()  # fmt: skip
    prefix = _PREFIX.pack(_MAGIC, len(header), zlib.crc32(header))
    write_atomic(path, (prefix, header, *map(_bytes, held.columns.values()), _bytes(held.bits)))


@dataclass(frozen=True, slots=True)
class HeldStrip:
    """A strip in memory. Law: a store is the same whether its strips are held or read back from disk."""

    cells: int
    first_y: float  # the smallest y0 of its cells
    top: int  # the rows its mask windows reach
    bottom: int
    columns: Mapping[str, NDArray[Any]]
    bits: NDArray[np.uint8]

    @classmethod
    def of(cls, cells: Detections, tiles: TileRows) -> HeldStrip:
        """Put cells and tiles into the one order that all strips have."""
        boxes = cells.boxes
        seconds = unasked(0) if cells.second is None else cells.second
        finite = all(np.isfinite(a).all() for a in (boxes, cells.scores, cells.type_scores, seconds["second_score"]))
        if not finite or (boxes[:, 2:] < boxes[:, :2]).any():
            raise ValueError("cells must have finite scores and boxes with x0 <= x1 and y0 <= y1")
        cells = cells.take(_canonical(cells))
        first_y, top, bottom = _extent(cells) or (np.inf, 0, 0)
        return cls(len(cells), first_y, top, bottom, _columns(cells, tiles), cells.bits)

    def column(self, name: str) -> NDArray[Any]:
        """Return one column of the cells."""
        return self.columns[name]

    @property
    def asked(self) -> bool:
        """Say whether a second opinion was asked of any cell."""
        return "second_type" in self.columns

    def tiles(self) -> TileRows:
        """Return the strip's tiles."""
        return _tiles(self.column)

    def masks(self, offsets: NDArray[np.int64], rows: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Return bits that hold the chosen cells' masks, and where each begins in them."""
        return self.bits, offsets[rows]


def _columns(cells: Detections, tiles: TileRows) -> dict[str, NDArray[Any]]:
    """Return everything but the masks, little-endian; tiles by rows of the grid, whatever order they came in."""
    columns: dict[str, NDArray[Any]] = {n: getattr(cells, n) for n in _CELLS}
    if cells.second is not None:
        columns |= {name: cells.second[name] for name in SECOND.names or ()}
    columns["areas"] = masks.areas(cells.bits, cells.offsets, cells.windows)
    order = np.lexsort((tiles.core[:, 0], tiles.core[:, 1]))
    columns |= {f"tiles.{f.name}": getattr(tiles, f.name)[order] for f in tiles.columns()}
    blocks = tiles.blocks.in_order()
    columns |= {f"blocks.{f.name}": getattr(blocks, f.name) for f in fields(blocks)}
    return {n: np.ascontiguousarray(a, a.dtype.newbyteorder("<")) for n, a in columns.items()}


def _extent(cells: Detections) -> tuple[float, int, int] | None:
    """Return the smallest y0, and the rows that mask windows reach."""
    if not len(cells):
        return None
    top, bottom = cells.windows[:, 1], cells.windows[:, 1] + cells.windows[:, 3]
    return float(cells.boxes[:, 1].min()), int(top.min()), int(bottom.max())


def _canonical(cells: Detections) -> NDArray[np.int64]:
    x0, y0, x1, y1 = cells.boxes.T
    wx, wy, ww, wh = cells.windows.T
    column = np.floor(x0 / _LOCAL)
    seconds = () if cells.second is None else tuple(cells.second[name] for name in SECOND.names or ())
    last = (*seconds, cells.type_scores, cells.types, wh, ww, wy, wx)
    keys = (*last, cells.tiles, -cells.scores, cells.classes, y1, x1, x0, y0, column)
    return np.lexsort(keys).astype(np.int64)


def _bytes(array: NDArray[Any]) -> memoryview:
    return array.data.cast("B") if array.size else memoryview(b"")


@dataclass(frozen=True, slots=True)
class StripFile:
    """A strip on disk. Holds no pixels: columns and masks are read when asked for."""

    path: Path
    cells: int
    first_y: float  # the smallest y0 of its cells
    top: int  # the rows its mask windows reach
    bottom: int
    _columns: Mapping[str, Mapping[str, Any]]
    _base: int
    _masks_at: int
    _masks: int
    _crc: int

    @classmethod
    def open(cls, path: Path, tag: str, strip: int) -> StripFile:
        """Read the header and check it and the file's size. Raises StoreError; OSError where there is none."""
        with path.open("rb") as f:
            size = os.fstat(f.fileno()).st_size
            head = f.read(_PREFIX.size)
            if len(head) < _PREFIX.size:
                raise _damaged(path, "it is too short")
            magic, length, crc = _PREFIX.unpack(head)
            text = f.read(length)
        if magic != _MAGIC or zlib.crc32(text) != crc:
            raise _damaged(path, "its header is not one")
        h = json.loads(text)
        if (h["tag"], h["strip"]) != (tag, strip):
            raise _damaged(path, "it belongs to another run")
        if size != _PREFIX.size + length + h["masks_at"] + h["masks"]:
            raise _damaged(path, f"it has {size} bytes, not what its header says")
        first_y, top, bottom = h["extent"] or (np.inf, 0, 0)
        base = _PREFIX.size + length
        return cls(path, h["cells"], first_y, top, bottom, h["columns"], base, h["masks_at"], h["masks"], h["crc"])

    def check(self) -> None:
        """Read the payload once, in pieces, and compare its checksum. Raises StoreError."""
        crc = 0
        with self.path.open("rb") as f:
            f.seek(self._base)
            while piece := f.read(_CHECK_STEP):
                crc = zlib.crc32(piece, crc)
        if crc != self._crc:
            raise _damaged(self.path, "its checksum is wrong")

    def column(self, name: str) -> NDArray[Any]:
        """Return one column of the cells."""
        c = self._columns[name]
        with self.path.open("rb") as f:
            f.seek(self._base + c["at"])
            flat = np.fromfile(f, c["dtype"], int(np.prod(c["shape"])))
        return flat.reshape(c["shape"])

    @property
    def asked(self) -> bool:
        """Say whether a second opinion was asked of any cell."""
        return "second_type" in self._columns

    def tiles(self) -> TileRows:
        """Return the strip's tiles."""
        return _tiles(self.column)

    def masks(self, offsets: NDArray[np.int64], rows: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Return the bits of the chosen cells' masks (rows ascending) and where each begins in them.

        Reads by byte range: masks that lie close together come with one call, with what is between them.
        """
        pieces: list[NDArray[np.uint8]] = []
        at = np.zeros(len(rows), np.int64)
        used = 0
        with self.path.open("rb") as f:
            for a, b in _runs(offsets[rows], offsets[rows + 1]):
                start, stop = int(offsets[rows[a]]), int(offsets[rows[b - 1] + 1])
                data = os.pread(f.fileno(), stop - start, self._base + self._masks_at + start)
                if len(data) != stop - start:
                    raise _damaged(self.path, "it became shorter while it was read")
                pieces.append(np.frombuffer(data, np.uint8))
                at[a:b] = offsets[rows[a:b]] - start + used
                used += stop - start
        return (np.concatenate(pieces) if pieces else np.zeros(0, np.uint8)), at


Strip = StripFile | HeldStrip


def _tiles(column: Callable[[str], NDArray[Any]]) -> TileRows:
    blocks = BlockRows(**{f.name: column(f"blocks.{f.name}") for f in fields(BlockRows)})
    return TileRows(**{f.name: column(f"tiles.{f.name}") for f in TileRows.columns()}, blocks=blocks)


def _runs(starts: NDArray[np.int64], stops: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    if len(starts) == 0:
        return
    breaks = np.flatnonzero(starts[1:] - stops[:-1] > _GATHER_GAP) + 1
    edges = [0, *breaks.tolist(), len(starts)]
    yield from pairwise(edges)


def _damaged(path: Path, why: str) -> StoreError:
    return StoreError(f"a strip is damaged: {why}", path=path, cure="It is computed again when you run again")
