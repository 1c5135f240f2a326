"""Weak masks of drawn white cells beside their exact ones, and what the methods are made of."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pbsbatch.datasets.crop import Rule
from pbsbatch.datasets.weak import Blobs, Method, Steps, Watershed, draw_sheet, overlap
from pbsbatch.datasets.weak.blobs import confidence, responses
from pbsbatch.datasets.weak.steps import filled
from pbsbatch.datasets.weak.watershed import two_levels
from pbsbatch.synth import CLASSES, Scene
from tests.datasets.weak.drawn_cells import cells

CENTRE = Rule(pick="centre")


@pytest.fixture(scope="module")
def drawn() -> list[tuple[np.ndarray, np.ndarray]]:
    return list(cells(300, 301))


@pytest.mark.parametrize(
    ("method", "least", "worst"),
    [(Watershed(CENTRE), 0.85, 0.5), (Blobs(CENTRE), 0.6, 0.3)],
    ids=["watershed", "blobs"],
)
def test_masks_overlap_the_exact_ones(
    drawn: list[tuple[np.ndarray, np.ndarray]], method: Method, least: float, worst: float
) -> None:
    scores = [overlap(method(image).labels, truth.astype(np.int32)) for image, truth in drawn]
    assert len(scores) >= 6 and np.mean(scores) > least and np.percentile(scores, 10) > worst


@pytest.mark.parametrize("make", [Watershed, Blobs])
def test_steps_end_in_one_cell_of_the_pictures_size(drawn: list[tuple[np.ndarray, np.ndarray]], make: type) -> None:
    image = drawn[0][0]
    for zoom in (0.5, 1, 2.5):
        large = cv2.resize(
            image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR
        )
        steps = make(CENTRE)(large)
        assert steps.labels.shape == large.shape[:2] and set(np.unique(steps.labels)) == {0, 1}
        assert steps.stages[0][0] == "picture" and steps.stages[-1][0] == "mask" and len(steps.stages) >= 6
        share = (steps.labels > 0).mean()
        assert share == pytest.approx((make(CENTRE)(image).labels > 0).mean(), rel=0.35)


@pytest.mark.parametrize("make", [Watershed, Blobs])
def test_in_a_field_red_cells_have_no_mask(make: type) -> None:
    scene = Scene(900, 700, mpp=0.15, seed=2, profile="field", white_per_1000=60, platelets_per_1000=0)
    labels = make(Rule(cell_px=80.0))(scene.render(0, 0, 900, 700)).labels
    found = scene.cells(0, 0, 900, 700)
    white = np.isin(scene.labels(0, 0, 900, 700), found.ids[found.classes == CLASSES.index("WBC")])
    assert labels.max() >= 3
    for number in range(1, labels.max() + 1):
        assert (white & (labels == number)).sum() > 0.5 * (labels == number).sum()


@pytest.mark.parametrize("make", [Watershed, Blobs])
@pytest.mark.parametrize("size", [(1, 1), (3, 50), (120, 130)])
def test_glass_and_crumbs_hold_no_cell(make: type, size: tuple[int, int]) -> None:
    for colour in ((230, 228, 226), (90, 50, 150), (0, 0, 0), (205, 150, 160)):
        image = np.full((*size, 3), colour, np.uint8)
        for rule in (CENTRE, Rule(), Rule(cell_px=60.0)):
            steps = make(rule)(image)
            assert steps.labels.shape == size and (not steps.labels.any() or colour == (90, 50, 150))


def test_two_levels_part_three_heaps() -> None:
    rng = np.random.default_rng(5)
    plane = np.concatenate([rng.normal(m, 8, n) for m, n in ((40, 5000), (110, 2000), (190, 700))]).clip(0, 255)
    low, high = two_levels(np.bincount(plane.astype(np.uint8), minlength=256))
    assert 60 < low < 90 and 135 < high < 165
    flat = two_levels(np.eye(1, 256, 77, dtype=np.int64)[0])
    assert 0 <= flat[0] < 256 and 0 <= flat[1] < 256


def test_two_levels_are_skimages() -> None:
    threshold_multiotsu = pytest.importorskip("skimage.filters").threshold_multiotsu
    plane = cv2.GaussianBlur(next(cells(300))[0], (0, 0), 2)[..., 1]
    assert list(two_levels(np.bincount(plane.ravel(), minlength=256))) == pytest.approx(
        threshold_multiotsu(hist=(np.bincount(plane.ravel(), minlength=256), np.arange(256))).tolist(), abs=1
    )


def test_holes_of_a_cell_are_filled_and_the_glass_between_cells_is_not() -> None:
    mask = np.ones((100, 100), np.uint8)
    mask[10:14, 10:14] = 0
    mask[30:90, 30:90] = 0
    assert filled(mask, 40.0)[12, 12] == 1 and filled(mask, 40.0)[60, 60] == 0


@pytest.mark.parametrize("kind", ["LoG", "DoG", "DoH"])
def test_a_blob_answers_at_its_place_and_size(kind: str) -> None:
    plane = np.zeros((120, 120), np.float32)
    cv2.circle(plane, (40, 70), 14, 1.0, -1)
    sigmas = [4.0, 7.0, 10.0, 14.0]
    stack = responses(plane, sigmas)[kind]
    assert int(np.argmax([r.max() for r in stack])) in (1, 2), "a disc of radius 14 is a blob of sigma 10"
    layer = confidence(stack, sigmas, 0.5, 1.0)
    y, x = np.unravel_index(int(layer.argmax()), layer.shape)
    assert layer.max() == pytest.approx(1.0) and np.hypot(y - 70, x - 40) <= 15
    assert not layer[:, 90:].any()
    assert not confidence([np.zeros((9, 9), np.float32)] * 4, sigmas, 0.5, 1.0).any()


def test_larger_blobs_count_more() -> None:
    plane = np.zeros((120, 240), np.float32)
    cv2.circle(plane, (60, 60), 28, 1.0, -1)
    cv2.circle(plane, (180, 60), 10, 1.0, -1)
    sigmas = [7.0, 20.0]
    flat, weighted = (confidence(responses(plane, sigmas)["LoG"], sigmas, 0.2, power) for power in (0.0, 2.0))
    assert weighted[60, 180] / weighted[60, 60] < 0.3 * flat[60, 180] / flat[60, 60]


def test_overlap_is_that_of_each_piece_with_its_cell() -> None:
    truth = np.zeros((10, 20), np.int32)
    truth[:, :8], truth[:, 12:] = 5, 9
    made = np.zeros_like(truth)
    made[:, :4], made[:, 10:] = 1, 2
    assert overlap(made, truth) == pytest.approx((0.5 + 0.8) / 2)
    assert overlap(np.zeros_like(truth), truth) == 0.0
    assert np.isnan(overlap(np.zeros_like(truth), np.zeros_like(truth)))
    assert overlap(made, np.zeros_like(truth)) == 0.0


def test_a_sheet_has_a_row_for_each_picture(drawn: list[tuple[np.ndarray, np.ndarray]]) -> None:
    many = Steps(np.arange(300, dtype=np.int32).reshape(15, 20), (("picture", np.zeros((15, 20, 3), np.uint8)),))
    rows = [
        (f"cell {i}\n\x1b[31m", Watershed(CENTRE)(image), truth.astype(np.int32))
        for i, (image, truth) in enumerate(drawn[:2])
    ]
    sheet = draw_sheet([*rows, ("ünïcode", many, None)])
    assert sheet.dtype == np.uint8 and sheet.shape[1] >= 8 * 160 and sheet.shape[0] >= 3 * 160
    assert (sheet[30:150, :100] != 255).any(), "the first picture is drawn"
