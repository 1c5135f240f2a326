"""What a worker does with a bundle: look, prepare, process strips, commit. No Dask in here.

Each function takes a Workbench, looks at the store before it works, reports what became true, and
returns a small value. A function may run twice, on two workers, at any time: strips are appended
atomically and stores are published by one rename, so the second run changes nothing.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pbsbatch.engines.base import own_threads
from pbsbatch.errors import OutputError, PbsbatchError, UnreadableSlideError
from pbsbatch.models.operating import least_scores
from pbsbatch.pipeline import Failed, Job, StripDone, Timings, process
from pbsbatch.plan import PREVIEW_PX, Plan
from pbsbatch.quality import measure
from pbsbatch.run.candidates import keep_of
from pbsbatch.run.events import Event, SlideFinished, SlideResult, StripFinished
from pbsbatch.run.prepare import Prepared, Workbench, changed_since, prepare_slide, store_of
from pbsbatch.run.result import failed_result, slide_result
from pbsbatch.slides import open_slide
from pbsbatch.slides.base import Slide, SlideRef
from pbsbatch.store import TILE_FAILED, Measure, Preview, Store, StoreHeader

__all__ = [
    "Bundle",
    "Looked",
    "Report",
    "StripsDone",
    "commit_slide",
    "look_at_slides",
    "prepare_slides",
    "process_strips",
]

WHOLE_TILES = 32
"""A slide of at most so many tiles is done whole by the worker that prepares it; a larger one is shared out."""
Report = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Looked:
    """What became of slides that an earlier run had published: kept, or to be done again and why."""

    kept: tuple[SlideResult, ...]
    changed: Mapping[str, str]  # slide id -> why


@dataclass(slots=True)
class Bundle:
    """What became of a bundle of slides: done or failed here, or planned to be computed by strips."""

    results: list[SlideResult] = field(default_factory=list)
    planned: list[Prepared] = field(default_factory=list)
    timings: Timings = field(default_factory=Timings)
    seconds: float = 0.0  # without the planned ones


@dataclass(slots=True)
class StripsDone:
    """What became of some strips of a slide."""

    failed: dict[int, str] = field(default_factory=dict)  # tile -> why it could not be read
    timings: Timings = field(default_factory=Timings)
    seconds: float = 0.0


def look_at_slides(bench: Workbench, refs: Sequence[SlideRef], report: Report) -> Looked:
    """Keep the published slides that would come out the same today."""
    kept: list[SlideResult] = []
    changed: dict[str, str] = {}
    for ref in refs:
        try:
            why = changed_since(bench, ref)
            if why is None:
                path = bench.config.output / "slides" / f"{ref.id}.zarr"
                kept.append(slide_result(ref, path, seconds=0.0, resumed=True))
                report(SlideFinished(kept[-1]))
                continue
        except OSError as error:
            why = f"the slide cannot be read ({error.strerror})"  # said again, as a failure, when its turn comes
        except PbsbatchError as error:
            why = error.what
        changed[ref.id] = why
    return Looked(tuple(kept), changed)


def prepare_slides(bench: Workbench, refs: Sequence[SlideRef], report: Report) -> Bundle:
    """Prepare slides one after the other, and do the small ones in one stream: batches fill across slides."""
    work = _Stream(bench, report)
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
    return work.bundle


@dataclass(slots=True)
class _Open:
    """A small slide in the stream."""

    prepared: Prepared
    slide: Slide
    store: Store
    left: int
    seconds: float
    failed: dict[int, str] = field(default_factory=dict)


class _Stream:
    """The small slides of a bundle on their way. Law: each is committed as soon as its last strip is appended.

    Jobs are taken on a reader's thread; everything else happens on the caller's.
    """

    def __init__(self, bench: Workbench, report: Report) -> None:
        self.bench, self.report = bench, report
        self.bundle = Bundle()
        self.open: dict[str, _Open] = {}
        self.given_up: list[Slide] = []
        self.mark = time.perf_counter()

    def jobs(self, refs: Sequence[SlideRef]) -> Iterator[Job]:
        """Yield a job for each small slide; keep, plan or fail the others."""
        for ref in refs:
            start, busy = time.perf_counter(), time.thread_time()
            try:
                prepared, slide = prepare_slide(self.bench, ref)
                self.bundle.timings.prepare += time.thread_time() - busy
            except OutputError:
                raise
            except PbsbatchError as error:
                self._ended(failed_result(ref, error))
                continue
            if prepared.published:
                slide.close()
                path = self.bench.config.output / "slides" / f"{ref.id}.zarr"
                self._ended(slide_result(ref, path, seconds=0.0, resumed=True))
            elif prepared.plan.tiles > WHOLE_TILES:
                slide.close()
                self.bundle.planned.append(prepared)
                self.mark += time.perf_counter() - start
            else:
                store = store_of(self.bench, prepared, held=True)
                self.open[ref.id] = _Open(prepared, slide, store, len(prepared.missing), 0.0)
                if prepared.missing:
                    yield Job(
                        slide, prepared.plan, prepared.calibration, tuple(prepared.missing), store,
                        keep_of(self.bench, prepared),
                    )  # fmt: skip
                else:
                    self._commit(ref.id)

    def strip_done(self, strip: StripDone) -> None:
        """Take note of one strip, and commit its slide if it was the last."""
        _report(self.report, strip)
        one = self.open[strip.slide_id]
        one.left -= 1
        one.failed |= dict(strip.failed_tiles)
        one.seconds += self._lap()
        if one.left == 0:
            self._commit(strip.slide_id)

    def slide_failed(self, outcome: Failed) -> None:
        """Take note of a slide that cannot go on. It stays open: a reader may still be at it."""
        one = self.open.pop(outcome.slide_id)
        self.given_up.append(one.slide)
        self._lap()
        self._ended(failed_result(one.prepared.ref, outcome.error))

    def _lap(self) -> float:
        """Return the seconds since the last lap: slides overlap in the stream, their laps do not."""
        now = time.perf_counter()
        lap, self.mark = now - self.mark, now
        self.bundle.seconds += lap
        return lap

    def _commit(self, slide_id: str) -> None:
        one = self.open.pop(slide_id)
        try:
            _commit(self.bench, one.prepared, one.store, one.slide, one.failed, self.bundle.timings)
            path = self.bench.config.output / "slides" / f"{slide_id}.zarr"
            result = slide_result(one.prepared.ref, path, failed=one.failed, seconds=one.seconds + self._lap())
        except OutputError:
            raise
        except PbsbatchError as error:
            result = failed_result(one.prepared.ref, error)
        finally:
            one.slide.close()
        self._ended(result)

    def _ended(self, result: SlideResult) -> None:
        self.bundle.results.append(result)
        self.report(SlideFinished(result))

    def close(self) -> None:
        """Close what failed, and what an error left open."""
        for slide in (*self.given_up, *(one.slide for one in self.open.values())):
            slide.close()


def process_strips(bench: Workbench, prepared: Prepared, strips: tuple[int, ...], report: Report) -> StripsDone:
    """Compute and append strips of a slide, those that another attempt appended meanwhile left out."""
    start, done = time.perf_counter(), StripsDone()
    store = store_of(bench, prepared)
    finished = store.finished
    slide = open_slide(prepared.ref.path, id=prepared.ref.id, mpp=prepared.plan.mpp)
    try:
        wanted = tuple(s for s in strips if s not in finished)
        job = Job(slide, prepared.plan, prepared.calibration, wanted, store, keep_of(bench, prepared))
        stream = process(
            [job], bench.model, bench.engine, least=least_scores(bench.model, bench.config),
            refiner=bench.second, timings=done.timings,
        )  # fmt: skip
        for outcome in stream:
            if isinstance(outcome, Failed):
                raise outcome.error
            _report(report, outcome)
            done.failed |= dict(outcome.failed_tiles)
    finally:
        slide.close()
    done.seconds = time.perf_counter() - start
    return done


def _report(report: Report, strip: StripDone) -> None:
    report(StripFinished(strip.slide_id, strip.tiles, len(strip.failed_tiles), strip.cells, strip.pixels / 1e6))


def commit_slide(
    bench: Workbench, prepared: Prepared, failed: Mapping[int, str], seconds: float
) -> tuple[SlideResult, Timings]:
    """Settle and publish a slide whose strips are all on disk; so many seconds were spent on it before."""
    start, timings = time.perf_counter(), Timings()
    slide = open_slide(prepared.ref.path, id=prepared.ref.id, mpp=prepared.plan.mpp)
    try:
        _commit(bench, prepared, store_of(bench, prepared), slide, failed, timings, own_threads())
    finally:
        slide.close()
    path = bench.config.output / "slides" / f"{prepared.ref.id}.zarr"
    took = seconds + time.perf_counter() - start
    return slide_result(prepared.ref, path, failed=failed, seconds=took), timings


def _commit(
    bench: Workbench, prepared: Prepared, store: Store, slide: Slide, known: Mapping[int, str], timings: Timings,
    workers: int = 1,
) -> None:  # fmt: skip
    """Refuse a slide with too many unreadable tiles, else settle, render (with so many threads) and publish it."""
    failed, tiles = int((store.tiles().status == TILE_FAILED).sum()), prepared.plan.tiles
    if tiles and failed / tiles > bench.config.max_failed_tiles:
        first = known[min(known)] if known else "met by an earlier run"
        raise UnreadableSlideError(
            f"{failed} of {tiles} tiles could not be read; the first: {first}", path=prepared.ref.path,
            cure="Copy the slide again from its source, or raise max_failed_tiles in a config file",
        )  # fmt: skip
    clock = time.thread_time if workers == 1 else time.process_time  # with more, nothing else is at work
    start = clock()
    image, downsample = slide.thumbnail(PREVIEW_PX)
    measured = _measure(store.header, prepared.plan)
    store.commit(Preview(image, downsample), workers=workers, fence=bench.fence, measure=measured)
    timings.settle += clock() - start


def _measure(header: StoreHeader, plan: Plan) -> Measure:
    """Return what measures a slide from the tables of its store."""
    return lambda cells, tiles: measure(cells, tiles, classes=header.classes, types=header.types, plan=plan).to_json()
