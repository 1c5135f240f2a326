"""Calibration: the line that makes scores chances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pbsbatch.train.calibrate import LEAST_SLOPE, platt


@given(a=st.floats(0.3, 3.0), b=st.floats(-1.5, 1.5), seed=st.integers(0, 10**6))
def test_a_known_line_is_found_again(a: float, b: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, 20_000)
    right = rng.random(20_000) < 1 / (1 + np.exp(-(a * logits + b)))
    found = platt(logits, right)
    assert found == pytest.approx((a, b), abs=0.12 * max(1, a))


@given(logits=st.lists(st.floats(-8, 16), min_size=4, max_size=40), seed=st.integers(0, 10**6))
def test_no_line_nearby_is_likelier(logits: list[float], seed: int) -> None:
    x = np.array(logits)
    right = np.random.default_rng(seed).random(len(x)) < 1 / (1 + np.exp(-x))
    assume(0 < right.sum() < len(x) and np.ptp(x) > 0.5)
    a, b = platt(x, right)
    assume(a > LEAST_SLOPE)
    hits = right.sum()
    wanted = np.where(right, (hits + 1) / (hits + 2), 1 / (len(x) - hits + 2))

    def loss(slope: float, shift: float) -> float:
        z = slope * x + shift
        return float((np.logaddexp(0, z) - wanted * z).sum() + ((slope - 1) / 0.5) ** 2 / 2 + (shift / 2) ** 2 / 2)

    best = loss(a, b)
    for da, db in ((0.01, 0), (-0.01, 0), (0, 0.01), (0, -0.01), (0.3, 0.3), (-0.3, 0.3)):
        assert best <= loss(a + da, b + db) + 1e-3


def test_a_better_logit_stays_a_better_score() -> None:
    logits = np.linspace(-3, 3, 50)
    assert platt(logits, logits < 0)[0] == LEAST_SLOPE


def test_two_wrong_labels_do_not_make_every_score_alike() -> None:
    logits = np.concatenate([np.random.default_rng(0).normal(2.5, 0.8, 160), [3.4, 3.6]])
    a, _ = platt(logits, np.arange(162) < 160)
    assert 0.3 < a < 3


@pytest.mark.parametrize(
    ("logits", "right"),
    [
        ([1.0, 2.0], [True, True]),
        ([1.0, 2.0], [False, False]),
        ([], []),
        ([np.nan, 1.0], [True, False]),
        ([1.0], [True, False]),
    ],
)
def test_what_cannot_be_calibrated_is_refused(logits: list[float], right: list[bool]) -> None:
    with pytest.raises(ValueError, match="calibration needs"):
        platt(np.array(logits), np.array(right, np.bool_))
