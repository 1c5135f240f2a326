"""Peaks and votes against slow references."""

from __future__ import annotations

import numpy as np
import pytest

from pbsbatch_kernels.peaks import local_maxima, unmerged, votes


@pytest.mark.parametrize("seed", range(6))
def test_local_maxima_equal_the_slow_search(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height = rng.integers(0, 6, (rng.integers(1, 40), rng.integers(1, 40))).astype(np.float32)
    rows, cols = height.shape
    for reach in (1, 3):
        expected = []
        for y in range(rows):
            for x in range(cols):
                ys, xs = np.mgrid[
                    max(0, y - reach) : min(rows, y + reach + 1), max(0, x - reach) : min(cols, x + reach + 1)
                ]
                other = height[ys, xs]
                earlier = (ys < y) | ((ys == y) & (xs < x))
                if height[y, x] >= 2 and not ((other > height[y, x]) | ((other == height[y, x]) & earlier)).any():
                    expected.append([y, x])
        assert local_maxima(height, reach, 2.0).tolist() == expected


def test_many_maxima_fit() -> None:
    height = np.zeros((200, 200), np.float32)
    height[::2, ::2] = 1
    assert len(local_maxima(height, 1, 0.5)) == 10_000


def test_a_peak_falls_to_a_higher_one_across_a_high_saddle_only() -> None:
    height = np.full((5, 30), 1, np.float32)
    height[2, 5], height[2, 15], height[2, 25] = 10, 8, 8
    height[2, 6:15] = 7.5  # the middle peak hangs together with the first
    peaks = local_maxima(height, 2, 5.0)
    assert peaks[:, 1].tolist() == [5, 15, 25]
    assert unmerged(height, peaks, 12, 0.9).tolist() == [True, False, True]
    assert unmerged(height, peaks, 9, 0.9).tolist() == [True, True, True]
    assert unmerged(height, peaks, 12, 0.95).tolist() == [True, True, True]


def test_votes_of_a_disc_meet_at_its_centre_and_mute_ones_are_silent() -> None:
    ys, xs = np.mgrid[:60, :60]
    mask = ((ys - 30) ** 2 + (xs - 28) ** 2 <= 144).astype(np.uint8)
    gx, gy = ((28 - xs) * 8).astype(np.int16), ((30 - ys) * 8).astype(np.int16)
    tally = votes(mask, np.zeros_like(mask), gx, gy, 10, 14)
    y, x = np.unravel_index(int(tally.argmax()), tally.shape)
    assert abs(y - 30) <= 1 and abs(x - 28) <= 1
    assert votes(mask, mask, gx, gy, 10, 14).sum() == 0
    shifted = votes(
        np.roll(mask, (3, 5), (0, 1)),
        np.zeros_like(mask),
        np.roll(gx, (3, 5), (0, 1)),
        np.roll(gy, (3, 5), (0, 1)),
        10,
        14,
    )
    assert np.array_equal(np.roll(tally, (3, 5), (0, 1)), shifted)
