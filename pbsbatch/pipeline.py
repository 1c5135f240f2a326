"""One bundle in a straight line: read -> infer -> decode -> own -> append. No Dask, no file format.

A bundle is a stream of jobs, each some strips of one slide. Readers run ahead of the engine by a bounded number of
batches; batches of one shape are filled across strips and slides. A strip is appended to its store
as soon as its last tile is done. A tile that cannot be read is counted as failed and costs nothing else.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pbsbatch.detections import NEAR_BORDER, OWNED, Detections, untyped
from pbsbatch.engines.base import Engine
from pbsbatch.errors import TileError
from pbsbatch.geometry import Tile
from pbsbatch.models.base import Calibration, Found, Model
from pbsbatch.plan import BAND_PX, Plan
from pbsbatch.quality import NO_CLASS, failed_tile, read_tile
from pbsbatch.rules import RED_CELL
from pbsbatch.slides.base import Slide
from pbsbatch.store import TileRows
from pbsbatch_kernels.packing import pack_scaled

__all__ = ["BATCH_PX", "Job", "StripDone", "Timings", "keep_owned", "process", "to_level0"]

BATCH_PX = 4_000_000
"""A batch holds as many tiles as fit into so many pixels, but one at least: more buys no speed and costs memory."""
BATCHES_AHEAD = 1
"""Batches that readers may be ahead of the engine."""


class Sink(Protocol):
    """Where the strips of one slide go."""

    def append(self, strip: int, cells: Detections, tiles: TileRows) -> None: ...


@dataclass(frozen=True, slots=True)
class Job:
    """The strips of one slide that a bundle holds, with everything needed to compute them."""

    slide: Slide
    plan: Plan
    calibration: Calibration
    strips: tuple[int, ...]
    sink: Sink


@dataclass(slots=True)
class Timings:
    """Busy seconds per stage; what a run was bound by is read off these."""

    read: float = 0.0
    infer: float = 0.0
    decode: float = 0.0
    write: float = 0.0
    settle: float = 0.0


@dataclass(frozen=True, slots=True)
class StripDone:
    """One strip is safe on disk."""

    slide_id: str
    strip: int
    tiles: int
    failed_tiles: tuple[tuple[int, str], ...]
    cells: int
    pixels: int  # computed, in work pixels


@dataclass(frozen=True, slots=True)
class _Work:
    job: Job
    strip: int
    tile: Tile


@dataclass(frozen=True, slots=True)
class _Batch:
    works: tuple[_Work, ...]
    pixels: NDArray[np.uint8]  # (len(works), H, W, 3)
    errors: tuple[str | None, ...]
    seconds: float


@dataclass(slots=True)
class _StripInProgress:
    left: int
    cells: list[Detections] = field(default_factory=list)
    rows: list[TileRows] = field(default_factory=list)
    failed: list[tuple[int, str]] = field(default_factory=list)


def process(
    jobs: Iterable[Job], model: Model, engine: Engine, *, score_threshold: float = 0.0, timings: Timings | None = None
) -> Iterator[StripDone]:
    """Yield each strip once it is appended. Stopping early loses at most the strips in flight.

    Law: a job is taken from `jobs` only when readers need its tiles, so that of a thousand small slides few are open.
    """
    clock = timings if timings is not None else Timings()
    red = model.spec.classes.index(RED_CELL) if RED_CELL in model.spec.classes else NO_CLASS
    open_strips: dict[tuple[str, int], _StripInProgress] = {}
    blank: deque[tuple[Job, int]] = deque()
    for batch in _read_batches(_registered(jobs, open_strips, blank)):
        clock.read += batch.seconds
        with _timed(clock, "infer"):
            raw = engine(batch.pixels)
        for slot, work in enumerate(batch.works):
            state = open_strips[work.job.plan.slide_id, work.strip]
            with _timed(clock, "decode"):
                error = batch.errors[slot]
                found = model.decode(raw, slot, work.job.calibration) if error is None else None
                _note(state, work, found, batch.pixels[slot], error, score_threshold, red)
            if state.left == 0:
                del open_strips[work.job.plan.slide_id, work.strip]
                yield _finish(work.job, work.strip, state, clock)
        while blank:
            yield _finish(*blank.popleft(), _StripInProgress(0), clock)
    while blank:
        yield _finish(*blank.popleft(), _StripInProgress(0), clock)


def _registered(
    jobs: Iterable[Job], open_strips: dict[tuple[str, int], _StripInProgress], blank: deque[tuple[Job, int]]
) -> Iterator[Job]:
    """Pass jobs on, each with its strips noted as open; strips without tiles are done before they begin."""
    for job in jobs:
        for strip in job.strips:
            count = sum(1 for _ in job.plan.strip_tiles(strip))
            if count:
                open_strips[job.plan.slide_id, strip] = _StripInProgress(count)
            else:
                blank.append((job, strip))
        yield job


class _timed:
    """Add the time spent inside to one stage."""

    def __init__(self, timings: Timings, stage: str) -> None:
        self.timings, self.stage = timings, stage

    def __enter__(self) -> None:
        self.start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        setattr(self.timings, self.stage, getattr(self.timings, self.stage) + time.perf_counter() - self.start)


def _read_batches(jobs: Iterable[Job]) -> Iterator[_Batch]:
    """Yield batches in order, read by a thread that is at most BATCHES_AHEAD ahead."""
    with ThreadPoolExecutor(1, thread_name_prefix="read") as readers:
        pending: deque[Future[_Batch]] = deque()
        try:
            for works in _groups(jobs):
                pending.append(readers.submit(_read_batch, works))
                if len(pending) > BATCHES_AHEAD:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _groups(jobs: Iterable[Job]) -> Iterator[tuple[_Work, ...]]:
    """Yield runs of tiles of one shape, across strips and slides."""
    group: list[_Work] = []
    for job in jobs:
        height, width = job.plan.tile_shape
        room = max(1, BATCH_PX // (height * width))
        for strip in job.strips:
            for tile in job.plan.strip_tiles(strip):
                if group and (len(group) >= room or group[0].job.plan.tile_shape != job.plan.tile_shape):
                    yield tuple(group)
                    group = []
                group.append(_Work(job, strip, tile))
    if group:
        yield tuple(group)


def _read_batch(works: tuple[_Work, ...]) -> _Batch:
    start = time.perf_counter()
    pixels = np.empty((len(works), *works[0].job.plan.tile_shape, 3), np.uint8)
    errors: list[str | None] = [None] * len(works)
    for slot, work in enumerate(works):
        box = work.tile.read
        try:
            pixels[slot] = work.job.slide.read_scaled(work.job.plan.scale, box.x, box.y, box.w, box.h)
        except TileError as error:
            pixels[slot] = work.job.slide.background
            errors[slot] = str(error)
    return _Batch(works, pixels, tuple(errors), time.perf_counter() - start)


def _note(
    state: _StripInProgress, work: _Work, found: Found | None, pixels: NDArray[np.uint8], error: str | None,
    score_threshold: float, red: int,
) -> None:  # fmt: skip
    """Add one tile's outcome to its strip."""
    state.left -= 1
    plan, tile = work.job.plan, work.tile
    if found is None:
        state.rows.append(failed_tile(tile, plan))
        state.failed.append((tile.index, error or "unknown"))
        return
    sure = found.scores >= score_threshold
    state.rows.append(read_tile(pixels, found.boxes[sure], found.classes[sure], red, tile, plan))
    state.cells.append(to_level0(keep_owned(found, tile, score_threshold), tile, plan))


