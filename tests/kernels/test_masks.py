import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from pbsbatch_kernels import masks

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=20)
MASK = hnp.arrays(np.bool_, SHAPES)
MASKS = st.lists(MASK, max_size=12)


@given(MASKS)
def test_pack_equals_packbits_and_areas_count(drawn: list[np.ndarray]) -> None:
    bits, offsets = masks.pack(drawn)
    expected = [np.packbits(m.ravel()) for m in drawn]
    assert bits.tobytes() == b"".join(e.tobytes() for e in expected)
    np.testing.assert_array_equal(offsets, np.cumsum([0, *(len(e) for e in expected)]))
    windows = np.array([(0, 0, m.shape[1], m.shape[0]) for m in drawn], np.int32).reshape(-1, 4)
    np.testing.assert_array_equal(masks.areas(bits, offsets, windows), [m.sum() for m in drawn])


@given(MASKS)
def test_unpack_puts_a_margin_around_the_mask(drawn: list[NDArray[np.bool_]]) -> None:
    bits, offsets = masks.pack(drawn)
    windows = np.array([(0, 0, m.shape[1], m.shape[0]) for m in drawn], np.int64).reshape(-1, 4)
    out = np.full(masks.padded_size(windows), 9, np.uint8)
    for mask, start in zip(drawn, offsets, strict=False):
        h, w = mask.shape
        masks.unpack(bits, start, w, h, out)
        np.testing.assert_array_equal(out[: (h + 2) * (w + 2)].reshape(h + 2, w + 2), np.pad(mask, 1))


def test_bits_behind_the_last_pixel_do_not_count() -> None:
    windows, offsets = np.array([[0, 0, 3, 3]], np.int32), np.array([0, 2])
    assert masks.areas(np.full(2, 255, np.uint8), offsets, windows).tolist() == [9]


ONE = np.array([[0, 0, 3, 3]], np.int32)
TWO_BYTES = np.zeros(2, np.uint8)


@pytest.mark.parametrize(
    ("bits", "offsets", "windows", "why"),
    [
        (TWO_BYTES, [0, 1], ONE, "fewer bits"),
        (TWO_BYTES[:1], [0, 2], ONE, "fewer bits"),
        (TWO_BYTES, [-1, 1], ONE, "fewer bits"),
        (TWO_BYTES, [2, 0], ONE, "fewer bits"),
        (TWO_BYTES, [0, 2], [[0, 0, -3, 3]], "negative"),
        (TWO_BYTES, [0, 2], [[0, 0, 0, 2**16]], "longer than 65535"),
        (TWO_BYTES, [0, 2], [[2**31 - 2, 0, 3, 3]], "int32"),
        (TWO_BYTES, [0, 2], [[0, -(2**63), 3, 3]], "int32"),
        (TWO_BYTES, [0, 2, 2], ONE, "do not fit"),
        (TWO_BYTES, [0, 2], [[0, 3, 3]], "do not fit"),
        (TWO_BYTES[None], [0, 2], ONE, "do not fit"),
        (TWO_BYTES.astype(np.int8), [0, 2], ONE, "wrong type"),
        (TWO_BYTES, [0.0, np.nan], ONE, "wrong type"),
        (TWO_BYTES, [0, 2], [[0, 0, 3, 3.5]], "wrong type"),
    ],
)
def test_masks_that_do_not_hold_together_are_refused(
    bits: NDArray[np.uint8], offsets: list[int], windows: object, why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        masks.checked(bits, np.array(offsets), np.array(windows))


@given(hnp.arrays(np.int32, SHAPES, elements=st.integers(0, 9)), st.integers(-2, 5), st.integers(0, 6))
def test_cutting_a_cell_gives_its_pixels(labels: NDArray[np.int32], first: int, count: int) -> None:
    bits, offsets, windows = masks.cut(labels, first, count)
    assert masks.areas(bits, offsets, windows).tolist() == [(labels == first + i).sum() for i in range(count)]
    for i, (x, y, w, h) in enumerate(windows):
        mine = labels == first + i
        found = np.unpackbits(bits[offsets[i] : offsets[i + 1]], count=w * h).reshape(h, w)
        np.testing.assert_array_equal(found, mine[y : y + h, x : x + w])
        assert not mine.any() or (found.any(0)[[0, -1]].all() and found.any(1)[[0, -1]].all())


def test_only_label_images_are_cut() -> None:
    with pytest.raises(ValueError, match="uint8"):
        masks.cut(np.zeros((2, 2), np.uint8), 1, 1)
