"""A bundle of slides on one worker: open, plan and key each; do the small ones in one stream, hand out the others.

No Dask in here. Slides that are done are published together, some at a time: a sync costs as much for one as for many.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pbsbatch.errors import OutputError, PbsbatchError
from pbsbatch.models.operating import least_scores
from pbsbatch.pipeline import Failed, Job, StripDone, Timings, process
from pbsbatch.run.candidates import keep_of
from pbsbatch.run.content import Content
from pbsbatch.run.events import ContentSeen, Event, SlideFinished, SlideResult, StripFinished
from pbsbatch.run.prepare import Prepared, Workbench, prepare_slide, store_of
from pbsbatch.run.publishing import measure_of, preview_of, refuse_unreadable
from pbsbatch.run.result import failed_result, slide_result
from pbsbatch.slides.base import Slide, SlideRef
from pbsbatch.store import Store, Together

__all__ = ["Bundle", "Report", "prepare_slides", "strip_finished"]

WHOLE_TILES = 32
"""A slide of at most so many tiles is done whole by the worker that prepares it; a larger one is shared out."""
TOGETHER = 16
"""Most slides that wait to be published together: more than that, and the sync is no longer what takes the time."""
SECONDS_TOGETHER = 2.0
"""Work of so long is not risked for a sync: what waits, or took, longer is published with the next strip's end."""
Report = Callable[[Event], None]


@dataclass(slots=True)
class Bundle:
    """What became of a bundle of slides: done or failed here, or planned to be computed by strips."""

    results: list[SlideResult] = field(default_factory=list)
    planned: list[Prepared] = field(default_factory=list)
    timings: Timings = field(default_factory=Timings)
    seconds: float = 0.0  # without the planned ones


def prepare_slides(bench: Workbench, refs: Sequence[SlideRef], report: Report, *, careful: bool = False) -> Bundle:
    """Prepare slides one after the other, and do the small ones in one stream: batches fill across slides.

    Careful: each is published as soon as it is done, for a bundle that may kill its worker.
    """
    work = _Stream(bench, report, 1 if careful else TOGETHER)
    stream: Any = process(
        work.jobs(refs), bench.model, bench.engine, least=least_scores(bench.model, bench.config),
        refiner=bench.second, timings=work.bundle.timings,
    )  # fmt: skip
    with contextlib.closing(work), contextlib.closing(stream):  # no slide is closed while a reader may hold it
        for outcome in stream:
            if isinstance(outcome, Failed):
                work.slide_failed(outcome)
            else:
                work.strip_done(outcome)
        work.publish()
    return work.bundle


@dataclass(slots=True)
class _Open:
    """A small slide in the stream, and then among those that wait to be published."""

    prepared: Prepared
    slide: Slide
    store: Store
    left: int
    seconds: float = 0.0
    failed: dict[int, str] = field(default_factory=dict)


