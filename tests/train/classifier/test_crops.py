"""The cell stays in the middle at the classifier's scale, and the same number is the same crop."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbsbatch.train.classifier.crops import JITTER_UM, ZOOM, Cutter, eased, plain
from pbsbatch.train.classifier.pictures import Cell
from tests.train.classifier.tiny import picture


def dot(radius: float, mpp: float, side: int = 200, shape: tuple[int, int] | None = None) -> Cell:
    """Return a black disc in the middle of white."""
    height, width = shape or (side, side)
    y, x = np.mgrid[:height, :width]
    inside = np.hypot(x - (width - 1) / 2, y - (height - 1) / 2) <= radius
    return Cell("dot", "monocyte", np.repeat(np.where(inside, 0, 255).astype(np.uint8)[..., None], 3, 2), mpp)


def seen(crop: np.ndarray) -> tuple[float, float, float]:
    """Return x and y of the disc against the middle, and its radius."""
    dark = crop[..., 1] < 128
    y, x = np.nonzero(dark)
    middle = (len(crop) - 1) / 2
    return float(x.mean() - middle), float(y.mean() - middle), math.sqrt(dark.sum() / math.pi)


@given(st.floats(0.18, 0.6), st.integers(150, 250), st.integers(150, 250))
def test_a_plain_crop_changes_scale_alone(mpp: float, height: int, width: int) -> None:
    crop = plain(dot(20, mpp, shape=(height, width)), 128, 0.2)
    assert crop.shape == (128, 128, 3) and crop.dtype == np.uint8
    radius = 20 * mpp / 0.2
    if radius < 60:
        x, y, r = seen(crop)
        assert abs(x) <= 1 and abs(y) <= 1 and r == pytest.approx(radius, rel=0.03, abs=0.4)


def test_a_picture_that_is_too_small_is_mirrored_at_its_border() -> None:
    small = dot(5, 0.2, side=20)
    crop = plain(small, 64, 0.2)
    np.testing.assert_array_equal(crop[22:42, 22:42], small.pixels)
    np.testing.assert_array_equal(crop[:, 21], crop[:, 22])


@given(st.integers(0, 2**31), st.sampled_from([0.1, 0.2, 0.3]))
def test_a_taught_cell_is_where_and_as_large_as_said(seed: int, mpp: float) -> None:
    cutter = Cutter([dot(3.0 / mpp, mpp, 2 * round(30 / mpp))], np.ones(1), 128, 0.2)
    crop = cutter._seen(cutter.cells[0], np.random.default_rng(seed), JITTER_UM)
    x, y, r = seen(crop)
    assert max(abs(x), abs(y)) <= JITTER_UM / 0.2 * ZOOM * math.sqrt(2) + 1
    assert 15 / ZOOM - 0.7 <= r <= 15 * ZOOM + 0.7


@given(st.integers(0, 2**31), st.integers(0, 10**6))
def test_a_number_is_a_crop(seed: int, number: int) -> None:
    cells = [Cell(k, k, picture(k, 1), 0.4) for k in ("neutrophil", "platelet")]
    cutter = Cutter(cells, np.array([0.25, 0.75]), 32, 0.4, 1.0)
    (a, which), (b, again) = cutter.cut(seed, number), cutter.cut(seed, number)
    np.testing.assert_array_equal(a, b)
    assert which == again and a.shape == (32, 32, 3) and a.dtype == np.uint8
    other, _ = cutter.cut(seed, number + 1)
    assert (other != a).any()


def test_cells_keep_no_more_pixels_than_crops_need() -> None:
    fine, coarse = dot(40, 0.1, 300), dot(10, 0.22, 90)
    (small, kept) = eased([fine, coarse], 0.25)
    assert kept is coarse
    assert small.mpp == pytest.approx(0.25 / ZOOM) and small.pixels.shape == (150, 150, 3)
    x, y, r = seen(small.pixels)
    assert abs(x) < 1 and abs(y) < 1 and r * small.mpp == pytest.approx(4.0, rel=0.03)


def test_cells_are_drawn_as_their_weights_say() -> None:
    cells = [Cell(k, k, picture(k, 1), 0.4) for k in ("neutrophil", "platelet")]
    cutter = Cutter(cells, np.array([0.2, 0.8]), 16, 0.8)
    assert 0.72 < np.mean([cutter.cut(1, n)[1] for n in range(400)]) < 0.88


def test_what_lies_behind_a_cut_leaves_the_middle_alone() -> None:
    cell = Cell("c", "monocyte", np.full((80, 80, 3), 100, np.uint8), 0.4)
    cutter = Cutter([cell], np.ones(1), 80, 0.4)
    changed = 0
    for seed in range(60):
        crop = np.full((80, 80, 3), 100, np.uint8)
        cutter._cut_off(crop, np.random.default_rng(seed))
        y, x = np.nonzero((crop != 100).any(2))
        changed += len(x) > 0
        assert (np.hypot(x - 39.5, y - 39.5) >= 8.0 / 0.4).all()
    assert changed > 5
