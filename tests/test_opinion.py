"""A second opinion stands beside the first's word: it changes none, whatever tile a cell was seen from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pbsbatch import store
from pbsbatch.config import Config
from pbsbatch.detections import DISAGREE, LOW_MARGIN
from pbsbatch.models.taxonomy import CALLED, TYPES
from pbsbatch.run.rows import slide_rows
from pbsbatch.testing.oracle import fake_second_look, fake_second_opinion
from tests.oracle import draw_cells, write_oracle_slide
from tests.run.inline import run_one


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("opinion") / "s.tif"
    write_oracle_slide(path, draw_cells(700, 600, 90, seed=4))
    return path


@pytest.mark.parametrize("crop_px", [96, 64])
def test_an_opinion_is_told_beside_the_first_word_on_every_grid_of_tiles(
    slide: Path, tmp_path: Path, crop_px: int
) -> None:
    first = run_one(slide, tmp_path / "first", Config(core=256), second=fake_second_look())
    whole = run_one(slide, tmp_path / "whole", Config(), second=fake_second_opinion(crop_px))
    tiled = run_one(slide, tmp_path / "tiled", Config(core=256), second=fake_second_opinion(crop_px), backwards=True)
    assert first.store is not None and whole.store is not None and tiled.store is not None
    before, one, two = (store.open(path) for path in (first.store, whole.store, tiled.store))
    for name, column in before.cells.items():
        np.testing.assert_array_equal(one.cells[name], column)
    for name, column in one.cells.items():
        np.testing.assert_array_equal(two.cells[name], column)
    white = one.cells["class"] == 1
    assert before.second_types == () and one.second_types == CALLED
    assert ((one.cells["second_type"] != store.UNTYPED) == white).all() and white.sum() > 20
    said, other, flags = (one.cells[name][white] for name in ("type", "second_type", "second_flags"))
    differ = (flags & DISAGREE) != 0
    np.testing.assert_array_equal(differ, (said != other) & (said < len(TYPES)) & (other < len(TYPES)))
    assert 0 < differ.sum() < len(differ) and 0 < ((flags & LOW_MARGIN) != 0).sum() < len(flags)
    assert not one.cells["second_flags"][~white].any() and not one.cells["second_score"][~white].any()


def test_what_is_flagged_is_counted_and_a_run_without_says_nothing_of_it(slide: Path, tmp_path: Path) -> None:
    asked = run_one(slide, tmp_path / "a", Config(), second=fake_second_opinion())
    plain = run_one(slide, tmp_path / "b", Config(), second=fake_second_look())
    (row,), (other,) = slide_rows([asked], tmp_path, "m", "e"), slide_rows([plain], tmp_path, "m", "e")
    assert asked.store is not None and plain.store is not None
    flags = store.open(asked.store).cells["second_flags"]
    assert int(row["n_second_opinion"]) == int((store.open(asked.store).cells["class"] == 1).sum())
    assert (row["n_disagree"], row["n_low_margin"]) == (
        str(int(((flags & DISAGREE) != 0).sum())), str(int(((flags & LOW_MARGIN) != 0).sum())),
    )  # fmt: skip
    same = {
        name: text for name, text in row.items() if name in other and name not in ("seconds", "mpix_per_s", "store")
    }
    assert same == {name: other[name] for name in same} and "n_disagree" not in other
    assert "second" not in store.open(plain.store).info.measures
    assert "second_opinion" not in store.open(plain.store).attributes
    assert "second_opinion" not in store.open(plain.store).attributes["depends_on"]
    told = store.open(asked.store).attributes
    assert told["second_opinion"]["name"] == "other" and told["classifier"] == "fake-types"
