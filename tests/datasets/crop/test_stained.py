"""Cells found on drawn smears, beside their truth and beside the plain way at full size."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from benchmarks.crop_peer import plain_boxes
from pbsbatch.datasets.crop import Frame, Rule, cell_diameter, cut, find
from pbsbatch.synth import CLASSES, Scene

WHITE = CLASSES.index("WBC")
SIZE = 900, 700


def scene(seed: int) -> Scene:
    return Scene(*SIZE, mpp=0.15, seed=seed, profile="field", white_per_1000=60, platelets_per_1000=0)


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = np.maximum(high - low, 0).prod(2)
    return both / ((a[:, 2:] - a[:, :2]).prod(1)[:, None] + (b[:, 2:] - b[:, :2]).prod(1)[None] - both)


@pytest.mark.parametrize("seed", range(3))
def test_every_white_cell_is_found_and_no_red_one(seed: int) -> None:
    drawn = scene(seed)
    found = find(drawn.render(0, 0, *SIZE), Rule(cell_px=80.0))
    cells = drawn.cells(0, 0, *SIZE)
    white = cells.boxes[cells.classes == WHITE]
    middles = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
    whole = white[(white[:, :2] > 0).all(1) & (white[:, 2:] < SIZE).all(1)]
    holds = (middles[:, None] > white[None, :, :2]).all(2) & (middles[:, None] < white[None, :, 2:]).all(2)
    assert holds.any(1).all(), "something that is no white cell was found"
    at = (middles[:, None] > whole[None, :, :2]).all(2) & (middles[:, None] < whole[None, :, 2:]).all(2)
    assert (at.sum(0) == 1).all() and len(whole) >= 2, "a whole white cell was not found, or found twice"
    assert set(np.unique(found.labels)) == set(range(len(found.boxes) + 1))


@pytest.mark.parametrize("seed", range(3))
def test_the_plain_way_finds_the_same_cells(seed: int) -> None:
    pytest.importorskip("skimage")
    image, rule = scene(seed).render(0, 0, *SIZE), Rule(cell_px=80.0)
    mine, theirs = find(image, rule).boxes, plain_boxes(image, rule)
    shared = iou(mine, theirs)
    assert len(mine) == len(theirs) >= 3
    assert shared.max(1).min() > 0.6 and np.median(shared.max(1)) > 0.8


def test_a_picture_twice_as_large_has_boxes_twice_as_large() -> None:
    image = scene(0).render(0, 0, *SIZE)
    large = cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    once, twice = find(image, Rule(cell_px=80.0)), find(large, Rule(cell_px=160.0))
    assert twice.step == 2 * once.step
    np.testing.assert_array_equal(twice.boxes, 2 * once.boxes)


def discs(*places: tuple[int, int, int]) -> np.ndarray:
    image = np.full((300, 300, 3), 235, np.uint8)
    for x, y, r in places:
        cv2.circle(image, (x, y), r, (95, 60, 140), -1, cv2.LINE_AA)
    return image


def test_touching_cells_are_parted_and_lobes_are_not() -> None:
    two = find(discs((100, 150, 42), (180, 150, 42)), Rule(cell_px=84.0))
    assert len(two.boxes) == 2 and np.ptp(two.boxes[:, 0]) > 70
    assert abs(int(two.boxes[:, 2].min()) - int(two.boxes[:, 0].max())) <= 3 * two.step
    lobes = find(discs((130, 150, 22), (168, 150, 22)), Rule(cell_px=84.0))
    assert len(lobes.boxes) == 1 and lobes.boxes[0, 2] - lobes.boxes[0, 0] > 75


def test_of_a_single_cell_picture_the_biggest_in_the_middle() -> None:
    rule = Rule(pick="centre")
    held = find(discs((150, 150, 25), (222, 222, 40)), rule).boxes
    assert len(held) == 1 and np.abs((held[0, :2] + held[0, 2:]) / 2 - 150).max() < 6, "though another is bigger"
    near = find(discs((115, 120, 25), (280, 280, 40)), rule).boxes
    assert len(near) == 1 and np.abs((near[0, :2] + near[0, 2:]) / 2 - (115, 120)).max() < 6
    assert not len(find(discs((15, 15, 20), (280, 280, 24)), rule).boxes), "none in the middle"


def test_the_size_of_cells_is_measured() -> None:
    for radius in (15, 30, 60):
        for pick in ("centre", "all"):
            assert cell_diameter(discs((150, 150, radius)), Rule(pick=pick)) == pytest.approx(2.3 * radius, rel=0.1)
    blank = np.full((50, 60, 3), 230, np.uint8)
    assert np.isnan(cell_diameter(blank, Rule())) and not len(find(blank, Rule()).boxes)
    assert find(blank, Rule()).labels.sum() == 0


def test_a_cell_that_the_border_cuts_is_said_to_be() -> None:
    found = find(discs((150, 150, 40), (10, 100, 40)), Rule(cell_px=80.0))
    assert dict(zip((found.boxes[:, 0] > 0).tolist(), found.whole.tolist(), strict=True)) == {True: True, False: False}


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (37, 2), (3, 3)])
def test_pictures_too_small_for_a_cell_hold_none(size: tuple[int, int]) -> None:
    image = np.full((*size, 3), (90, 50, 150), np.uint8)
    for pick in ("centre", "all"):
        assert len(find(image, replace(Rule(pick=pick), cell_px=80.0)).boxes) == 0
        find(image, Rule(pick=pick))


def test_a_crop_has_its_cell_in_the_middle_and_mirrors_what_is_outside() -> None:
    image = np.arange(20 * 30, dtype=np.uint8).reshape(20, 30, 1).repeat(3, 2)
    box = np.array([2, 3, 8, 7], np.int32)
    assert Frame(side=5).around(box) == (3, 3, 5)
    x, y, side = Frame(margin=0.5).around(box)
    assert (x, y, side) == (-1, -1, 12)
    crop = cut(image, x, y, side)
    np.testing.assert_array_equal(crop[1:, 1:], image[:11, :11])
    np.testing.assert_array_equal(crop[0], crop[1])
    np.testing.assert_array_equal(crop[:, 0], crop[:, 1])
    assert cut(image, -40, -40, 120).shape == (120, 120, 3)
