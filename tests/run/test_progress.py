"""Progress: weighed by work, and kept in a file that an outside process can read at any moment."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pbsbatch.run.events import (
    Event,
    RunFinished,
    RunStarted,
    SlideFinished,
    SlidePlanned,
    SlideResult,
    StripFinished,
)
from pbsbatch.run.progress import Progress, kept_in_file


def ended(slide_id: str, status: str = "ok", *, kept: bool = False) -> SlideFinished:
    return SlideFinished(SlideResult(slide_id, slide_id, Path(slide_id), slide_id, status, resumed=kept))


def test_the_work_is_weighed_by_size_and_by_tiles_within_a_slide() -> None:
    progress = Progress({"big": 800, "small": 100, "kept": 5000, "empty": 100})
    progress.note(ended("kept", kept=True))
    assert progress.share == 0
    progress.note(SlidePlanned("big", "big.tif", {}, 2, 20))
    progress.note(StripFinished("big", tiles=5, failed_tiles=0, cells=70, mpix=2.5))
    assert progress.share == pytest.approx(0.2)
    now = progress.now(5.0, running=1)
    assert now.names == (("big.tif", 5, 20),)
    assert (now.cells_per_s, now.mpix_per_s) == (14.0, 0.5)
    progress.note(ended("small"))
    assert progress.share == pytest.approx(0.3)
    progress.note(ended("big"))
    progress.note(ended("empty", "failed"))
    now = progress.now(9.0)
    assert (now.share, now.done, now.failed, now.kept, now.names) == (1.0, 3, 1, 1, ())


def test_a_run_with_nothing_left_is_done() -> None:
    progress = Progress({"kept": 10})
    progress.note(ended("kept", kept=True))
    assert progress.share == 1.0


@pytest.mark.parametrize(("eta", "holds"), [(50.0, True), (5000.0, False), (None, None)])
def test_a_deadline_holds_if_the_rest_ends_before_it(eta: float | None, holds: bool | None) -> None:
    soon = datetime.now(UTC) + timedelta(minutes=10)
    assert Progress({"a": 1}).now(1.0, eta_s=eta, deadline=soon).deadline_holds is holds


def test_the_file_says_how_far_a_run_is_and_whether_it_ended(tmp_path: Path) -> None:
    told: list[Event] = []
    listen = kept_in_file(tmp_path, told.append)

    def facts() -> dict[str, object]:
        assert [p.name for p in tmp_path.iterdir()] == ["progress.json"]
        found: dict[str, object] = json.loads((tmp_path / "progress.json").read_text())
        return found

    listen(RunStarted({"a": 4, "b": 6}, 0, 2, "openvino", "smear"))
    assert facts()["slides"] == {"total": 2, "done": 0, "failed": 0, "running": 0, "kept": 0}
    progress = Progress({"a": 4, "b": 6})
    progress.note(ended("a"))
    at = progress.now(2.0, running=1, eta_s=3.0)
    listen(replace(at, mpix=8.0))  # written less than a second ago: not yet
    assert facts()["share"] == 0
    listen(RunFinished((), 2.5, "interrupted by SIGINT", True, {}, "infer"))
    final = facts()
    assert (final["finished"], final["stopped"], final["pid"]) == (True, "interrupted by SIGINT", os.getpid())
    assert (final["share"], final["mpix"], final["mpix_per_s"], final["eta_s"]) == (0.4, 8.0, 4.0, 3.0)
    assert len(told) == 3


def test_a_folder_that_takes_no_file_does_not_end_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    told: list[Event] = []
    kept_in_file(tmp_path / "file", told.append)(RunStarted({}, 0, 1, "e", "m"))
    assert len(told) == 1
