"""Fields in memory: which ones, how large, how heavy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbsbatch.datasets.samples import PLATELET
from pbsbatch.errors import UsageError
from pbsbatch.train.fields import LARGEST, load_training, load_validation, loaded
from tests.train.tiny import fields, tiny_settings, write_set


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("fields"))


def table(**changes: object) -> list[dict[str, object]]:
    return [{"path": "set", "split": "train", **changes}]


def test_a_small_source_is_not_drowned(root: Path, tmp_path: Path) -> None:
    found, weights = load_training(tiny_settings(tmp_path, balance=0.5), root)
    assert [f.source for f in found] == ["a", "a", "b"]
    assert weights.sum() == pytest.approx(1)
    assert weights[0] == weights[1]
    assert weights[2] / weights[0] == pytest.approx(np.sqrt(2))
    even = load_training(tiny_settings(tmp_path, balance=0.0), root)[1]
    assert even == pytest.approx(np.full(3, 1 / 3))


def test_drawn_fields_are_taken_as_often_as_said(root: Path, tmp_path: Path) -> None:
    drawn = {"share": 0.25, "fields": 2, "size_px": 64}
    found, weights = load_training(tiny_settings(tmp_path, synthetic=drawn), root)
    assert [f.source == "synth" for f in found] == [False, False, False, True, True]
    assert weights[3:].sum() == pytest.approx(0.25)
    assert weights.sum() == pytest.approx(1)
    alone, weights = load_training(tiny_settings(tmp_path, data=[], synthetic={**drawn, "share": 1.0}), root)
    assert (len(alone), weights.tolist()) == (2, [0.5, 0.5])


def test_fields_are_outlined_and_no_larger_than_needed(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pbsbatch.train.fields.LARGEST", LARGEST / 2)  # drawn cells are small
    settings = tiny_settings(tmp_path, work_mpp=0.8)
    found, _ = load_training(settings, root)
    assert all(f.red_cell_px <= LARGEST / 2 * settings.red_cell_px * 1.05 for f in found)
    assert all(f.size[0] < 128 for f in found)
    assert np.mean([np.isfinite(f.outlines).all(1).mean() for f in found]) > 0.7


def test_fields_to_judge_by_are_at_the_working_scale(root: Path, tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path)
    for field in load_validation(settings, root):
        assert field.red_cell_px == pytest.approx(settings.red_cell_px, rel=0.03)
        assert field.pixels.shape == (field.size[1], field.size[0], 3)


@given(zoom=st.floats(0.3, 2.0), which=st.integers(0, 2))
def test_boxes_keep_their_place_in_a_resized_field(zoom: float, which: int) -> None:
    sample = fields()[which]
    field = loaded(sample, zoom)
    before, after = np.array([*sample.size] * 2), np.array([*field.size] * 2)
    assert np.allclose(field.boxes / after, sample.boxes / before, atol=1e-5)
    assert np.array_equal(field.classes, sample.classes)
    assert field.red_cell_px / sample.red_cell_px == pytest.approx(zoom, rel=0.02)


def test_patterns_choose_fields(root: Path, tmp_path: Path) -> None:
    def names(**changes: object) -> list[str]:
        return [f.name for f in load_training(tiny_settings(tmp_path, data=table(**changes)), root)[0]]

    assert names(only=["a_*"]) == ["a_train0", "a_train1"]
    assert names(without=["a_*"]) == ["b_train2"]
    assert names(only=["a_*"], without=["a_train0"]) == ["a_train1"]
    with pytest.raises(UsageError, match="no field is called 'c_"):
        names(without=["c_*"])
    with pytest.raises(UsageError, match="leave no field"):
        names(without=["*"])
    with pytest.raises(UsageError, match="every data set has weight 0"):
        names(weight=0.0)


def test_where_labels_are_incomplete_nothing_is_background(root: Path, tmp_path: Path) -> None:
    found, _ = load_training(tiny_settings(tmp_path, data=table(complete=False)), root)
    assert all(np.allclose(f.unsure, [[0, 0, *f.size]], atol=0.01) for f in found)


def test_a_field_with_a_platelet_counts_as_much_more_as_is_asked(root: Path, tmp_path: Path) -> None:
    found, plain = load_training(tiny_settings(tmp_path), root)
    _, more = load_training(tiny_settings(tmp_path, rare=3.0), root)
    shown = np.array([bool((f.classes == PLATELET).any()) for f in found])
    assert 0 < shown.sum() < len(found)
    grown = more / plain
    assert grown[shown] / grown[~shown][0] == pytest.approx(4.0)
