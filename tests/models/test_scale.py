"""The estimate of um per pixel: right within a tenth on drawn smears of any size, else None."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pbsbatch.models.scale import RED_CELL_UM, estimate_mpp
from pbsbatch.testing.slides import FakeSlide
from tests.models import drawing


@pytest.mark.parametrize("diameter", [15, 20, 29, 51, 68, 102, 150, 200])
def test_finds_red_cells_of_any_size(diameter: int) -> None:
    factor = diameter / 28.5
    side = min(700, max(110, int(1400 / factor)))
    image = drawing.monolayer(side, side, seed=diameter, every=44, whites=1, platelets=4)
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    image = np.asarray(cv2.resize(image, None, fx=factor, fy=factor, interpolation=method), np.uint8)
    found = estimate_mpp(FakeSlide(image, mpp=None))
    assert found is not None
    assert found.mpp == pytest.approx(RED_CELL_UM / diameter, rel=0.12)
    assert 0 <= found.confidence <= 1 and found.n_cells >= 2


def test_nothing_to_measure_gives_none() -> None:
    for image in (drawing.glass(400, 400), np.full((50, 50, 3), 255, np.uint8), np.zeros((1, 1, 3), np.uint8)):
        assert estimate_mpp(FakeSlide(image, mpp=None)) is None


def test_more_cells_are_more_confidence() -> None:
    few = drawing.glass(200, 200)
    for x in (40, 90, 140):
        drawing.red(few, x, 100)
    small = estimate_mpp(FakeSlide(few, mpp=None))
    large = estimate_mpp(FakeSlide(drawing.monolayer(600, 600, seed=1, every=44), mpp=None))
    assert small is not None and large is not None and small.confidence < large.confidence


def test_is_deterministic() -> None:
    slide = FakeSlide(drawing.monolayer(500, 500, seed=2), mpp=None)
    assert estimate_mpp(slide) == estimate_mpp(slide)
