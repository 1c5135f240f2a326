"""A survey reads little, depends on the slide alone, and never calls a cell background."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pbsbatch.errors import UnreadableSlideError
from pbsbatch.geometry import Box
from pbsbatch.models.classical import ClassicalModel
from pbsbatch.models.classical_colour import Thresholds, histogram, thresholds
from pbsbatch.models.survey import MAX_WINDOWS, WINDOW_PX, survey, tissue_mask, windows_of
from pbsbatch.testing.slides import FakeSlide
from tests.models import drawing


class Counting(FakeSlide):
    """A FakeSlide that remembers what was read of it."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        super().__init__(pixels)
        self.reads: list[Box] = []

    def read_scaled(self, scale: float, x: int, y: int, w: int, h: int) -> NDArray[np.uint8]:
        self.reads.append(Box(x, y, w, h))
        return super().read_scaled(scale, x, y, w, h)


def sparse(side: int, n: int, seed: int) -> tuple[NDArray[np.uint8], list[tuple[int, int]]]:
    """Return a large bare slide with a few single cells, and their centres."""
    rng = np.random.default_rng(seed)
    image = drawing.glass(side, side, seed)
    places = [(int(x), int(y)) for x, y in rng.integers(20, side - 20, (n, 2))]
    for x, y in places:
        drawing.red(image[y - 20 : y + 20, x - 20 : x + 20], 20, 20)
    return image, places


def test_a_small_field_is_its_own_window() -> None:
    slide = Counting(drawing.monolayer(480, 640, seed=1))
    seen = survey(slide, 1.0)
    assert seen.windows == (Box(0, 0, 640, 480),)
    assert sum(box.area for box in slide.reads) == 480 * 640
    assert seen.joint.sum() == 480 * 640


def test_a_damaged_block_is_left_out_of_the_survey_and_only_a_wholly_damaged_slide_fails() -> None:
    image = drawing.monolayer(1100, 1100, seed=1)
    seen = survey(FakeSlide(image, broken=Box(600, 600, 10, 10)), 1.0)
    assert seen.joint.sum() == 1100 * 1100 - 512 * 512
    with pytest.raises(UnreadableSlideError, match="nothing of it can be read"):
        survey(FakeSlide(image, broken=Box(0, 0, 1100, 1100)), 1.0)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_cell_of_a_sparse_slide_is_background(seed: int) -> None:
    image, places = sparse(2600, 25, seed)
    seen = survey(FakeSlide(image), 1.0)
    assert len(seen.windows) <= MAX_WINDOWS
    assert all(abs(a - b) <= 3 for a, b in zip(seen.background, drawing.GLASS, strict=True))
    for x, y in places:
        row, col = int((y + 0.5) / seen.downsample), int((x + 0.5) / seen.downsample)
        assert seen.foreground[row, col], f"the cell at {x}, {y} would be skipped"
    assert seen.foreground.mean() < 0.6  # and blank glass may be


def test_reads_are_few_and_the_same_each_time() -> None:
    image, _ = sparse(3000, 40, 3)
    image[500:2000, 400:2400] = drawing.monolayer(1500, 2000, seed=3)
    a, b = Counting(image), Counting(image)
    first, second = survey(a, 1.0), survey(b, 1.0)
    assert a.reads == b.reads and first.windows == second.windows and len(a.reads) <= MAX_WINDOWS
    assert all(r.w <= WINDOW_PX and r.h <= WINDOW_PX for r in a.reads)
    assert np.array_equal(first.joint, second.joint) and np.array_equal(first.foreground, second.foreground)
    inside = [w for w in first.windows if w.intersect(Box(400, 500, 2000, 1500)).area]
    assert len(inside) >= 8  # most windows lie where the cells are


def test_windows_lie_on_the_slide() -> None:
    for w, h in [(5000, 700), (700, 5000), (2049, 2049), (9999, 3333)]:
        rng = np.random.default_rng(w)
        thumbnail = rng.integers(100, 255, (max(1, h // 32), max(1, w // 32), 3)).astype(np.uint8)
        whole = Box(0, 0, w, h)
        boxes = windows_of(thumbnail, w / thumbnail.shape[1], whole)
        assert boxes and all(whole.contains(b) and b.area for b in boxes) and len(set(boxes)) == len(boxes)


def test_a_blank_slide_and_a_constant_one_are_surveyed() -> None:
    for image in (drawing.glass(2600, 2600), np.full((2600, 2600, 3), 255, np.uint8), np.zeros((9, 9, 3), np.uint8)):
        seen = survey(FakeSlide(image), 1.0)
        assert seen.foreground.shape == seen.thumbnail.shape[:2]
        Thresholds.of(ClassicalModel().calibrate(survey(FakeSlide(image), 1.0)))


def test_where_nothing_is_glass_all_is_kept() -> None:
    thumbnail = np.full((20, 30, 3), 120, np.uint8)
    assert tissue_mask(thumbnail, (240, 240, 240)).all()


def test_unscanned_white_does_not_pass_for_glass() -> None:
    image = drawing.monolayer(500, 500, seed=6)
    clean = thresholds(histogram(image))
    padded = np.pad(image, ((0, 400), (0, 400), (0, 0)), constant_values=255)
    assert thresholds(histogram(padded)) == clean


def test_thresholds_do_not_hang_on_a_few_nuclei() -> None:
    bare = thresholds(histogram(drawing.monolayer(400, 400, seed=7, whites=0, platelets=0)))
    rich = thresholds(histogram(drawing.monolayer(400, 400, seed=7, whites=12, platelets=10)))
    assert abs(bare.cell - rich.cell) <= 3 and abs(bare.glass - rich.glass) <= 1 and abs(bare.stain - rich.stain) <= 8
