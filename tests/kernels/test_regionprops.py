from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray
from skimage.measure import regionprops as reference

from pbsbatch_kernels.regionprops import Regions, measure
from tests.kernels.shapes import MASKS, SEEDS, Masks, noise, placed


def assert_equal(found: Regions, i: int, mask: NDArray[np.bool_], x: int, y: int) -> None:
    """Hold row i against scikit-image's measures of the mask at (x, y)."""
    (true,) = reference(mask.astype(np.uint8), offset=(y, x))
    top, left, bottom, right = true.bbox
    assert found.area[i] == true.area
    assert found.box[i].tolist() == [left + x, top + y, right + x, bottom + y]
    assert found.centroid[i].tolist() == pytest.approx(true.centroid[::-1], rel=0, abs=1e-9)
    assert found.perimeter[i] == pytest.approx(true.perimeter, rel=0, abs=1e-9)
    assert found.eccentricity[i] == pytest.approx(true.eccentricity, rel=0, abs=1e-6)
    assert found.solidity[i] == true.solidity  # the hull's pixels are counted, not measured


@given(MASKS)
def test_measures_equal_scikit_image(drawn: Masks) -> None:
    x, y = -13, 29
    bits, offsets, windows = placed(drawn, x, y)
    found = measure(bits, offsets, windows)
    assert found.colour is None
    for i, mask in enumerate(drawn):
        if mask.any():
            assert_equal(found, i, mask, int(windows[i, 0]), y)


@given(SEEDS)
def test_mean_colour_is_that_of_the_pixels_under_the_mask(seed: int) -> None:
    drawn = [noise(seed, 0.5), noise(seed + 1, 0.1)]
    bits, offsets, windows = placed(drawn, 105, 203)
    image = np.random.default_rng(seed).integers(0, 256, (40, 70, 3), np.uint8)
    found = measure(bits, offsets, windows, image, 100, 200).colour
    assert found is not None
    for i, mask in enumerate(drawn):
        if mask.any():
            x, y, w, h = (int(v) for v in windows[i] - [100, 200, 0, 0])
            (true,) = reference(mask.astype(np.uint8), image[y : y + h, x : x + w])
            assert found[i].tolist() == pytest.approx(true.intensity_mean.tolist(), rel=1e-12)


@pytest.mark.parametrize(
    "mask", [np.eye(9, dtype=bool), np.ones((1, 1), bool), np.ones((1, 7), bool), np.ones((5, 1), bool)]
)
def test_lines_and_points(mask: NDArray[np.bool_]) -> None:
    assert_equal(measure(*placed([mask], 3, 4)), 0, mask, 3, 4)


def test_a_wide_window_costs_no_digits() -> None:
    wide = np.zeros((700, 900), bool)
    wide[690:697, 880:887] = True
    assert_equal(measure(*placed([wide])), 0, wide, 0, 0)


def test_a_mask_without_pixels_has_no_measures() -> None:
    found = measure(*placed([np.zeros((3, 4), bool), np.zeros((0, 4), bool)], 7, 8), np.zeros((20, 20, 3), np.uint8))
    assert found.area.tolist() == [0, 0]
    assert found.box.tolist() == [[7, 8, 7, 8], [11, 8, 11, 8]]
    for values in (found.centroid, found.perimeter, found.eccentricity, found.solidity, found.colour):
        assert values is not None
        assert np.isnan(values).all()


def test_no_cells() -> None:
    found = measure(*placed([]))
    assert len(found.area) == len(found.box) == len(found.centroid) == 0


def test_an_image_must_hold_the_windows() -> None:
    packed = placed([np.ones((3, 3), bool)], 5, 5)
    for shape, x, y in (((8, 7, 3), 0, 0), ((7, 8, 3), 0, 0), ((8, 8, 3), 6, 0), ((8, 8, 3), 0, 6)):
        with pytest.raises(ValueError, match="leaves the image"):
            measure(*packed, np.zeros(shape, np.uint8), x, y)
    for image in (np.zeros((8, 8, 3)), np.zeros((8, 8), np.uint8)):
        with pytest.raises(ValueError, match=r"uint8 \(H, W, C\)"):
            measure(*packed, image)  # type: ignore[arg-type]
    assert measure(*packed, np.full((8, 8, 1), 9, np.uint8)).colour.tolist() == [[9.0]]  # type: ignore[union-attr]


def test_a_square_is_round_and_has_its_own_area_as_hull() -> None:
    found = measure(*placed([np.ones((6, 6), bool)]))
    assert found.eccentricity[0] == pytest.approx(0, abs=1e-7)
    assert found.solidity[0] == 1
    assert math.isclose(found.perimeter[0], 20)
