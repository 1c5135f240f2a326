"""Do one slide in this process, without Dask: what a run would do with it, strip after strip."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pbsbatch.run.bundle import prepare_slides
from pbsbatch.run.events import SlideResult
from pbsbatch.run.prepare import Workbench
from pbsbatch.run.tasks import commit_slide, process_strips
from pbsbatch.slides.base import SlideRef

__all__ = ["do_slide"]


def do_slide(
    bench: Workbench, ref: SlideRef, order: Callable[[Iterable[int]], Iterable[int]] = sorted
) -> SlideResult:  # fmt: skip
    """Prepare, process and commit a slide. Law: its store is the one that a run with the same bench makes."""
    bundle = prepare_slides(bench, [ref], lambda _: None)
    if bundle.results:
        return bundle.results[0]
    (prepared,) = bundle.planned
    failed: dict[int, str] = {}
    for strip in order(prepared.missing):
        failed |= process_strips(bench, prepared, (strip,), lambda _: None).failed
    return commit_slide(bench, prepared, failed, 0.0)[0]
