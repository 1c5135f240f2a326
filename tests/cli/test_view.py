"""What a person sees: progress that weighs work, and exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from pbsbatch.cli.view import Work, exit_code
from pbsbatch.run.events import RunFinished, SlideResult


def finished(*statuses: str, stopped: str | None = None, interrupted: bool = False) -> RunFinished:
    results = tuple(SlideResult(str(i), str(i), Path(str(i)), str(i), s) for i, s in enumerate(statuses))
    return RunFinished(results, 1.0, stopped, interrupted, {}, "nothing")


@pytest.mark.parametrize(
    ("run", "code"),
    [
        (finished("ok", "ok"), 0),
        (finished("ok", "failed"), 1),
        (finished("ok", "pending", stopped="the disk is full"), 3),
        (finished("failed", "pending", stopped="interrupted by SIGINT", interrupted=True), 130),
    ],
)
def test_exit_codes(run: RunFinished, code: int) -> None:
    assert exit_code(run) == code


def test_progress_weighs_slides_by_size_and_by_tiles_within_one() -> None:
    work = Work({"big": 800, "small": 100, "kept": 5000, "empty": 100})
    work.end("kept", counted=False)
    assert work.share == 0
    work.plan("big", 20)
    work.tiles("big", 5)
    assert work.share == pytest.approx(0.2)
    work.end("small", counted=True)
    assert work.share == pytest.approx(0.3)
    work.tiles("big", 15)
    work.end("big", counted=True)
    work.end("empty", counted=True)
    assert work.share == 1.0


def test_a_run_with_nothing_left_is_done() -> None:
    work = Work({"kept": 10})
    work.end("kept", counted=False)
    assert work.share == 1.0
