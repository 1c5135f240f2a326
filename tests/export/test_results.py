"""A run's results are opened as they are: slides by id, name and place; what is not there is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import pbsbatch
from pbsbatch.errors import UsageError
from pbsbatch.results import Run
from tests.export.conftest import NAMES, Truth


def test_slides_come_by_place_id_and_name_with_their_rows(run: Run, truth: Truth) -> None:
    again = pbsbatch.open_run(run.path)
    assert len(again) == 2 and again.finished
    assert {s.name for s in again} == set(NAMES)
    for slide in again:
        assert again[slide.id] is again.slide(slide.name) is again.slides[again.slides.index(slide)]
        assert slide.row["status"] == "ok" and slide.mpp == 0.25
        assert int(slide.row["n_rbc"]) == (slide.cells["class"] == 0).sum()
        labels = truth[slide.name]
        assert len(slide.cells["id"]) == len(np.unique(labels)) - 1
        whole = slide.store.rows(0, slide.store.info.cells)
        part = slide.store.rows(3, 9)
        assert all(np.array_equal(whole[n][3:9], part[n]) for n in whole)
    assert again.table()["n_rbc"] == [s.row["n_rbc"] for s in again]


def test_what_is_not_there_is_said(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no slide 'c'.*There are .*-"):
        run.slide("c")
    with pytest.raises(UsageError, match=r"no folder of results.*--output"):
        pbsbatch.open_run(tmp_path)
    with pytest.raises(AttributeError, match="no attribute 'close_run'"):
        pbsbatch.close_run  # noqa: B018


def test_a_run_that_has_not_finished_gives_the_slides_it_has(run: Run, tmp_path: Path) -> None:
    (tmp_path / "slides").mkdir()
    (tmp_path / "slides" / run[0].path.name).symlink_to(run[0].path)
    going = pbsbatch.open_run(tmp_path)
    assert not going.finished and [s.id for s in going] == [run[0].id]
    assert going[0].row == {} and len(going[0].cells["id"]) == len(run[0].cells["id"])