@dataclass(frozen=True, slots=True)
class _Kept:
    found: Found
    index: NDArray[np.intp]
    flags: NDArray[np.uint8]


def keep_owned(found: Found, tile: Tile, score_threshold: float = 0.0) -> _Kept:
    """Choose the cells whose centre lies in the core, and those within the seam band outside it.

    Near the border, and so to be settled, is what lies within the band outside or twice the band inside.

    Law: with identical views, the owned cells of all tiles are every cell exactly once.
    """
    boxes = found.boxes.astype(np.float64)
    centre_x = (boxes[:, 0] + boxes[:, 2]) / 2 + tile.read.x
    centre_y = (boxes[:, 1] + boxes[:, 3]) / 2 + tile.read.y
    core = tile.core
    inside = tile.owns(np.stack([centre_x, centre_y], axis=1))
    deep = np.minimum.reduce([centre_x - core.x, core.x1 - centre_x, centre_y - core.y, core.y1 - centre_y])
    # deep is negative outside. Owned views further in too: at a corner of four tiles, two that missed a cell may match
    near = (deep > -BAND_PX) & (deep < 2 * BAND_PX)
    flags = (inside * OWNED | near * NEAR_BORDER).astype(np.uint8)
    index = np.flatnonzero((inside | near) & (found.scores >= score_threshold))
    return _Kept(found, index, flags[index])


def to_level0(kept: _Kept, tile: Tile, plan: Plan) -> Detections:
    """Move the kept cells from the tile's work pixels to level-0 pixels. This happens here and nowhere else."""
    found, index = kept.found, kept.index
    if len(index) == 0:
        return Detections.empty()
    shift = np.array([tile.read.x, tile.read.y, tile.read.x, tile.read.y], np.float64)
    boxes = (found.boxes[index].astype(np.float64) + shift) * plan.scale
    limit = np.array([plan.width, plan.height, plan.width, plan.height], np.float64)
    windows = found.windows[index].astype(np.int64)
    windows[:, 0] += tile.read.x
    windows[:, 1] += tile.read.y
    masks = [found.masks[i] for i in index]
    level0_windows, offsets, bits = pack_scaled(masks, windows, plan.scale, plan.width, plan.height)
    return Detections(
        boxes=np.clip(boxes, 0.0, limit).astype(np.float32),
        scores=found.scores[index].astype(np.float32),
        classes=found.classes[index].astype(np.uint8),
        tiles=np.full(len(index), tile.index, np.int32),
        flags=kept.flags,
        windows=level0_windows,
        offsets=offsets,
        bits=bits,
        **untyped(len(index)),
    )


def _finish(job: Job, strip: int, state: _StripInProgress, clock: Timings) -> StripDone:
    """Append a strip whose tiles are all done."""
    cells = Detections.concat(state.cells)
    with _timed(clock, "write"):
        job.sink.append(strip, cells, TileRows.concat(state.rows))
    height, width = job.plan.tile_shape
    return StripDone(
        slide_id=job.plan.slide_id, strip=strip, tiles=len(state.rows), failed_tiles=tuple(state.failed),
        cells=len(cells), pixels=len(state.rows) * height * width,
    )  # fmt: skip
