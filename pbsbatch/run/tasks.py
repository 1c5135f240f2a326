"""What a worker does beside bundles of slides (bundle.py): look, process strips, commit. No Dask in here.

Each function takes a Workbench, looks at the store before it works, reports what became true, and
returns a small value. A function may run twice, on two workers, at any time: strips are appended
atomically and stores are published by one rename, so the second run changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from pbsbatch.engines.base import own_threads
from pbsbatch.errors import PbsbatchError
from pbsbatch.models.operating import least_scores
from pbsbatch.pipeline import Failed, Job, Timings, process
from pbsbatch.run.bundle import Report, strip_finished
from pbsbatch.run.candidates import keep_of
from pbsbatch.run.content import Content, content_of
from pbsbatch.run.events import ContentSeen, SlideFinished, SlideResult
from pbsbatch.run.prepare import Prepared, Workbench, changed_since, store_of
from pbsbatch.run.publishing import measure_of, preview_of, refuse_unreadable
from pbsbatch.run.result import slide_result
from pbsbatch.slides import open_slide
from pbsbatch.slides.base import SlideRef

__all__ = ["Looked", "StripsDone", "commit_slide", "look_at_slides", "process_strips"]


@dataclass(frozen=True, slots=True)
class Looked:
    """What became of slides that an earlier run had published: kept, or to be done again and why."""

    kept: tuple[SlideResult, ...]
    changed: Mapping[str, str]  # slide id -> why


@dataclass(slots=True)
class StripsDone:
    """What became of some strips of a slide."""

    failed: dict[int, str] = field(default_factory=dict)  # tile -> why it could not be read
    timings: Timings = field(default_factory=Timings)
    seconds: float = 0.0


def look_at_slides(
    bench: Workbench, refs: Sequence[SlideRef], report: Report, known: Mapping[str, Content] = MappingProxyType({})
) -> Looked:  # fmt: skip
    """Keep the published slides that would come out the same today; known: their content as it was seen last."""
    kept: list[SlideResult] = []
    changed: dict[str, str] = {}
    for ref in refs:
        try:
            content = content_of(ref.path, known.get(ref.id))
            if content.hint and content != known.get(ref.id):
                report(ContentSeen(ref.id, content))
            why = changed_since(bench, ref, content)
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
            report(strip_finished(outcome))
            done.failed |= dict(outcome.failed_tiles)
    finally:
        slide.close()
    done.seconds = time.perf_counter() - start
    return done


def commit_slide(
    bench: Workbench, prepared: Prepared, failed: Mapping[int, str], seconds: float
) -> tuple[SlideResult, Timings]:
    """Settle and publish a slide whose strips are all on disk; so many seconds were spent on it before."""
    start, timings = time.perf_counter(), Timings()
    slide = open_slide(prepared.ref.path, id=prepared.ref.id, mpp=prepared.plan.mpp)
    try:
        store, threads = store_of(bench, prepared), own_threads()
        refuse_unreadable(bench, prepared, store, failed)
        clock = time.thread_time if threads == 1 else time.process_time  # with more, nothing else is at work
        busy = clock()
        measures = measure_of(store.header, prepared.plan)
        store.commit(preview_of(slide), workers=threads, fence=bench.fence, measure=measures)
        timings.settle += clock() - busy
    finally:
        slide.close()
    path = bench.config.output / "slides" / f"{prepared.ref.id}.zarr"
    took = seconds + time.perf_counter() - start
    return slide_result(prepared.ref, path, failed=failed, seconds=took), timings
