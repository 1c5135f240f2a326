"""The flood beside scikit-image's watershed, and on ties its own law."""

from __future__ import annotations

import numpy as np
import pytest

from pbsbatch_kernels.flood import flood


@pytest.mark.parametrize("seed", range(6))
def test_the_flood_is_the_watershed(seed: int) -> None:
    watershed = pytest.importorskip("skimage.segmentation").watershed
    rng = np.random.default_rng(seed)
    rows, cols = rng.integers(1, 40, 2)
    height = rng.integers(8, 30, (rows, cols)).astype(np.int32)
    mask = (rng.random((rows, cols)) < 0.8).astype(np.uint8)
    places = rng.permutation(rows * cols)[: min(6, rows * cols)]
    seeds = np.stack([places // cols, places % cols], axis=1).astype(np.int32)
    height[seeds[:, 0], seeds[:, 1]] = rng.permutation(8)[: len(seeds)]  # no two equally high
    markers = np.zeros((rows, cols), np.int32)
    markers[seeds[:, 0], seeds[:, 1]] = np.arange(1, len(seeds) + 1)
    expected = watershed(height, markers, mask=mask.astype(bool))
    np.testing.assert_array_equal(flood(height, seeds, mask), expected)


def test_a_ridge_parts_two_basins_and_equal_water_goes_by_turn() -> None:
    height = np.array([[0, 1, 2, 3, 2, 1, 0], [0, 0, 0, 0, 0, 0, 0]], np.int32)
    mask = np.ones_like(height, np.uint8)
    mask[1] = 0
    seeds = np.array([[0, 6], [0, 0]], np.int32)
    assert flood(height, seeds, mask)[0].tolist() == [2, 2, 2, 1, 1, 1, 1]
    flat = np.zeros((1, 5), np.int32)
    assert flood(flat, seeds[:, ::-1] * 0 + [[0, 0], [0, 4]], np.ones((1, 5), np.uint8)).tolist() == [[1, 1, 1, 2, 2]]


def test_what_no_water_reaches_stays_bare_and_bad_seeds_give_nothing() -> None:
    mask = np.array([[1, 1, 0, 1]], np.uint8)
    seeds = np.array([[0, 2], [0, 0], [0, 0]], np.int32)
    assert flood(np.zeros((1, 4), np.int32), seeds, mask).tolist() == [[2, 2, 0, 0]]
