import pickle
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbsbatch.datasets.samples import (
    PLATELET,
    RAYS,
    RED,
    WHITE,
    Sample,
    decode,
    encode,
    red_cell_diameter,
    with_source_scale,
)


def sample(name: str = "a_1", source: str = "a", red: float = 30.0, n: int = 2) -> Sample:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    boxes = np.tile(np.float32([5, 5, 25, 25]), (n, 1))
    return Sample(
        name, source, encode(pixels), (50, 40), boxes, np.zeros(n, np.uint8), np.full((n, RAYS), np.nan, np.float32),
        np.zeros((0, 4), np.float32), red,
    )  # fmt: skip


def test_pixels_come_back_as_they_went_in() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (7, 9, 3), np.uint8)
    found = decode(encode(pixels))
    assert found is not None
    np.testing.assert_array_equal(found, pixels)
    again = pickle.loads(pickle.dumps(sample()))
    np.testing.assert_array_equal(again.image, sample().image)


def test_a_jpeg_is_rgb_and_not_turned_by_its_orientation() -> None:
    red = np.zeros((8, 16, 3), np.uint8)
    red[..., 0] = 250
    found = decode(cv2.imencode(".jpg", red[..., ::-1])[1].tobytes())
    assert found is not None and found.shape == (8, 16, 3)
    assert found[..., 0].min() > 200 and found[..., 2].max() < 60


@pytest.mark.parametrize("damaged", [b"", b"no picture", encode(np.zeros((4, 4, 3), np.uint8))[:20]])
def test_what_is_no_picture_is_none(damaged: bytes) -> None:
    assert decode(damaged) is None
    with pytest.raises(ValueError, match="cannot be decoded"):
        _ = replace(sample(), encoded=damaged).image


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": np.zeros(3, np.uint8)}, "classes must have shape"),
        ({"classes": np.full(2, 3, np.uint8)}, "classes are 0..2"),
        ({"boxes": np.zeros((2, 4), np.float32)}, "an area"),
        ({"boxes": np.full((2, 4), np.nan, np.float32)}, "finite corners"),
        ({"outlines": np.zeros((2, 8), np.float32)}, "outlines must have shape"),
        ({"unsure": np.zeros((1, 3), np.float32)}, "unsure must have shape"),
    ],
)
def test_a_sample_that_contradicts_itself_is_refused(change: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(sample(), **change)


@given(st.floats(5, 60), st.integers(3, 9), st.integers(0, 5))
def test_the_diameter_is_that_of_whole_red_cells(side: float, whole: int, cut: int) -> None:
    inside = np.tile([20, 20, 20 + side, 20 + side], (whole, 1))
    at_border = np.tile([0, 20, 90, 110], (cut, 1))
    others = np.array([[10, 10, 100, 100], [10, 10, 14, 14]] * whole)
    boxes = np.concatenate([inside, at_border, others]).astype(np.float32)
    classes = np.array([RED] * (whole + cut) + [WHITE, PLATELET] * whole, np.uint8)
    assert red_cell_diameter(boxes, classes, (120, 120)) == pytest.approx(side, rel=1e-5)
    assert np.isnan(red_cell_diameter(boxes[whole:], classes[whole:], (120, 120)))


def test_a_field_with_too_few_red_cells_takes_its_sources_median() -> None:
    nan = float("nan")
    given_ = [sample("a", "x", 20.0), sample("b", "x", 30.0), sample("c", "x", nan), sample("d", "y", nan)]
    found = with_source_scale(given_)
    assert [s.red_cell_px for s in found[:3]] == [20.0, 30.0, 25.0]
    assert np.isnan(found[3].red_cell_px)
    assert [s.name for s in found] == ["a", "b", "c", "d"]
