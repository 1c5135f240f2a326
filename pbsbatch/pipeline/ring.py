"""Read tiles ahead of the engine, into batches whose memory is taken once.

A batch holds tiles of one shape, across strips and slides. Readers fill the batches that lanes have given back, so
that no more pixels are in memory than the ring holds, however long the stream is.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pbsbatch.errors import EngineError, OutputError, PbsbatchError, TileError
from pbsbatch.geometry import Tile
from pbsbatch.pipeline.base import Job
from pbsbatch.pipeline.clock import Clock
from pbsbatch.pipeline.crew import Crew, Pipe
from pbsbatch.pipeline.tile import Seen

__all__ = ["BATCH_PX", "Batch", "Course", "Ring", "Strip", "Work", "batches"]

BATCH_PX = 4_000_000
"""A batch holds as many tiles as fit into so many pixels, but one at least: more buys no speed and costs memory."""

FOR_ALL = (OutputError, EngineError)
"""What one slide meets, the others would meet too."""


@dataclass(slots=True, eq=False)
class Course:
    """A job under way. One that has failed costs nothing more."""

    job: Job
    failed: bool = False


@dataclass(slots=True, eq=False)
class Strip:
    """A strip under way: finished when nothing is left of it."""

    course: Course
    index: int
    left: int
    seen: list[Seen] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Work:
    """One tile to look at."""

    strip: Strip
    tile: Tile


@dataclass(frozen=True, slots=True)
class Batch:
    """Tiles whose pixels are there. errors tells, slot by slot, which could not be read."""

    works: tuple[Work, ...]
    pixels: NDArray[np.uint8]  # (len(works), H, W, 3)
    errors: tuple[str | None, ...]
    memory: NDArray[np.uint8]  # what pixels is a part of


def batches(jobs: Iterable[Job], empty: Callable[[Strip], None]) -> Generator[tuple[Work, ...], None, None]:
    """Yield runs of tiles of one shape, across strips and slides; strips without tiles are handed to `empty`.

    Closing it closes the jobs, where they are generated.
    """
    with contextlib.closing(jobs) if isinstance(jobs, Generator) else contextlib.nullcontext():
        yield from _batches(jobs, empty)


def _batches(jobs: Iterable[Job], empty: Callable[[Strip], None]) -> Iterator[tuple[Work, ...]]:
    group: list[Work] = []
    shape, room = (0, 0), 1
    for job in jobs:
        course = Course(job)
        for index in job.strips:
            tiles = list(job.plan.strip_tiles(index))
            strip = Strip(course, index, len(tiles))
            if not tiles:
                empty(strip)
            for tile in tiles:
                if group and (len(group) >= room or shape != job.plan.tile_shape):
                    yield tuple(group)
                    group = []
                if not group:
                    shape = job.plan.tile_shape
                    room = max(1, BATCH_PX // (shape[0] * shape[1]))
                group.append(Work(strip, tile))
    if group:
        yield tuple(group)


class Ring:
    """Batches ahead of the engine. Law: memory is taken when a larger shape comes, and never per batch."""

    def __init__(
        self, crew: Crew, groups: Iterator[tuple[Work, ...]], *, readers: int, size: int, clock: Clock,
        give_up: Callable[[Course, PbsbatchError], None],
    ) -> None:  # fmt: skip
        self.ready: Pipe[Batch] = crew.pipe(size, producers=readers)
        self._free: Pipe[NDArray[np.uint8]] = crew.pipe(size)
        self._groups, self._turn = groups, threading.Lock()
        self._clock, self._give_up = clock, give_up
        for _ in range(size):
            self._free.put(np.empty(0, np.uint8))
        for k in range(readers):
            crew.start(f"read-{k}", self._read)

    def give_back(self, batch: Batch) -> None:
        """Let a reader fill the batch's memory again."""
        self._free.put(batch.memory)

    def _read(self) -> None:
        for memory in self._free:
            with self._turn:
                works = next(self._groups, None)
            if works is None:
                break
            with self._clock.stage("read"):
                batch = self._filled(memory, works)
            self.ready.put(batch)
        self.ready.close()
        self._clock.leave()

    def _filled(self, memory: NDArray[np.uint8], works: tuple[Work, ...]) -> Batch:
        shape = (len(works), *works[0].strip.course.job.plan.tile_shape, 3)
        if memory.size < np.prod(shape):
            memory = np.empty(np.prod(shape), np.uint8)
        pixels = memory[: np.prod(shape)].reshape(shape)
        return Batch(works, pixels, tuple(map(self._fill, pixels, works)), memory)

    def _fill(self, out: NDArray[np.uint8], work: Work) -> str | None:
        """Read a tile; say why it cannot be read."""
        course, box = work.strip.course, work.tile.read
        job = course.job
        try:
            if not course.failed:
                out[:] = job.slide.read_scaled(job.plan.scale, box.x, box.y, box.w, box.h)
            return None
        except TileError as error:
            out[:] = job.slide.background
            return str(error)
        except FOR_ALL:
            raise
        except PbsbatchError as error:
            self._give_up(course, error)
            return None
