"""Votes about a box: the mean of those who agree, and nothing of those who do not."""

from __future__ import annotations

import numpy as np
import pytest

from pbsbatch_kernels.outlines import SNAP
from pbsbatch_kernels.voting import vote

SAME, LARGEST = np.log(5.0), 100.0


def field() -> tuple[np.ndarray, np.ndarray]:
    """A grid of stride 4 whose places all speak of one cell of 20 px around (34, 30), with a score of one half."""
    scores, boxes = np.zeros((2, 16, 16), np.float32), np.zeros((4, 16, 16), np.float32)
    boxes[0] = 34 / 4 - (np.arange(16) + 0.5)[None, :]
    boxes[1] = 30 / 4 - (np.arange(16) + 0.5)[:, None]
    boxes[2:] = SAME
    return scores, boxes


def one(scores: np.ndarray, boxes: np.ndarray, place: int = 7 * 16 + 8, kind: int = 0) -> list[float]:
    return vote(scores, boxes, np.array([place]), np.array([kind], np.uint8), 4, LARGEST, 0.8)[0].tolist()


def test_places_that_agree_change_nothing() -> None:
    assert one(*field()) == pytest.approx([24, 20, 44, 40], abs=1 / SNAP)


def test_a_box_moves_by_the_weighted_mean_of_what_its_neighbours_say() -> None:
    scores, boxes = field()
    boxes[0, 7, 9] += 1 / 4  # one neighbour of 25 sees it a pixel further right
    assert one(scores, boxes) == pytest.approx([24 + 1 / 25, 20, 44 + 1 / 25, 40], abs=1 / SNAP)
    scores[0, 7, 9] = np.log(3.0)  # a score of .75 beside 24 of .5
    assert one(scores, boxes) == pytest.approx([24 + 0.75 / 12.75, 20, 44 + 0.75 / 12.75, 40], abs=1 / SNAP)
    assert one(scores, boxes, kind=1) == pytest.approx([24 + 1 / 25, 20, 44 + 1 / 25, 40], abs=1 / SNAP)


def test_who_speaks_of_another_cell_or_is_far_has_no_vote() -> None:
    scores, boxes = field()
    boxes[0, 7, 9] += 3  # 12 px to the right: another cell
    boxes[0, 7, 11] += 1 / 4  # agrees, but three places away
    boxes[0, 7, 7] = np.nan
    assert one(scores, boxes) == pytest.approx([24, 20, 44, 40], abs=1 / SNAP)


def test_the_grids_border_ends_the_vote_and_bad_places_are_refused() -> None:
    scores, boxes = field()
    boxes[:2] = 0.0
    assert one(scores, boxes, place=0) == pytest.approx([-8, -8, 12, 12], abs=1 / SNAP)
    with pytest.raises(ValueError, match="outside of the grid"):
        one(scores, boxes, place=256)
    with pytest.raises(ValueError, match="do not fit"):
        vote(scores, boxes[:, 1:], np.array([0]), np.zeros(1, np.uint8), 4, LARGEST, 0.8)
