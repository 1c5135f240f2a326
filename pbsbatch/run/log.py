"""run.log: one line per event that a person may ask about later, in UTC, appended run after run."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from pbsbatch import __version__
from pbsbatch.disk import output_errors
from pbsbatch.run.events import (
    EngineSaid,
    Event,
    ReadInPlace,
    RunFinished,
    RunStarted,
    SlideFinished,
    SlidePlanned,
    SlideResult,
    SlidesChanged,
    WorkerDied,
)

__all__ = ["logged"]

NAMES_SHOWN = 20


def logged(path: Path, on_event: Callable[[Event], None]) -> Callable[[Event], None]:
    """Return a listener that writes an event's line and passes the event on."""

    def listen(event: Event) -> None:
        line = _line(event)
        if line is not None:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            with output_errors(path.parent), path.open("a", encoding="utf-8") as log:
                log.write(f"{now} {line}\n")
        on_event(event)

    return listen


def _line(event: Event) -> str | None:
    match event:
        case RunStarted():
            notes = "".join(f"; {note}" for note in event.notes)
            return (
                f"started pbsbatch {__version__}: {len(event.sizes)} slides, {event.skipped} skipped, "
                f"{event.workers} workers, model {event.model} on {event.engine}, white cells named by "
                f"{event.classifier or 'nobody'}; {event.kernels}{notes}"
            )
        case SlidePlanned():
            return f"planned {event.name!r}: {event.strips_left} strips, {event.tiles_left} tiles to do"
        case SlideFinished():
            return _slide_line(event.result)
        case SlidesChanged() | WorkerDied() | EngineSaid() | ReadInPlace():
            return _news_line(event)
        case RunFinished():
            done = sum(r.status == "ok" for r in event.results)
            why = f", stopped: {event.stopped}" if event.stopped else ""
            return f"finished: {done} of {len(event.results)} done in {event.seconds:.1f} s{why}"
        case _:
            return None


def _news_line(event: SlidesChanged | WorkerDied | EngineSaid | ReadInPlace) -> str:
    if isinstance(event, ReadInPlace):
        return f"not staged, read in place {event.name!r}: {event.why}"
    if isinstance(event, EngineSaid):
        return f"engine: {event.text}"
    if isinstance(event, WorkerDied):
        return f"a worker died, what it held runs again: {event.why}"
    shown = ", ".join(map(repr, event.names[:NAMES_SHOWN]))
    more = f" and {len(event.names) - NAMES_SHOWN} more" if len(event.names) > NAMES_SHOWN else ""
    return f"to do again, {event.why}: {shown}{more}"


def _slide_line(result: SlideResult) -> str:
    if result.status != "ok":
        details = f"\n{result.details}" if result.details else ""
        return f"{result.status} {result.name!r}: {result.error}{details}"
    counts = ", ".join(f"{count} {name}" for name, count in result.counts.items())
    failed = f", {len(result.failed_tiles)} tiles failed" if result.failed_tiles else ""
    scale = ""
    if result.scale_confidence is not None:
        scale = f", scale estimated at {result.mpp:.4g} um per pixel (confidence {result.scale_confidence:.2f})"
    kept = " (committed by an earlier run)" if result.resumed else ""
    if result.changed:
        kept = f" (made again: {result.changed})"
    return f"done {result.name!r}: {counts}{failed}{scale}{kept}"
