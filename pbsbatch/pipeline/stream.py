"""The stream of one worker: readers, lanes and a writer, until the jobs are done.

A lane carries a batch from the engine to cells, instead of a thread for each of these stages: every core has work as
long as there are pixels, whichever stage is the slow one, and a lane waits for nobody but the reader.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from pbsbatch.detections import Detections
from pbsbatch.engines.base import Engine
from pbsbatch.errors import PbsbatchError
from pbsbatch.models.base import Model, Raw
from pbsbatch.models.candidates import CANDIDATE, OffersCandidates
from pbsbatch.pipeline.base import Failed, Job, Refiner, StripDone, Timings
from pbsbatch.pipeline.clock import Clock
from pbsbatch.pipeline.crew import Crew, Pipe
from pbsbatch.pipeline.pyramid import look_coarser
from pbsbatch.pipeline.ring import FOR_ALL, Batch, Course, Ring, Strip, batches
from pbsbatch.pipeline.tile import Seen, look_at, refine, unread, with_candidates, with_crops
from pbsbatch.quality import NO_CLASS
from pbsbatch.rules import RED_CELL
from pbsbatch.store import TileRows

__all__ = ["process"]

LANES_PER_READER = 3
"""Decoding a slide takes a quarter of the time that a small network takes."""
FINISHED = 4
"""Strips that may wait for the writer, and done strips for the caller."""


def process(
    jobs: Iterable[Job], model: Model, engine: Engine, *, least: NDArray[np.float32] | None = None,
    refiner: Refiner | None = None, timings: Timings | None = None,
) -> Iterator[StripDone | Failed]:  # fmt: skip
    """Yield each strip once it is appended, and each slide that fails once.

    Jobs are taken as readers come to them, on a reader's thread. Stopping early loses at most the strips in flight;
    an OutputError, an EngineError or a bug ends the stream. least: of each class, the score below which a cell is left
    out.
    """
    least = np.zeros(len(model.spec.classes), np.float32) if least is None else least
    stream = _Stream(model, engine, least, refiner, timings or Timings())
    yield from stream.run(jobs)


class _Stream:
    def __init__(
        self, model: Model, engine: Engine, least: NDArray[np.float32], refiner: Refiner | None, timings: Timings
    ) -> None:
        self.model, self.engine, self.refiner, self.least = model, engine, refiner, least
        self.red = model.spec.classes.index(RED_CELL) if RED_CELL in model.spec.classes else NO_CLASS
        self.clock = Clock(timings, device=engine.lanes == 0)
        self.turn = threading.Lock()  # over strips and courses in progress

    def run(self, jobs: Iterable[Job]) -> Iterator[StripDone | Failed]:
        lanes = max(1, self.engine.lanes)
        readers = max(1, lanes // LANES_PER_READER)
        with self.clock, contextlib.ExitStack() as after, Crew() as crew:
            self.finished: Pipe[Strip] = crew.pipe(FINISHED, producers=lanes)
            self.done: Pipe[StripDone | Failed] = crew.pipe(FINISHED)
            groups = after.enter_context(contextlib.closing(batches(jobs, self.finished.put)))
            self.ring = Ring(
                crew, groups, readers=readers, size=lanes + 2 * readers, clock=self.clock, give_up=self._give_up
            )
            for k in range(lanes):
                crew.start(f"lane-{k}", self._carry)
            crew.start("write", self._write)
            yield from self.done

    def _carry(self) -> None:
        """Carry batches from the ring to finished strips."""
        ready = iter(self.ring.ready)
        batch = next(ready, None)  # until the first is there, the bundle is being prepared
        while batch is not None:
            with self.clock.stage("carried"):
                strips = self._looked_at(batch)
            for strip in strips:
                self.finished.put(strip)
            with self.clock.stage("starved"):
                batch = next(ready, None)
        self.finished.close()
        self.clock.leave()

    def _looked_at(self, batch: Batch) -> list[Strip]:
        """Return the strips that this batch finishes."""
        with self.clock.stage("infer"):
            raw = self.engine(batch.pixels)
        with self.clock.stage("decode"):
            seen = [self._see(batch, slot, raw) for slot in range(len(batch.works))]
        self.ring.give_back(batch)
        with self.turn:
            for work, one in zip(batch.works, seen, strict=True):
                work.strip.seen.append(one)
                work.strip.left -= 1
            strips = {id(w.strip): w.strip for w in batch.works if w.strip.left == 0}
        return self._refined([*strips.values()])

    def _see(self, batch: Batch, slot: int, raw: Raw) -> Seen:
        work, error = batch.works[slot], batch.errors[slot]
        job = work.strip.course.job
        if error is not None or work.strip.course.failed:
            return unread(work.tile, job.plan, error or "its slide has failed")
        found = self.model.decode(raw, slot, job.calibration)
        if job.plan.coarser:
            found = look_coarser(found, batch.pixels[slot], job.plan.coarser, self.model, self.engine, job.calibration)
        seen = look_at(found, self.red, work.tile, job.plan, batch.pixels[slot], self.least)
        if job.keep is not None and isinstance(self.model, OffersCandidates):
            seen = with_candidates(seen, self.model.candidates(raw, slot, job.calibration))
        return seen if self.refiner is None else with_crops(seen, self.refiner, job.plan, batch.pixels[slot])

    def _refined(self, strips: list[Strip]) -> list[Strip]:
        """Take a second look at the cells of finished strips, all in one batch."""
        if self.refiner is not None and strips:
            with self.clock.stage("refine"):
                seen = iter(refine([one for strip in strips for one in strip.seen], self.refiner))
                for strip in strips:
                    strip.seen = [next(seen) for _ in strip.seen]
        return strips

    def _write(self) -> None:
        for strip in self.finished:
            if not strip.course.failed:
                self._append(strip)
        self.done.close()
        self.clock.leave()

    def _append(self, strip: Strip) -> None:
        job, seen = strip.course.job, sorted(strip.seen, key=lambda one: one.tile.index)
        cells = Detections.concat([one.cells for one in seen])
        try:
            with self.clock.stage("write"):
                if job.keep is not None:
                    kept = [one.candidates for one in seen if one.candidates is not None]
                    job.keep.append(strip.index, np.concatenate(kept) if kept else np.zeros(0, CANDIDATE))
                job.sink.append(strip.index, cells, TileRows.concat([one.row for one in seen]))
        except FOR_ALL:
            raise
        except PbsbatchError as error:
            self._give_up(strip.course, error)
            return
        height, width = job.plan.tile_shape
        self.done.put(StripDone(
            slide_id=job.plan.slide_id, strip=strip.index, tiles=len(seen),
            failed_tiles=tuple((one.tile.index, one.error) for one in seen if one.error is not None),
            cells=len(cells), pixels=len(seen) * height * width,
        ))  # fmt: skip

    def _give_up(self, course: Course, error: PbsbatchError) -> None:
        """Fail one slide, and say it once."""
        with self.turn:
            first, course.failed = not course.failed, True
        if first:
            self.done.put(Failed(course.job.plan.slide_id, error))
