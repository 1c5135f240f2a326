"""Figures against plain reference counts, and calibration against made-up chances that are true."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbsbatch.models.taxonomy import KINDS, TYPES, chances_of, kinds_of, of_types
from pbsbatch.train.classifier.judge import PREVALENCE, expected_calibration_error, judge, log_loss


def draw(seed: int, count: int = 80) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    types = rng.integers(0, int(rng.integers(1, 9)), count)
    logits = rng.normal(0, 1, (count, len(KINDS)))
    logits[np.arange(count), [kinds_of(TYPES[t])[0] for t in types]] += 2
    return chances_of(logits), types


@given(st.integers(0, 2**31))
def test_figures_are_those_of_counting(seed: int) -> None:
    kinds, types = draw(seed)
    report = judge(kinds, types)
    called = of_types(kinds).argmax(1)
    assert report.cells == 80 and report.accuracy == np.mean(called == types)
    wrong = 0.0
    for t, name in enumerate(TYPES):
        row = report.types[name]
        assert row.cells == (types == t).sum()
        assert row.recall == (np.mean(called[types == t] == t) if row.cells else None)
        assert row.precision == (np.mean(types[called == t] == t) if (called == t).any() else None)
        false = sum(100 * p * np.mean(called[types == TYPES.index(of)] == t)
                    for of, p in PREVALENCE.items() if TYPES[t] != of and (types == TYPES.index(of)).any())  # fmt: skip
        assert row.false_calls_per_100 == pytest.approx(false)
        wrong += false
        assert report.confusion[t] == tuple(int(((types == t) & (called == u)).sum()) for u in range(8))
    assert report.wrong_per_100 == pytest.approx(wrong)
    recalls = [row.recall for row in report.types.values() if row.recall is not None]
    assert report.balanced_accuracy == pytest.approx(np.mean(recalls))
    json.dumps(report.table(), allow_nan=False)


def test_prevalence_is_of_a_hundred_white_cells() -> None:
    assert sum(PREVALENCE.values()) == pytest.approx(1)
    assert set(PREVALENCE) == set(TYPES[:6])


@given(st.integers(0, 2**31))
def test_chances_that_are_true_are_calibrated_and_boasts_are_not(seed: int) -> None:
    rng = np.random.default_rng(seed)
    chances = rng.dirichlet(np.full(8, 0.4), 6000)
    types = (rng.random((6000, 1)) > chances.cumsum(1)).sum(1).clip(0, 7)
    assert expected_calibration_error(chances, types) < 0.035
    boast = chances**3 / (chances**3).sum(1, keepdims=True)
    assert expected_calibration_error(boast, types) > 0.1
    assert log_loss(boast, types) > log_loss(chances, types)


def test_calibration_error_of_three_cells() -> None:
    chances = np.array([[0.9, 0.1], [0.92, 0.08], [0.35, 0.65]])
    gaps = abs(0.9 - 1 + 0.92 - 0) + abs(0.65 - 1)  # the first two share a bin
    assert expected_calibration_error(chances, np.array([0, 1, 1])) == pytest.approx(gaps / 3)
    sure = np.array([[1.0, 0.0]])
    assert expected_calibration_error(sure, np.array([0])) == 0


@given(st.integers(0, 2**31), st.floats(0.2, 5))
def test_chances_sum_to_one_and_temperature_keeps_the_order(seed: int, temperature: float) -> None:
    logits = np.random.default_rng(seed).normal(0, 200, (9, 11))
    chances = chances_of(logits, temperature)
    np.testing.assert_allclose(chances.sum(1), 1)
    np.testing.assert_array_equal(chances.argmax(1), logits.argmax(1))


def test_nothing_to_judge_is_refused() -> None:
    with pytest.raises(ValueError, match="one at least"):
        judge(np.zeros((0, 11)), np.zeros(0, np.int64))
    with pytest.raises(ValueError, match="as many labels as cells"):
        judge(np.full((2, 11), 1 / 11), np.zeros(1, np.int64))
