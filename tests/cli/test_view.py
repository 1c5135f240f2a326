"""What a person sees: progress that weighs work, and exit codes."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from pbsbatch.cli.view import View, _closing_lines, exit_code, progress_line
from pbsbatch.config import Config
from pbsbatch.run.events import RunFinished, RunProgress, RunStarted, SlideResult, SlidesChanged, WorkerDied


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


def test_the_progress_line_says_what_is_known_and_whether_the_deadline_holds() -> None:
    at = RunProgress(
        total=12, done=4, failed=1, kept=2, running=3, names=(("a.svs", 3, 90),), tiles=30, mpix=500.0, cells=12345,
        seconds=10.0, share=0.4,
    )  # fmt: skip
    assert progress_line(at) == "4/12 slides · 3 running · 1 failed · 50.0 MP/s · 1,234 cells/s"
    six = datetime(2026, 1, 2, 6, 0).astimezone()
    for holds, said in ((True, "holds"), (False, "will not hold"), (None, "not known yet")):
        line = progress_line(replace(at, eta_s=3 * 3600 + 300, deadline=six, deadline_holds=holds))
        assert line.endswith(f"1,234 cells/s · 3 h 05 min left · until 06:00: {said}")


@pytest.mark.parametrize("quiet", [False, True])
def test_without_a_terminal_a_line_a_minute_tells_how_it_goes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, quiet: bool
) -> None:
    now = [1000.0]
    monkeypatch.setattr("pbsbatch.cli.view.time.monotonic", lambda: now[0])
    view = View(Config(quiet=quiet))
    view.on_event(RunStarted({"a": 1}, 0, 2, "openvino", "smear"))
    view.on_event(WorkerDied("segmentation fault in read (slides/vips.py:7)"))
    view.on_event(SlidesChanged("the model changed", ("a", "b")))
    for _ in range(130):
        now[0] += 1
        view.on_event(RunProgress(3, 1, 0, 0, 1, (), 1, 1.0, 1, 1.0, share=0.5))
    text = capsys.readouterr().out
    assert text.count("50 % · 1/3 slides") == (0 if quiet else 2)
    assert ("2 slides to do again: the model changed" in text) is not quiet
    assert ("a worker died, what it held runs again: segmentation fault" in text) is not quiet


def test_the_end_says_what_bound_the_run_and_how_much_was_overlap() -> None:
    done = finished("ok", "ok", "failed")
    shares = [(300.0, 0.8), (100.0, 0.9), (None, None)]
    results = tuple(
        replace(result, computed_mpix=mpix, core_share=share)
        for result, (mpix, share) in zip(done.results, shares, strict=True)
    )
    end = replace(done, results=results, bound_by="infer")
    assert end.core_share == pytest.approx(0.825)
    assert done.core_share is None
    text = " ".join(_closing_lines(end, Config()))
    assert "bound by the network · 82 % of what was computed was not overlap" in text
