"""How far a run is: counted from its events, told once a second, kept in OUT/.pbsbatch/progress.json.

Law: the file is whole at any moment, and says what an outside process needs to know: who runs, since
when, how far, how fast, how long still, and whether it ended. After a crash it stands as it was last written.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pbsbatch.disk import output_errors, write_atomic
from pbsbatch.errors import OutputError
from pbsbatch.run.events import (
    Event,
    RunFinished,
    RunProgress,
    RunStarted,
    SlideFinished,
    SlidePlanned,
    SlideResult,
    StripFinished,
)

__all__ = ["FILE", "FORMAT", "Progress", "kept_in_file"]

FILE = "progress.json"
FORMAT = 1
SECONDS_BETWEEN_WRITES = 1.0
NAMES_SHOWN = 20


class Progress:
    """Count what became true. The work is weighed by bytes, and by tiles within a slide that is in progress."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self.sizes = {name: max(1, size) for name, size in sizes.items()}
        self.total_bytes = sum(self.sizes.values())
        self.ended_bytes = 0.0
        self.done = self.failed = self.kept = self.tiles = self.cells = 0
        self.mpix = 0.0
        self.planned: dict[str, tuple[str, int]] = {}  # slide -> name, tiles to do
        self.seen: dict[str, int] = {}  # slide -> tiles done

    def note(self, event: Event) -> None:
        """Take note of one event."""
        match event:
            case SlidePlanned():
                self.planned[event.slide_id] = (event.name, event.tiles_left)
            case StripFinished():
                self.tiles += event.tiles
                self.cells += event.cells
                self.mpix += event.mpix
                self.seen[event.slide_id] = self.seen.get(event.slide_id, 0) + event.tiles
            case SlideFinished():
                self._ended(event.result)
            case _:
                pass

    def _ended(self, result: SlideResult) -> None:
        self.planned.pop(result.slide_id, None)
        self.seen.pop(result.slide_id, None)
        self.failed += result.status == "failed"
        self.done += result.status == "ok"
        self.kept += result.resumed
        if result.resumed:  # no work of this run
            self.total_bytes -= self.sizes[result.slide_id]
        else:
            self.ended_bytes += self.sizes[result.slide_id]

    @property
    def share(self) -> float:
        """Return the share of this run's work that is done."""
        going = sum(self.sizes[s] * min(1.0, self.seen.get(s, 0) / max(1, n)) for s, (_, n) in self.planned.items())
        return min(1.0, (self.ended_bytes + going) / self.total_bytes) if self.total_bytes > 0 else 1.0

    def now(
        self, seconds: float, *, running: int = 0, eta_s: float | None = None, deadline: datetime | None = None
    ) -> RunProgress:
        """Return the figures as they stand after so many seconds."""
        names = tuple((name, min(self.seen.get(s, 0), tiles), tiles) for s, (name, tiles) in self.planned.items())
        holds = None
        if deadline is not None and eta_s is not None:
            holds = datetime.now(UTC).timestamp() + eta_s <= deadline.timestamp()
        return RunProgress(
            total=len(self.sizes), done=self.done, failed=self.failed, kept=self.kept, running=running,
            names=names[:NAMES_SHOWN], tiles=self.tiles, mpix=self.mpix, cells=self.cells, seconds=seconds,
            share=self.share, eta_s=eta_s, deadline=deadline, deadline_holds=holds,
        )  # fmt: skip


def kept_in_file(folder: Path, on_event: Callable[[Event], None], host: str | None = None) -> Callable[[Event], None]:
    """Return a listener that keeps progress.json in a folder, and passes every event on; host: what to call it."""
    host = host or socket.gethostname()
    path = folder / FILE
    started = _utc(datetime.now(UTC))
    latest = Progress({}).now(0.0)
    written = float("-inf")

    def listen(event: Event) -> None:
        nonlocal latest, written
        if isinstance(event, RunStarted):
            latest = Progress(event.sizes).now(0.0)
        elif isinstance(event, RunProgress):
            latest = event
        finished = event if isinstance(event, RunFinished) else None
        due = isinstance(event, RunProgress) and time.monotonic() - written >= SECONDS_BETWEEN_WRITES
        if due or finished is not None or isinstance(event, RunStarted):
            written = time.monotonic()
            with suppress(OutputError), output_errors(path):  # results that do not fit stop the run, this file does not
                write_atomic(path, [json.dumps(_facts(started, latest, finished, host), indent=1).encode()])
        on_event(event)

    return listen


def _facts(started: str, at: RunProgress, finished: RunFinished | None, host: str) -> dict[str, Any]:
    """Return what progress.json holds. Scripts read it: extend it, do not break it."""
    return {
        "format": FORMAT, "pid": os.getpid(), "host": host, "started_utc": started,
        "updated_utc": _utc(datetime.now(UTC)),
        "slides": {name: getattr(at, name) for name in ("total", "done", "failed", "running", "kept")},
        "running": [{"slide": name, "tiles_done": done, "tiles": tiles} for name, done, tiles in at.names],
        "share": round(at.share, 4), "seconds": round(at.seconds, 1), "tiles": at.tiles,
        "mpix": round(at.mpix, 1), "cells": at.cells, "mpix_per_s": round(at.mpix_per_s, 2),
        "cells_per_s": round(at.cells_per_s, 1), "eta_s": None if at.eta_s is None else round(at.eta_s, 1),
        "deadline_utc": None if at.deadline is None else _utc(at.deadline), "deadline_holds": at.deadline_holds,
        "stopped": None if finished is None else finished.stopped, "finished": finished is not None,
    }  # fmt: skip


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")
