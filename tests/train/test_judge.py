"""Judging: what is right is counted right, by class and by source."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbsbatch.datasets.samples import CLASSES
from pbsbatch.train.detect import Cells, padded
from pbsbatch.train.fields import Loaded, loaded
from pbsbatch.train.judge import fates, judge
from tests.train.tiny import fields


def known() -> list[Loaded]:
    return [replace(loaded(s, 1.0), source=source) for s, source in zip(fields(), "aab", strict=True)]


def echo(field: Loaded, rng: np.random.Generator, keep: float = 1.0, extra: int = 0) -> Cells:
    """Return the labels themselves, some left out, and some boxes where nothing is, with lower logits."""
    kept = rng.random(len(field.boxes)) < keep
    corner = np.array([[0.0, 0.0, 2.0, 2.0]] * extra).reshape(-1, 4)
    return Cells(
        np.concatenate([field.boxes[kept].astype(np.float64), corner]),
        np.concatenate([field.classes[kept].astype(np.int64), np.zeros(extra, np.int64)]),
        np.concatenate([rng.uniform(0, 3, kept.sum()), rng.uniform(-4, -1, extra)]),
    )


@given(seed=st.integers(0, 1000), extra=st.integers(0, 20))
def test_the_labels_themselves_are_perfect_whatever_lies_below_the_threshold(seed: int, extra: int) -> None:
    rng = np.random.default_rng(seed)
    fields_ = known()
    report = judge(fields_, [echo(f, rng, extra=extra) for f in fields_])
    assert report.map == pytest.approx(1) and report.map50 == pytest.approx(1)
    for name, row in report.classes.items():
        if row.cells:
            assert (row.f1, row.precision, row.recall, row.count_error) == (1, 1, 1, 0), name
            assert row.threshold is not None and row.threshold >= 0
    assert sorted(report.sources) == ["a", "b"]
    assert report.sources["a"].fields == 2 and report.fields == 3


@given(seed=st.integers(0, 1000), keep=st.floats(0.3, 1.0))
def test_counts_are_held_against_each_field(seed: int, keep: float) -> None:
    rng = np.random.default_rng(seed)
    fields_ = known()
    found = [echo(f, rng, keep) for f in fields_]
    row = judge(fields_, found).classes["RBC"]
    assert row.threshold is not None
    errors = []
    for field, cells in zip(fields_, found, strict=True):
        true = int((field.classes == 0).sum())
        counted = int(((cells.classes == 0) & (cells.logits >= row.threshold)).sum())
        errors.append(abs(true - counted) / true)
    assert row.count_error == pytest.approx(np.mean(errors))
    assert row.precision == 1
    assert row.recall == pytest.approx(row.f1 / (2 - row.f1)) if row.f1 else row.recall == 0


def test_a_source_is_counted_at_the_threshold_of_all() -> None:
    rng = np.random.default_rng(1)
    fields_ = known()
    report = judge(fields_, [echo(f, rng, 0.7, 5) for f in fields_])
    for part in report.sources.values():
        for name in CLASSES:
            assert part.classes[name].threshold == report.classes[name].threshold


def test_a_class_that_is_never_found_has_no_threshold() -> None:
    fields_ = known()
    nothing = Cells(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0))
    report = judge(fields_, [nothing] * 3)
    assert report.map == 0
    row = report.classes["RBC"]
    assert row.ap == 0 and row.threshold is None and row.f1 is None


def test_without_a_cell_there_is_nothing_to_judge_by() -> None:
    field = known()[0]
    bare = replace(
        field, boxes=field.boxes[:0], classes=field.classes[:0], outlines=field.outlines[:0], unsure=field.unsure[:0]
    )
    with pytest.raises(ValueError, match="no cell in the fields"):
        judge([bare], [Cells(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0))])


def test_a_cell_is_right_once() -> None:
    field = known()[0]
    cells = Cells(
        np.repeat(field.boxes[:1].astype(np.float64), 2, 0),
        np.repeat(field.classes[:1].astype(int), 2),
        np.array([1.0, 2.0]),
    )
    seen = fates([field], [cells])
    assert seen.hits[:, 0].tolist() == [1]
    assert seen.false_positives.tolist() == [0]


@given(height=st.integers(1, 100), width=st.integers(1, 100))
def test_a_field_lies_in_white_on_sides_that_the_network_takes(height: int, width: int) -> None:
    field = np.zeros((height, width, 3), np.uint8)
    out = padded(field)
    assert out.shape[0] % 32 == out.shape[1] % 32 == 0
    assert not out[16 : 16 + height, 16 : 16 + width].any()
    assert int((out == 0).all(2).sum()) == height * width
    assert out.shape[0] - height - 16 >= 16 and out.shape[1] - width - 16 >= 16


def test_of_cuts_that_are_as_good_the_one_that_counts_right_is_taken() -> None:
    corner = 20.0 * np.stack(np.meshgrid(np.arange(20), np.arange(20)), -1).reshape(-1, 2)
    boxes = np.concatenate([corner, corner + 12], 1)
    field = replace(
        known()[0], boxes=boxes.astype(np.float32), classes=np.zeros(400, np.uint8), size=(400, 400),
        outlines=np.full((400, 32), np.nan, np.float32),
    )  # fmt: skip
    right = np.concatenate([np.linspace(1.0, 4.0, 393), [0.5, 0.5, 0.5]])  # four are not found
    wrong = np.array([2.0, 2.0, 0.7, 0.7, 0.7, 0.7])
    cells = Cells(
        np.concatenate([boxes[:396], np.tile([[14.0, 14.0, 19.0, 19.0]], (6, 1))]), np.zeros(402, np.int64),
        np.concatenate([right, wrong]),
    )  # fmt: skip
    row = judge([field], [cells]).classes["RBC"]
    # from 1.0 on F1 is better by .0012, and seven are missing for two too many; below .5 nothing lies: an even chance
    assert row.threshold == 0.0
    assert row.precision == pytest.approx(396 / 402) and row.recall == pytest.approx(396 / 400)


def test_a_cut_is_no_cells_own_score() -> None:
    field = known()[0]
    red = field.boxes[field.classes == 0].astype(np.float64)
    assert len(red) > 4
    only = replace(
        field, boxes=red.astype(np.float32), classes=np.zeros(len(red), np.uint8),
        outlines=np.full((len(red), 32), np.nan, np.float32),
    )  # fmt: skip
    corners = np.tile([[0.0, 0.0, 1.0, 1.0]], (4, 1))
    cells = Cells(
        np.concatenate([red, corners]), np.zeros(len(red) + 4, np.int64),
        np.concatenate([np.linspace(2.0, 3.0, len(red)), np.full(4, 1.0)]),
    )  # fmt: skip
    row = judge([only], [cells]).classes["RBC"]
    assert row.f1 == 1 and row.threshold is not None and 1.0 < row.threshold <= 3.0
    assert row.threshold not in cells.logits.tolist()
