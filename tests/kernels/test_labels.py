import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbsbatch_kernels import labels, masks


def reference(shape: tuple[int, int], x: int, y: int, ids, windows, drawn) -> np.ndarray:
    """Paint pixel by pixel."""
    out = np.zeros(shape, np.int32)
    for label, (wx, wy, w, h), mask in zip(ids, windows, drawn, strict=True):
        for row in range(h):
            for col in range(w):
                at = (wy + row - y, wx + col - x)
                if mask[row, col] and 0 <= at[0] < shape[0] and 0 <= at[1] < shape[1]:
                    out[at] = label
    return out


@given(st.integers(0, 2**32 - 1), st.integers(0, 12), st.integers(0, 40), st.integers(0, 40))
def test_paint_equals_the_reference(seed: int, n: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(0, 30, (n, 2))
    drawn = [rng.random((h, w)) < rng.choice([0.1, 0.6, 1.0]) for w, h in sizes]
    windows = np.concatenate([rng.integers(-30, 60, (n, 2)), sizes], axis=1).astype(np.int32)
    ids = rng.permutation(n).astype(np.int32) + 1
    bits, offsets = masks.pack(drawn)
    x, y = (int(v) for v in rng.integers(-9, 9, 2))
    out = np.zeros((height, width), np.int32)
    touched = labels.Painter(ids, windows, offsets[:-1], bits).paint(out, x, y)
    np.testing.assert_array_equal(out, reference((height, width), x, y, ids, windows, drawn))
    assert touched >= len(set(out.ravel().tolist()) - {0})


@given(st.integers(0, 2**32 - 1), st.integers(5, 30))
def test_a_picture_painted_in_pieces_is_the_picture_painted_at_once(seed: int, side: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 20, (12, 2))
    bits, offsets = masks.pack([rng.random((h, w)) < 0.7 for w, h in sizes])
    windows = np.concatenate([rng.integers(-10, 40, (12, 2)), sizes], axis=1).astype(np.int32)
    ids, scores = rng.permutation(12).astype(np.int32) + 1, rng.integers(0, 4, 12).astype(np.float32)
    order = labels.priority(masks.areas(bits, offsets, windows), scores, ids)
    painter = labels.Painter(ids[order], windows[order], offsets[:-1][order], bits)
    whole, pieces = np.zeros((40, 40), np.int32), np.zeros((40, 40), np.int32)
    painter.paint(whole, 0, 0)
    for y in range(0, 40, side):
        for x in range(0, 40, side):
            piece = np.zeros((side, side), np.int32)
            painter.paint(piece, x, y)
            pieces[y : y + side, x : x + side] = piece[: 40 - y, : 40 - x]
    np.testing.assert_array_equal(pieces, whole)


def test_priority_is_the_smaller_cell_then_the_higher_score_then_the_lower_id() -> None:
    scores, ids = np.array([0.5, 0.9, 0.9, 0.1, 1.0], np.float32), np.array([1, 2, 3, 4, 5], np.int32)
    areas = np.array([7, 7, 7, 3, 40])
    assert ids[labels.priority(areas, scores, ids)].tolist() == [5, 1, 3, 2, 4]  # the last wins


@given(st.integers(0, 2**32 - 1))
def test_no_cell_is_hidden_by_one_other(seed: int) -> None:
    """Of two cells each keeps a pixel, whatever their scores; of two with the same pixels one is there."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 9, (2, 2))
    bits, offsets = masks.pack([rng.random((h, w)) < 0.8 for w, h in sizes])
    windows = np.concatenate([rng.integers(0, 4, (2, 2)), sizes], axis=1).astype(np.int32)
    areas, ids = masks.areas(bits, offsets, windows), np.array([1, 2], np.int32)
    order = labels.priority(areas, rng.random(2).astype(np.float32), ids)
    out, alone = np.zeros((16, 16), np.int32), np.zeros((2, 16, 16), np.int32)
    labels.Painter(ids[order], windows[order], offsets[:-1][order], bits).paint(out, 0, 0)
    for i in range(2):
        labels.Painter(ids[i : i + 1], windows[i : i + 1], offsets[i : i + 1], bits).paint(alone[i], 0, 0)
    same = np.array_equal(alone[0] > 0, alone[1] > 0)
    assert same or all((out == i + 1).any() for i in range(2) if areas[i])


def test_bad_arrays_are_refused() -> None:
    one, bits = np.ones(1, np.int32), np.zeros(1, np.uint8)
    for windows, starts in (
        ([[0, 0, 3, 3]], [0]),
        ([[0, 0, 2, 2]], [1]),
        ([[0, 0, 2, 2]], [-1]),
        ([[0, 0, -1, 2]], [0]),
    ):
        with pytest.raises(ValueError, match="beyond the bits"):
            labels.Painter(one, np.array(windows, np.int32), np.array(starts, np.int64), bits)
    with pytest.raises(ValueError, match=r"\(N, 4\)"):
        labels.Painter(one, np.zeros((2, 4), np.int32), np.zeros(1, np.int64), bits)
    painter = labels.Painter(one, np.array([[0, 0, 2, 2]], np.int32), np.zeros(1, np.int64), bits)
    for out in (np.zeros((4, 4), np.int64), np.zeros((8, 8), np.int32)[::2, ::2]):
        with pytest.raises(ValueError, match="contiguous int32"):
            painter.paint(out, 0, 0)
