"""Render the label pyramid: every chunk of every level exactly once, straight into its shard.

The slide is taken region by region in rows. A region paints its chunks from the masks of the cells
that touch it, and folds them into coarser levels; what is coarser than a region is folded as regions
arrive. Law: held are the cells (without masks) of one row of regions, the masks and encoded chunks of
the regions in flight, and unfinished coarse chunks: never a shard, never the slide.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pbsbatch import ngff
from pbsbatch.geometry import Box
from pbsbatch.store.records import StoreHeader
from pbsbatch.store.strips import Strip
from pbsbatch_kernels import labels

__all__ = ["CHUNK", "Fold", "shard_shape", "write_labels"]

CHUNK = 512
_DEPTH = 3  # a region is one chunk of this level: 4096 px
_REGION = CHUNK << _DEPTH
_SHARD_PX = 16384**2

Chunk = NDArray[np.int32]
At = tuple[int, int]
Piece = tuple[int, At, bytes | None]


def shard_shape(width: int, height: int) -> tuple[int, int]:
    """Return (h, w) of a shard. Law: an array has no more shards than areas of 16384 x 16384 px, at least one.

    Shards of a fixed side would break the bound on files for slides that are long, or a little wider.
    """
    most = max(1, width * height // _SHARD_PX)
    rows = min(most, max(1, height // 16384))
    cols = max(1, most // rows)
    return _whole_chunks(height, rows), _whole_chunks(width, cols)


def _whole_chunks(size: int, parts: int) -> int:
    return -(-size // (parts * CHUNK)) * CHUNK


def write_labels(
    path: Path, header: StoreHeader, strips: Sequence[Strip], ids: Sequence[NDArray[np.int32]], workers: int = 1
) -> None:
    """Write labels/cells with all its levels. Level k takes the top left pixel of each 2**k block of level 0."""
    n = ngff.levels_for(header.width, header.height)
    attributes = ngff.label_attributes("cells", [float(2**k) for k in range(n)], header.mpp)
    ngff.write_group(path, {"ome": attributes})
    shapes = [(-(-header.height // 2**k), -(-header.width // 2**k)) for k in range(n)]
    writers = [ngff.ArrayWriter(path / str(k), _spec(shape)) for k, shape in enumerate(shapes)]
    painter = _Painter(writers, _DEPTH)

    def write(level: int, at: At, chunk: Chunk | None) -> None:
        writers[level].put(at, None if chunk is None else writers[level].encode(chunk))

    coarse = Fold([w.spec.chunks for w in writers], _DEPTH, write)
    try:
        for pieces, top in _in_order(painter, _regions(header, strips, ids), workers):
            for level, at, data in pieces:
                writers[level].put(at, data)
            if top is not None:
                coarse.up(_DEPTH, *top)
        for writer in writers:
            writer.finish()
    finally:
        for writer in writers:
            writer.abandon()


def _spec(shape: tuple[int, int]) -> ngff.ArraySpec:
    return ngff.ArraySpec(shape, (CHUNK, CHUNK), shard_shape(shape[1], shape[0]), "int32", dimensions=("y", "x"))


class Fold:
    """Folds chunks of one level into chunks of the next: a chunk is emitted when its last child came."""

    def __init__(
        self, grids: Sequence[tuple[int, ...]], first: int, emit: Callable[[int, At, Chunk | None], None]
    ) -> None:
        self._grids = grids
        self._first = first
        self._emit = emit
        self._open: dict[tuple[int, At], tuple[Chunk | None, int]] = {}

    def add(self, level: int, at: At, chunk: Chunk | None) -> None:
        """Emit a chunk and hand it up. None is a chunk without cells. The chunk is not kept."""
        self._emit(level, at, chunk)
        self.up(level, at, chunk)

    def up(self, level: int, at: At, chunk: Chunk | None) -> None:
        """Hand a chunk up to the next level, if there is one."""
        if level + 1 >= len(self._grids):
            return
        above = (at[0] // 2, at[1] // 2)
        parent, came = self._open.pop((level + 1, above), (None, 0))
        if chunk is not None:
            parent = np.zeros((CHUNK, CHUNK), np.int32) if parent is None else parent
            y, x = (at[0] % 2) * CHUNK // 2, (at[1] % 2) * CHUNK // 2
            # not the majority of the four: it lets a cell of 28 px grow by 4, 11, 19, 25 % in area over four levels
            parent[y : y + CHUNK // 2, x : x + CHUNK // 2] = chunk[::2, ::2]
        rows, cols = (min(2, n - 2 * a) for n, a in zip(self._grids[level], above, strict=True))
        if came + 1 == rows * cols:
            self.add(level + 1, above, parent)
        else:
            self._open[level + 1, above] = parent, came + 1


@dataclass(frozen=True, slots=True)
class _Part:
    """The kept cells of one strip that touch a row of regions, without masks."""

    strip: Strip
    rows: NDArray[np.int64]
    windows: NDArray[np.int32]
    scores: NDArray[np.float32]
    areas: NDArray[np.int32]
    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]

    def touching(self, box: Box) -> NDArray[np.int64]:
        x, y, w, h = self.windows.T
        return np.flatnonzero((x < box.x1) & (x + w > box.x) & (y < box.y1) & (y + h > box.y))


Region = tuple[Box, Sequence[_Part]]


def _regions(header: StoreHeader, strips: Sequence[Strip], ids: Sequence[NDArray[np.int32]]) -> Iterator[Region]:
    for y in range(0, header.height, _REGION):
        parts = [
            _load(strip, numbers, y)
            for strip, numbers in zip(strips, ids, strict=True)
            if strip.top < y + _REGION and strip.bottom > y
        ]
        for x in range(0, header.width, _REGION):
            yield Box(x, y, min(_REGION, header.width - x), min(_REGION, header.height - y)), parts


def _load(strip: Strip, ids: NDArray[np.int32], y: int) -> _Part:
    windows = strip.column("windows")
    rows = np.flatnonzero((ids > 0) & (windows[:, 1] < y + _REGION) & (windows[:, 1] + windows[:, 3] > y))
    scores, areas = (strip.column(name)[rows] for name in ("scores", "areas"))
    return _Part(strip, rows, windows[rows], scores, areas, ids[rows], strip.column("offsets"))


class _Painter:
    """Paints one region: its chunks, encoded, and its one chunk of the region's own level."""

    def __init__(self, writers: Sequence[ngff.ArrayWriter], depth: int) -> None:
        self._writers = writers
        self._grids = [w.spec.chunks for w in writers[: depth + 1]]
        self._depth = depth

    def __call__(self, region: Region) -> tuple[list[Piece], tuple[At, Chunk | None] | None]:
        box, parts = region
        pieces: list[Piece] = []
        top: list[tuple[At, Chunk | None]] = []

        def emit(level: int, at: At, chunk: Chunk | None) -> None:
            pieces.append((level, at, None if chunk is None else self._writers[level].encode(chunk)))
            if level == self._depth:
                top.append((at, chunk))

        fold = Fold(self._grids, 0, emit)
        paint = _chunk_painter(box, parts)
        for y in range(box.y, box.y1, CHUNK):
            for x in range(box.x, box.x1, CHUNK):
                fold.add(0, (y // CHUNK, x // CHUNK), paint(x, y))
        return pieces, top[0] if top else None


def _chunk_painter(box: Box, parts: Sequence[_Part]) -> Callable[[int, int], Chunk | None]:
    """Gather the cells of a region and return what paints one of its chunks."""
    chosen = [(p, p.touching(box)) for p in parts]
    chosen = [(p, rows) for p, rows in chosen if len(rows)]
    if not chosen:
        return lambda x, y: None
    read = [p.strip.masks(p.offsets, p.rows[rows]) for p, rows in chosen]
    shifts = np.cumsum([0, *(len(bits) for bits, _ in read)])
    bits = np.concatenate([b for b, _ in read])
    starts = np.concatenate([at + shift for (_, at), shift in zip(read, shifts, strict=False)])
    ids = np.concatenate([p.ids[rows] for p, rows in chosen])
    areas = np.concatenate([p.areas[rows] for p, rows in chosen])
    order = labels.priority(areas, np.concatenate([p.scores[rows] for p, rows in chosen]), ids)
    windows = np.concatenate([p.windows[rows] for p, rows in chosen])[order]
    painter = labels.Painter(ids[order], windows, starts[order], bits)
    chunk = np.zeros((CHUNK, CHUNK), np.int32)

    def paint(x: int, y: int) -> Chunk | None:
        chunk.fill(0)
        if not painter.paint(chunk, x, y):
            return None
        chunk[box.y1 - y :] = 0  # masks may reach beyond the slide
        chunk[:, box.x1 - x :] = 0
        return chunk

    return paint


def _in_order(
    do: Callable[[Region], tuple[list[Piece], tuple[At, Chunk | None] | None]], regions: Iterator[Region], workers: int
) -> Iterator[tuple[list[Piece], tuple[At, Chunk | None] | None]]:
    """Yield results in the order of the regions, with a few in flight."""
    if workers <= 1:
        yield from map(do, regions)
        return
    flying: deque[Future[tuple[list[Piece], tuple[At, Chunk | None] | None]]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="labels") as pool:
        try:
            for region in regions:
                flying.append(pool.submit(do, region))
                if len(flying) > workers:
                    yield flying.popleft().result()
            while flying:
                yield flying.popleft().result()
        finally:
            for future in flying:
                future.cancel()
