"""What the viewer remembers of a slide's cells, and how it finds those of a tile.

Laws. A cell belongs to the tile that holds the centre of its box, at every level to one. Remembered are three bytes a
cell and a count for each tile: the rest is read from the table when it is asked for, a piece of it at a time. Ids run
by y0, so that the cells of a band are a stretch of rows.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbsbatch.models.taxonomy import ABNORMAL, UNSURE
from pbsbatch.store import StoredSlide
from pbsbatch.view.maps import TypesSeen
from pbsbatch.view.tiles import DEEPEST, Grid, Place

__all__ = ["BINS", "MOST_CELLS", "Columns", "Index", "build", "read_rows"]

Columns = Mapping[str, NDArray[Any]]
Rows = Callable[[StoredSlide, int], Columns]

BINS = 101
"""A score is told apart in hundredths: bin b holds the scores from b/100 on."""
EDGES = (np.arange(BINS) / 100).astype(np.float32)
PIECE = 1 << 16
"""Rows of the table that are read and kept together: one chunk of it."""
BAND_PX = 64
MOST_CELLS = 2000
"""Cells that a tile of outlines holds at most; where there are more, they are drawn from the label image."""
MOST_UNSURE = 1000
WHITE = "WBC"
SIDES = ("x0", "y0", "x1", "y1")


@dataclass(frozen=True)
class Index:
    """Where the cells of one slide are, and how many there are of each kind."""

    grid: Grid
    classes: NDArray[np.uint8]  # (N + 1,) class + 1 by id; 0 stands for no cell
    types: NDArray[np.uint8]  # (N + 1,)
    bins: NDArray[np.uint8]  # (N + 1,) of the score
    counts: NDArray[np.int64]  # (classes, types + 1, BINS), untyped cells last
    bands: NDArray[np.int64]  # first row of each band of BAND_PX rows of pixels, by y0
    half: float  # of the tallest box, level-0 px
    near: int  # the coarsest level at which every tile has at most MOST_CELLS cells, or DEEPEST
    unsure: tuple[tuple[int, float, float], ...]  # id, x, y: those that most need a look come first
    unsure_total: int
    seen: NDArray[np.int32]  # (types, rows, columns) how many cells of each type lie in each block of the slide

    def rows(self, store: StoredSlide, place: Place, read: Rows) -> Columns:
        """Return the cells that belong to a tile, in the order of their ids."""
        first, end = self._stretch(place.y - self.half, place.y + place.side)
        parts = []
        for piece in range(first // PIECE, -(-end // PIECE)):
            columns = read(store, piece)
            x, y = _centres(columns, self.grid)
            across = (x >= place.x) & (x < place.x + place.side)
            inside = np.flatnonzero(across & (y >= place.y) & (y < place.y + place.side))
            parts.append({name: values[inside] for name, values in columns.items()})
        if not parts:
            return {name: values[:0] for name, values in read(store, 0).items()}
        return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}

    def _stretch(self, low: float, high: float) -> tuple[int, int]:
        """Return the rows whose y0 may lie in [low, high)."""
        last = len(self.bands) - 1
        first = min(last, max(0, int(low // BAND_PX)))
        end = min(last, max(0, int(-(-high // BAND_PX))))
        return int(self.bands[first]), int(self.bands[end])


def read_rows(store: StoredSlide, piece: int) -> Columns:
    """Return a piece of the table."""
    return store.rows(piece * PIECE, min((piece + 1) * PIECE, store.info.cells))


def build(store: StoredSlide) -> Index:
    """Read a slide's table once."""
    about = store.attributes["store"]
    grid = Grid(int(about["width_px"]), int(about["height_px"]))
    n, kinds, sorts = store.info.cells, len(store.classes), len(store.types)
    classes, types, bins = (np.zeros(n + 1, np.uint8) for _ in range(3))
    counts = np.zeros((kinds, sorts + 1, BINS), np.int64)
    bands = np.zeros(-(-grid.height // BAND_PX) + 2, np.int64)
    tiles = np.zeros(grid.shape(0), np.int64)
    half, least, total, seen = 0.0, _Least(), 0, TypesSeen(store.tiles.blocks, sorts)
    for columns in _pieces(store):
        ids = columns["id"]
        binned = np.clip(np.searchsorted(EDGES, columns["score"], side="right") - 1, 0, BINS - 1)
        classes[ids], types[ids], bins[ids] = columns["class"] + 1, columns["type"], binned
        np.add.at(counts, (columns["class"], np.minimum(columns["type"], sorts), binned), 1)
        band = np.clip(np.floor(columns["y0"] / BAND_PX) + 1, 1, len(bands) - 1).astype(np.int64)  # 1: also above it
        np.add.at(bands, band, 1)
        _counted(tiles, columns, grid, 0)
        typed = {name: columns[name][columns["type"] < sorts] for name in ("type", *SIDES)}
        seen.add(typed["type"], *_centres(typed, grid))
        half = max(half, float((columns["y1"] - columns["y0"]).max(initial=0)) / 2)
        total += least.take(columns, _centres(columns, grid), _looked_at(store, columns), sorts)
    bands = np.concatenate([[0], np.cumsum(bands[1:])]).astype(np.int64)
    return Index(
        grid, classes, types, bins, counts, bands, half + 1, _near(store, grid, tiles), least.ordered(), total,
        seen.counts,
    )  # fmt: skip


def _pieces(store: StoredSlide) -> Iterator[Columns]:
    for piece in range(-(-store.info.cells // PIECE)):
        yield read_rows(store, piece)


def _centres(columns: Columns, grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the centres of boxes; one beyond the slide is taken to its border, so that a tile has it."""
    x0, y0, x1, y1 = (columns[name].astype(np.float64) for name in SIDES)
    return np.clip((x0 + x1) / 2, 0, grid.width - 0.5), np.clip((y0 + y1) / 2, 0, grid.height - 0.5)


def _counted(tiles: NDArray[np.int64], cells: Columns, grid: Grid, level: int) -> None:
    """Add cells to the counts of a level's tiles."""
    side = Place(level, 0, 0).side
    x, y = _centres(cells, grid)
    np.add.at(tiles, ((y // side).astype(np.int64), (x // side).astype(np.int64)), 1)


def _near(store: StoredSlide, grid: Grid, tiles: NDArray[np.int64]) -> int:
    """Return the coarsest level whose tiles all hold at most MOST_CELLS cells; tiles are the counts of level 0."""
    level = 0
    if tiles.max() <= MOST_CELLS:
        while level < grid.coarsest and (tiles := _folded(tiles)).max() <= MOST_CELLS:
            level += 1
        return level
    for finer in range(-1, DEEPEST, -1):  # no scan for cells is as crowded as that: the table is read again
        tiles = np.zeros(grid.shape(finer), np.int64)
        for cells in _pieces(store):
            _counted(tiles, cells, grid, finer)
        if tiles.max() <= MOST_CELLS:
            return finer
    return DEEPEST


def _folded(tiles: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the counts of the next coarser level."""
    even = np.pad(tiles, ((0, tiles.shape[0] % 2), (0, tiles.shape[1] % 2)))
    return np.asarray(even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2])


def _looked_at(store: StoredSlide, columns: Columns) -> NDArray[np.bool_]:
    """Say which cells a person should look at: those called unsure, those that a second opinion flags, or where none
    has a type, the white ones.
    """
    if store.second_types:
        unsure = [i for i, name in enumerate(store.types) if name in (UNSURE, ABNORMAL)]
        return np.asarray(np.isin(columns["type"], unsure) | (columns["second_flags"] != 0))
    wanted = [i for i, name in enumerate(store.types) if name in (UNSURE, ABNORMAL)]
    if wanted:
        return np.isin(columns["type"], wanted)
    if not store.types and WHITE in store.classes:
        return np.asarray(columns["class"] == store.classes.index(WHITE))
    return np.zeros(len(columns["id"]), np.bool_)


class _Least:
    """The MOST_UNSURE cells of the lowest scores."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, float, float]] = []  # by falling score: the surest goes first

    def take(
        self, columns: Columns, centres: tuple[NDArray[np.float64], NDArray[np.float64]], chosen: NDArray[np.bool_],
        sorts: int,
    ) -> int:  # fmt: skip
        """Look at the chosen cells of a piece and say how many they are."""
        x, y = centres
        score = np.where(columns["type"] < sorts, columns["type_score"], columns["score"])
        for i in np.flatnonzero(chosen).tolist():
            item = -float(score[i]), -int(columns["id"][i]), float(x[i]), float(y[i])
            if len(self._heap) < MOST_UNSURE:
                heapq.heappush(self._heap, item)
            else:
                heapq.heappushpop(self._heap, item)
        return int(chosen.sum())

    def ordered(self) -> tuple[tuple[int, float, float], ...]:
        """Return id, x, y, the lowest score first."""
        return tuple((-number, x, y) for _, number, x, y in sorted(self._heap, reverse=True))
