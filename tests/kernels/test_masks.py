import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pbsbatch_kernels import masks

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=20)
MASKS = st.lists(hnp.arrays(np.bool_, SHAPES), max_size=12)


@settings(max_examples=200, deadline=None)
@given(MASKS)
def test_pack_equals_packbits_and_areas_count(drawn: list[np.ndarray]) -> None:
    bits, offsets = masks.pack(drawn)
    expected = [np.packbits(m.ravel()) for m in drawn]
    assert bits.tobytes() == b"".join(e.tobytes() for e in expected)
    np.testing.assert_array_equal(offsets, np.cumsum([0, *(len(e) for e in expected)]))
    windows = np.array([(0, 0, m.shape[1], m.shape[0]) for m in drawn], np.int32).reshape(-1, 4)
    np.testing.assert_array_equal(masks.areas(bits, offsets, windows), [m.sum() for m in drawn])


def test_bits_behind_the_last_pixel_do_not_count() -> None:
    windows, offsets = np.array([[0, 0, 3, 3]], np.int32), np.array([0, 2])
    assert masks.areas(np.full(2, 255, np.uint8), offsets, windows).tolist() == [9]


def test_too_few_bits_are_refused() -> None:
    with pytest.raises(ValueError, match="fewer bits"):
        masks.areas(np.zeros(1, np.uint8), np.array([0, 1]), np.array([[0, 0, 3, 3]], np.int32))
