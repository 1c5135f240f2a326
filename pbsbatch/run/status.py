"""What a folder of results tells about its run from outside the process: at work, ended, or dead, and how far.

Law: nothing is written or locked. Whether a run is at work says the kernel by the lock, not a file that a
crash leaves behind; how far it came say its last words (run/progress.py) and what lies on the disk.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pbsbatch.errors import UsageError
from pbsbatch.run.output import MARKER, owner_of
from pbsbatch.run.progress import FILE, FORMAT

__all__ = ["SILENT_S", "Status", "judge", "read_status"]

SILENT_S = 60.0
"""A run that is at work and has not told anything for so long is said to be silent."""


@dataclass(frozen=True, slots=True)
class Status:
    """How a run stands. state: starting, running, silent, finished, stopped, crashed or unknown."""

    state: str
    owner: str | None  # how the live process calls itself
    told: dict[str, Any] | None  # progress.json; None where no version wrote one
    since_s: float | None  # since it was written
    stores: int
    strips: int  # of slides that are not published yet
    slides_begun: int

    @property
    def eta_s(self) -> float | None:
        """Return the seconds left, counted from now."""
        eta = self.told["eta_s"] if self.told else None
        return None if eta is None or self.since_s is None else max(0.0, eta - self.since_s)

    @property
    def pending(self) -> int | None:
        """Return how many slides have no result and nobody works on."""
        if not self.told:
            return None
        slides = self.told["slides"]
        at_work = slides["running"] if self.owner is not None else 0
        return int(max(0, slides["total"] - slides["done"] - slides["failed"] - at_work))


def read_status(out: Path, now: datetime | None = None) -> Status:
    """Look at a folder. Raises UsageError where it is none of results."""
    if not (out / MARKER).is_dir():
        what = "no such folder" if not out.exists() else "not a folder of results"
        raise UsageError(what, path=out, cure="Give the --output of a run")
    owner = owner_of(out)
    told = _progress(out / MARKER / FILE)
    since = None
    if told is not None:
        since = max(0.0, ((now or datetime.now(UTC)) - _moment(told["updated_utc"])).total_seconds())
    stores, strips, begun = _on_disk(out / "slides")
    state = judge(alive=owner is not None, told=told, since_s=since, ended=(out / "summary.csv").is_file())
    return Status(state, owner, told, since, stores, strips, begun)


def judge(*, alive: bool, told: dict[str, Any] | None, since_s: float | None, ended: bool) -> str:
    """Say how a run stands; ended: its tables are there."""
    if told is None:
        return "running" if alive else "finished" if ended else "unknown"
    if alive:
        if told["finished"]:
            return "starting"  # what is told is the run's before it
        return "silent" if since_s is not None and since_s > SILENT_S else "running"
    if not told["finished"]:
        return "crashed"
    return "finished" if told["stopped"] is None else "stopped"


def _progress(path: Path) -> dict[str, Any] | None:
    """Return a run's last words, with all that is read from them."""
    try:
        told = json.loads(path.read_bytes())
        if told["format"] != FORMAT:
            what = f"written by another version of pbsbatch (format {told['format']}, not {FORMAT})"
            raise UsageError(what, path=path, cure="Look with the version that runs")
        _moment(told["updated_utc"]), _moment(told["started_utc"])
        for name in ("total", "done", "failed", "running", "kept"):
            int(told["slides"][name])
        for name in ("mpix_per_s", "cells_per_s", "seconds", "share"):
            float(told[name])
        for one in told["running"]:
            str(one["slide"]), int(one["tiles_done"]), int(one["tiles"])
        told["eta_s"] = None if told["eta_s"] is None else float(told["eta_s"])
        if told["deadline_utc"] is not None:
            _moment(told["deadline_utc"])
        return dict(told) if {"finished", "stopped", "deadline_holds", "cells", "tiles"} <= told.keys() else None
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UsageError("damaged", path=path, cure="Run again, which writes a new one") from error


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _on_disk(slides: Path) -> tuple[int, int, int]:
    """Return how many stores are published, how many strips wait, and of how many slides."""
    if not slides.is_dir():
        return 0, 0, 0
    stores = sum(entry.name.endswith(".zarr") for entry in os.scandir(slides))
    strips = begun = 0
    for slide in sorted((slides / ".work").glob("*")):
        own = sum(1 for _ in slide.glob("*/strip-*.cells"))
        strips += own
        begun += own > 0
    return stores, strips, begun
