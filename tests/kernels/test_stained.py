"""Hue, saturation and Otsu's level beside OpenCV's."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pbsbatch_kernels.stained import NO_HUE, hue_saturation, otsu, within


@pytest.mark.parametrize("seed", range(3))
def test_at_full_size_they_are_opencvs(seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (37, 53, 3), np.uint8)
    image[0, :9] = [(v, v, v) for v in range(0, 252, 28)]  # greys, black among them
    hue, saturation, histogram = hue_saturation(image, 1, 1)
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    assert np.abs(saturation.astype(int) - hsv[..., 1]).max() <= 1
    turn = np.abs(hue.astype(int) - hsv[..., 0])
    coloured = saturation > 0
    assert np.minimum(turn, 180 - turn)[coloured].max() <= 1
    assert (hue[~coloured] == NO_HUE).all() and (hue[coloured] < 180).all()
    np.testing.assert_array_equal(histogram, np.bincount(saturation.ravel(), minlength=256))


def test_a_block_is_its_mean_also_where_the_border_cuts_it() -> None:
    image = np.zeros((5, 7, 3), np.uint8)
    image[..., 2], image[..., 0] = 200, np.arange(7) * 10
    _, saturation, _ = hue_saturation(image, 3, 0)
    assert saturation.shape == (2, 3)
    small = np.zeros((2, 3, 3), np.uint8)
    small[..., 2], small[..., 0] = 200, (10, 40, 60)
    np.testing.assert_array_equal(saturation, hue_saturation(small, 1, 0)[1])


def test_pale_pixels_have_no_hue() -> None:
    image = np.array([[[200, 100, 200], [200, 190, 200]]], np.uint8)
    assert hue_saturation(image, 1, 60)[0].tolist() == [[150, NO_HUE]]


@pytest.mark.parametrize("seed", range(4))
def test_otsus_level_is_opencvs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    plane = np.concatenate([rng.normal(60, 15, 4000), rng.normal(170, 20, 900)]).clip(0, 255).astype(np.uint8)
    expected, _ = cv2.threshold(plane, 0, 255, cv2.THRESH_OTSU)
    assert otsu(np.bincount(plane, minlength=256)) == int(expected)


def test_one_level_parts_nothing_from_itself() -> None:
    assert otsu(np.eye(1, 256, 40, dtype=np.int64)[0]) == 0
    assert otsu(np.zeros(256, np.int64)) == 0


def test_hues_may_go_round_through_red() -> None:
    hue = np.array([[0, 5, 90, 130, 175, NO_HUE]], np.uint8)
    strong = np.full_like(hue, 90)
    assert within(hue, strong, 120, 180, 60).tolist() == [[0, 0, 0, 1, 1, 0]]
    assert within(hue, strong, 170, 5, 60).tolist() == [[1, 1, 0, 0, 1, 0]]
    assert within(hue, strong, 0, 179, 90).sum() == 0