class _Stream:
    """The small slides of a bundle on their way.

    Law: each is built as soon as its last strip is appended, and published at the latest with the first strip that
    ends SECONDS_TOGETHER later. Jobs are taken on a reader's thread, all else is done on the caller's, in turns.
    """

    def __init__(self, bench: Workbench, report: Report, most: int) -> None:
        self.bench, self.report, self.most = bench, report, most
        self.bundle = Bundle()
        self.open: dict[str, _Open] = {}
        self.built: list[_Open] = []
        self.together = Together(bench.config.output, bench.fence)
        self.given_up: list[Slide] = []
        self.mark = self.first_built = time.perf_counter()
        self.turn = threading.RLock()

    def jobs(self, refs: Sequence[SlideRef]) -> Iterator[Job]:
        """Yield a job for each small slide; keep, plan or fail the others."""
        for ref in refs:
            start, busy = time.perf_counter(), time.thread_time()
            try:
                prepared, slide = prepare_slide(self.bench, ref)
            except OutputError:
                raise
            except PbsbatchError as error:
                self._ended(failed_result(ref, error))
                continue
            self.bundle.timings.prepare += time.thread_time() - busy
            if prepared.hint and self.bench.config.stage is None:  # of a staged copy the next run sees nothing
                self.report(ContentSeen(ref.id, Content(prepared.facts["content"], prepared.hint)))
            if prepared.published:
                slide.close()
                self._ended(slide_result(ref, self._store(ref.id), seconds=0.0, resumed=True))
            elif prepared.plan.tiles > WHOLE_TILES:
                slide.close()
                self.bundle.planned.append(prepared)
                self.mark += time.perf_counter() - start
            else:
                store = store_of(self.bench, prepared, held=True)
                self.open[ref.id] = _Open(prepared, slide, store, len(prepared.missing))
                if prepared.missing:
                    yield Job(
                        slide, prepared.plan, prepared.calibration, tuple(prepared.missing), store,
                        keep_of(self.bench, prepared),
                    )  # fmt: skip
                else:
                    self._build(ref.id)

    def strip_done(self, strip: StripDone) -> None:
        """Take note of one strip, and build its slide's store if it was the last."""
        self.report(strip_finished(strip))
        one = self.open[strip.slide_id]
        one.left -= 1
        one.failed |= dict(strip.failed_tiles)
        one.seconds += self._lap()
        if one.left == 0:
            self._build(strip.slide_id)
        elif self.built and time.perf_counter() - self.first_built > SECONDS_TOGETHER:
            self.publish()

    def slide_failed(self, outcome: Failed) -> None:
        """Take note of a slide that cannot go on. It stays open: a reader may still be at it."""
        one = self.open.pop(outcome.slide_id)
        self.given_up.append(one.slide)
        self._lap()
        self._ended(failed_result(one.prepared.ref, outcome.error))

    def _lap(self) -> float:
        """Return the seconds since the last lap: slides overlap in the stream, their laps do not."""
        with self.turn:
            now = time.perf_counter()
            lap, self.mark = now - self.mark, now
            self.bundle.seconds += lap
            return lap

    def _store(self, slide_id: str) -> Path:
        return self.bench.config.output / "slides" / f"{slide_id}.zarr"

    def _build(self, slide_id: str) -> None:
        """Build a slide's store, and publish what is built if it is time."""
        with self.turn:
            one = self.open.pop(slide_id)
            try:
                self._add(one)
            except OutputError:
                self.publish()  # the disk takes no more, but what is built has its room already
                raise
            except PbsbatchError as error:
                self._ended(failed_result(one.prepared.ref, error))
                return
            one.seconds += self._lap()
            self.first_built = self.first_built if self.built else time.perf_counter()
            self.built.append(one)
            waited = time.perf_counter() - self.first_built
            if len(self.built) >= self.most or max(waited, one.seconds) > SECONDS_TOGETHER:
                self.publish()

    def _add(self, one: _Open) -> None:
        busy = time.thread_time()
        try:
            refuse_unreadable(self.bench, one.prepared, one.store, one.failed)
            self.together.add(one.store, preview_of(one.slide), measure_of(one.store.header, one.prepared.plan))
        finally:
            one.slide.close()
            self.bundle.timings.settle += time.thread_time() - busy

    def publish(self) -> None:
        """Publish what is built, and tell."""
        with self.turn:
            built, self.built, busy = self.built, [], time.thread_time()
            failed = self.together.publish()
            self.bundle.timings.settle += time.thread_time() - busy
            lap = self._lap() / max(1, len(built))
            for one in built:
                self._ended(self._result(one, failed.get(one.prepared.ref.id), one.seconds + lap))

    def _result(self, one: _Open, error: PbsbatchError | None, seconds: float) -> SlideResult:
        ref = one.prepared.ref
        if error is None:
            try:
                return slide_result(ref, self._store(ref.id), failed=one.failed, seconds=seconds)
            except OutputError:
                raise
            except PbsbatchError as unreadable:
                error = unreadable
        return failed_result(ref, error)

    def _ended(self, result: SlideResult) -> None:
        with self.turn:
            self.bundle.results.append(result)
            self.report(SlideFinished(result))

    def close(self) -> None:
        """Close what failed, and what an error left open; what is built and not published goes."""
        self.together.close()
        for slide in (*self.given_up, *(one.slide for one in self.open.values())):
            slide.close()


def strip_finished(strip: StripDone) -> StripFinished:
    """Return the event of a strip."""
    return StripFinished(strip.slide_id, strip.tiles, len(strip.failed_tiles), strip.cells, strip.pixels / 1e6)
