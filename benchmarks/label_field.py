"""A field of drawn cells for the label benchmarks: packed masks, as strips on disk, and as pictures for the peers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pbsbatch.detections import OWNED, Detections, untyped
from pbsbatch.store.records import TILE_OK, StoreHeader, TileRows
from pbsbatch.store.strips import StripFile, write_strip
from pbsbatch_kernels import masks

__all__ = ["PITCH", "Field", "draw", "in_strips"]

PITCH = 40  # px between cells of 24 to 39 px: they stand close and do not overlap
SHAPES = 256
PER_STRIP = 25_000


@dataclass(frozen=True)
class Field:
    """N cells on a square grid, row by row."""

    cells: Detections
    shapes: tuple[NDArray[np.bool_], ...]
    picks: NDArray[np.int64]  # which shape each cell has
    side: int  # px

    def __len__(self) -> int:
        return len(self.picks)

    @property
    def packed(self) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int32]]:
        """Return the masks as the kernels take them."""
        return self.cells.bits, self.cells.offsets, self.cells.windows

    def masks(self) -> list[NDArray[np.bool_]]:
        """Return every cell's mask as the peers take it."""
        return [self.shapes[k] for k in self.picks]


def draw(n: int, seed: int = 0) -> Field:
    """Draw n cells: ellipses with wavy borders."""
    rng = np.random.default_rng(seed)
    shapes = tuple(_shape(rng) for _ in range(SHAPES))
    bits, offsets = masks.pack(shapes)
    alone = [bits[a:b] for a, b in pairwise(offsets)]
    picks = rng.integers(0, SHAPES, n)
    columns = math.ceil(math.sqrt(n))
    sizes = np.array([shape.shape[::-1] for shape in shapes])[picks]
    at = np.stack([np.arange(n) % columns, np.arange(n) // columns], axis=1) * PITCH
    windows, boxes = np.concatenate([at, sizes], axis=1), np.concatenate([at, at + sizes], axis=1)
    cells = Detections(
        boxes=boxes.astype(np.float32), scores=rng.random(n, np.float32), classes=np.zeros(n, np.uint8),
        tiles=np.arange(n, dtype=np.int32) // PER_STRIP, flags=np.full(n, OWNED, np.uint8),
        windows=windows.astype(np.int32), offsets=np.concatenate([[0], np.cumsum(np.diff(offsets)[picks])]),
        bits=np.concatenate([alone[k] for k in picks]), **untyped(n),
    )  # fmt: skip
    return Field(cells, shapes, picks, columns * PITCH)


def _shape(rng: np.random.Generator) -> NDArray[np.bool_]:
    w, h = rng.integers(24, PITCH, 2)
    y, x = np.mgrid[:h, :w] + 0.5
    x, y = x / w * 2 - 1, y / h * 2 - 1
    wave = 1 + np.sin(np.arctan2(y, x) * rng.integers(2, 6) + rng.random() * 6)
    drawn: NDArray[np.bool_] = np.hypot(x, y) < 1 - 0.05 * wave
    return drawn


def in_strips(field: Field, folder: Path) -> tuple[StoreHeader, Sequence[StripFile], TileRows]:
    """Write the cells as a run leaves them: some strips on disk."""
    rows = range(0, len(field), PER_STRIP)
    header = StoreHeader("field", field.side, field.side, 0.25, ("rbc",), len(rows), 3.0)
    tiles, strips = [], []
    for k, row in enumerate(rows):
        cells = field.cells.take(np.arange(row, min(row + PER_STRIP, len(field))))
        tops = cells.boxes[:, 1].min(), cells.boxes[:, 3].max()
        core = np.array([[0, tops[0], field.side, tops[1]]], np.float64)
        tiles.append(TileRows.plain(core, np.array([TILE_OK], np.uint8), np.array([len(cells)], np.int32)))
        write_strip(folder / str(k), "field", k, cells, tiles[-1])
        strips.append(StripFile.open(folder / str(k), "field", k))
    return header, strips, TileRows.concat(tiles)
