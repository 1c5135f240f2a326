import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbsbatch_kernels.neighbours import ALIKE, OTHERS, OVER_ALIKE, OVER_OTHERS, touching


def slow(boxes: np.ndarray, classes: np.ndarray, near: float, over: float) -> np.ndarray:
    """Every cell against every other."""
    out = np.zeros(len(boxes), np.uint8)
    centres, radii = (boxes[:, :2] + boxes[:, 2:]) / 2, np.maximum((boxes[:, 2:] - boxes[:, :2]) / 2, 1e-3)
    for i in range(len(boxes)):
        for j in range(len(boxes)):
            d = centres[j] - centres[i]
            qi, qj = np.hypot(*(d / radii[i])), np.hypot(*(d / radii[j]))
            towards = np.inf if 0 in (qi, qj) else 1 / qi + 1 / qj
            for reach, alike, others in ((near, ALIKE, OTHERS), (over, OVER_ALIKE, OVER_OTHERS)):
                if i != j and reach * towards > 1:
                    out[i] |= alike if classes[i] == classes[j] else others
    return out


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 30, 120]), st.sampled_from([60.0, 400.0, 5000.0]))
def test_it_equals_every_cell_against_every_other(seed: int, n: int, extent: float) -> None:
    rng = np.random.default_rng(seed)
    low, size = rng.uniform(0, extent, (n, 2)), rng.choice([0.0, 5.0, 28.0, 80.0], (n, 2)) * rng.uniform(0.8, 1.2)
    boxes, classes = np.concatenate([low, low + size], axis=1), rng.integers(0, 3, n).astype(np.uint8)
    found = touching(boxes, classes, 1.04, 0.8)
    np.testing.assert_array_equal(found, slow(boxes, classes, 1.04, 0.8))
    order = rng.permutation(n)
    np.testing.assert_array_equal(touching(boxes[order], classes[order], 1.04, 0.8), found[order])


def test_two_discs_touch_where_their_radii_meet() -> None:
    def pair(distance: float) -> list[int]:
        boxes = np.array([[0, 0, 20, 20], [distance, 0, distance + 20, 20]], np.float32)
        return touching(boxes, np.array([0, 1], np.uint8), 1.05, 0.9).tolist()

    assert pair(20.9) == [OTHERS, OTHERS]
    assert pair(21.1) == [0, 0]
    assert pair(17.9) == [OTHERS | OVER_OTHERS] * 2
    assert pair(0.0) == [OTHERS | OVER_OTHERS] * 2


def test_no_cells_and_bad_boxes() -> None:
    assert len(touching(np.zeros((0, 4)), np.zeros(0, np.uint8), 1.1, 1.0)) == 0
    with pytest.raises(ValueError, match="finite"):
        touching(np.array([[0, 0, np.nan, 1]]), np.zeros(1, np.uint8), 1.1, 1.0)
    with pytest.raises(ValueError, match="finite"):
        touching(np.zeros((2, 4)), np.zeros(1, np.uint8), 1.1, 1.0)
    with pytest.raises(ValueError, match="nearer"):
        touching(np.zeros((1, 4)), np.zeros(1, np.uint8), 1.0, 1.1)
