"""Predictions: learned from what was done, sane before anything was."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbsbatch.run.pace import Pace


def test_seconds_per_slide_and_per_byte_are_told_apart() -> None:
    pace, rng = Pace(), random.Random(1)
    for _ in range(40):
        count = rng.randint(1, 50)
        size = sum(int(rng.lognormvariate(14, 1)) for _ in range(count))
        pace.learn(count, size, (0.3 * count + 1e-7 * size) * rng.uniform(0.9, 1.1))
    assert pace.slide_seconds == pytest.approx(0.3, rel=0.2)
    assert pace.byte_seconds == pytest.approx(1e-7, rel=0.2)


def test_slides_all_alike_are_predicted_though_their_rates_cannot_be_told_apart() -> None:
    pace = Pace()
    for _ in range(20):
        pace.learn(500, 500 * 30_000, 10.0)
    assert pace.slides(500, 500 * 30_000) == pytest.approx(10.0, rel=0.01)


def test_the_newest_counts_most() -> None:
    pace = Pace()
    for seconds in [1.0] * 20 + [4.0] * 20:
        pace.learn(1, 10**6, seconds)
    assert pace.slides(1, 10**6) == pytest.approx(4.0, rel=0.1)
    for _ in range(30):
        pace.learn_commit(10.0, 1.0)
    assert pace.commit_share == pytest.approx(0.1, abs=0.01)


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 10**11), st.floats(0, 10**5)), max_size=30))
def test_rates_stay_positive_and_finite(measured: list[tuple[int, int, float]]) -> None:
    pace = Pace()
    for count, size, seconds in measured:
        pace.learn(count, size, seconds)
    assert 0 < pace.slide_seconds < float("inf")
    assert 0 < pace.byte_seconds < float("inf")
