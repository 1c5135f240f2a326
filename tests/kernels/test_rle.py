from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pycocotools import mask as coco

from pbsbatch_kernels import rle
from tests.kernels.shapes import MASKS, Masks, Packed, placed

SIDE = st.integers(0, 30)
PLACE = st.integers(-8, 20)


def pictures(packed: Packed, height: int, width: int) -> list[NDArray[np.uint8]]:
    """Return each mask alone in the image, as pycocotools takes it."""
    bits, offsets, windows = packed
    out = []
    for i, (x, y, w, h) in enumerate(windows.tolist()):
        around = np.zeros((height + 400, width + 900), np.uint8)
        mask = np.unpackbits(bits[offsets[i] : offsets[i + 1]], count=w * h).reshape(h, w)
        around[100 + y : 100 + y + h, 100 + x : 100 + x + w] = mask
        out.append(np.asfortranarray(around[100 : 100 + height, 100 : 100 + width]))
    return out


def texts(counts: NDArray[np.uint32], starts: NDArray[np.int64]) -> list[bytes]:
    letters, places = rle.compress(counts, starts)
    return [letters[a:b].tobytes() for a, b in pairwise(places)]


@given(MASKS, PLACE, PLACE, SIDE, SIDE)
def test_encoding_and_decoding_equal_pycocotools(drawn: Masks, x: int, y: int, height: int, width: int) -> None:
    packed = placed(drawn, x, y)
    expected = pictures(packed, height, width)
    counts, starts = rle.encode(*packed, height, width)
    assert texts(counts, starts) == [coco.encode(p)["counts"] for p in expected]
    again = rle.decode(counts, starts, height, width)
    for picture, expected_picture, (_, _, w, h) in zip(
        pictures(again, height, width), expected, again[2].tolist(), strict=True
    ):
        np.testing.assert_array_equal(picture, expected_picture)
        rows, cols = np.nonzero(expected_picture)
        assert (w, h) == ((np.ptp(cols) + 1, np.ptp(rows) + 1) if len(rows) else (0, 0))


@given(st.lists(st.lists(st.integers(0, 2**32 - 1), max_size=6), max_size=5))
def test_text_equals_pycocotools_and_back(runs: list[list[int]]) -> None:
    counts = np.array([c for run in runs for c in run], np.uint32)
    starts = np.cumsum([0, *map(len, runs)])
    letters, places = rle.compress(counts, starts)
    again, where = rle.decompress(letters, places)
    np.testing.assert_array_equal(again, counts)
    np.testing.assert_array_equal(where, starts)
    for run, text in zip(runs, texts(counts, starts), strict=True):
        if run and max(run) < 2**29:  # pycocotools has room for six characters per count, larger ones may need seven
            assert coco.frPyObjects({"counts": run, "size": [1, sum(run)]}, 1, sum(run))["counts"] == text


def test_text_of_a_large_slide_equals_pycocotools() -> None:
    height, width = 65_535, 65_537
    packed = placed([np.ones((4, 3), bool)], 65_000, 60_000)
    counts, starts = rle.encode(*packed, height, width)
    (text,) = texts(counts, starts)
    assert int(counts.sum(dtype=np.int64)) == height * width
    assert coco.toBbox({"size": [height, width], "counts": text}).tolist() == [65_000, 60_000, 3, 4]
    assert coco.frPyObjects({"size": [height, width], "counts": counts.tolist()}, height, width)["counts"] == text
    bits, offsets, windows = rle.decode(counts, starts, height, width)
    assert windows.tolist() == [[65_000, 60_000, 3, 4]]
    assert np.unpackbits(bits[offsets[0] : offsets[1]], count=12).all()


def test_an_image_that_32_bits_cannot_count_is_refused() -> None:
    packed = placed([np.ones((1, 1), bool)])
    for height, width in ((65_536, 65_536), (1, 2**32), (200_000, 100_000)):
        with pytest.raises(ValueError, match="rle"):
            rle.encode(*packed, height, width)
        with pytest.raises(ValueError, match="rle"):
            rle.decode(np.zeros(0, np.uint32), np.zeros(1, np.int64), height, width)
    with pytest.raises(ValueError, match="cannot be"):
        rle.encode(*packed, -1, 5)


@pytest.mark.parametrize("counts", [[], [5], [7], [3, 4], [2**32 - 1, 7], [0, 0, 5]])
def test_counts_must_fill_the_image(counts: list[int]) -> None:
    with pytest.raises(ValueError, match="mask 1 do not add up to 2 x 3"):
        rle.decode(np.array([6, *counts], np.uint32), np.array([0, 1, 1 + len(counts)]), 2, 3)


def test_runs_of_no_length_are_read() -> None:
    bits, offsets, windows = rle.decode(np.array([1, 2, 0, 1, 2], np.uint32), np.array([0, 5]), 2, 3)
    assert windows.tolist() == [[0, 0, 2, 2]]
    assert np.unpackbits(bits[offsets[0] :], count=4).tolist() == [0, 1, 1, 1]


@pytest.mark.parametrize("text", [b"/", b"p", b"P", b"oooooooo0", b"1N", b"PPPPPPP1", b"PPPPPP8"])
def test_what_is_no_text_of_counts_is_refused(text: bytes) -> None:
    letters = np.frombuffer(b"1" + text, np.uint8)
    with pytest.raises(ValueError, match="mask 1 is no run lengths"):
        rle.decompress(letters, np.array([0, 1, len(letters)]))


def test_starts_must_divide() -> None:
    for starts in ([0, 2], [1, 3], [0, 2, 1, 3], [], [[0, 3]]):
        with pytest.raises(ValueError, match="starts"):
            rle.compress(np.zeros(3, np.uint32), np.array(starts, np.int64))
    with pytest.raises(ValueError, match="starts"):
        rle.compress(np.zeros(3, np.uint32), np.array([0.0, 3.0]))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="uint32"):
        rle.decode(np.zeros(3), np.array([0, 3]), 1, 1)  # type: ignore[arg-type]
