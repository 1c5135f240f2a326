"""The scale as the detector sees it: right within a tenth from 14 to 200 px, refused where there are no red cells."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from pbsbatch import engines, models
from pbsbatch.engines.base import Engine
from pbsbatch.models.base import Model
from pbsbatch.models.scale import RED_CELL_UM
from pbsbatch.run.magnification import LADDER_PX, can_measure, magnifications, measured_mpp
from pbsbatch.synth import Scene
from pbsbatch.testing.slides import FakeSlide


@pytest.fixture(scope="module")
def model() -> Model:
    return models.load("smear")


@pytest.fixture(scope="module")
def engine(model: Model) -> Iterator[Engine]:
    engine = engines.load(model, threads=1)
    yield engine
    engine.close()


def drawn(diameter: float, seed: int = 3) -> FakeSlide:
    """A drawn field of 12 x 9 red cells' diameters, at most 1,600 px wide."""
    wide = min(int(16 * diameter), 1600)
    scene = Scene(wide, wide * 3 // 4, RED_CELL_UM / diameter, seed)
    return FakeSlide(scene.render(0, 0, scene.width, scene.height), mpp=None)


@pytest.mark.parametrize("diameter", [14, 23, 40, 68, 102, 150, 200])
def test_finds_the_scale_of_any_magnification(model: Model, engine: Engine, diameter: int) -> None:
    found = measured_mpp(drawn(diameter), model, engine)
    assert found is not None
    assert found.mpp == pytest.approx(RED_CELL_UM / diameter, rel=0.1)
    assert 0 < found.confidence <= 1 and found.n_cells >= 2


def test_refuses_where_no_red_cells_are(model: Model, engine: Engine) -> None:
    rng = np.random.default_rng(0)
    glass = np.full((300, 400, 3), 235, np.uint8)
    noise = rng.integers(0, 255, (300, 400, 3), np.uint8)
    stripes = np.repeat(np.where(np.arange(400) // 25 % 2, 230, 120).astype(np.uint8)[None, :, None], 300, 0).repeat(
        3, 2
    )
    for image in (glass, noise, stripes, np.zeros((1, 1, 3), np.uint8)):
        assert measured_mpp(FakeSlide(image, mpp=None), model, engine) is None


def test_is_deterministic_and_more_cells_are_more_confidence(model: Model, engine: Engine) -> None:
    slide = drawn(50)
    many, again = measured_mpp(slide, model, engine), measured_mpp(slide, model, engine)
    few = measured_mpp(FakeSlide(slide.read(0, 300, 200, 160, 120), mpp=None), model, engine)
    assert many is not None and many == again
    assert few is None or few.confidence < many.confidence


def test_every_rung_is_within_reach_of_the_next() -> None:
    steps = np.array(LADDER_PX[1:]) / np.array(LADDER_PX[:-1])
    assert LADDER_PX[0] <= 14 and LADDER_PX[-1] >= 190 and (steps < 1.7).all()
    assert not can_measure(models.load("classical"))


def test_an_image_of_several_magnifications_is_seen_as_such_and_a_plain_one_is_not(
    model: Model, engine: Engine
) -> None:
    parts = [drawn(d).read(0, 0, 0, min(8 * d, 480), 360) for d in (30, 60, 90)]
    slide = FakeSlide(np.concatenate(parts, 1), mpp=None)
    found = measured_mpp(slide, model, engine)
    assert found is not None
    seen = RED_CELL_UM / found.mpp * np.array(magnifications(slide, model, engine, found.mpp))
    assert len(seen) == 3
    np.testing.assert_allclose(seen, [30, 60, 90], rtol=0.12)
    for d in (30, 60, 90):
        plain = drawn(d)
        assert magnifications(plain, model, engine, RED_CELL_UM / d) == (1.0,)


def test_a_large_image_is_taken_for_one_magnification(model: Model, engine: Engine) -> None:
    slide = FakeSlide(np.full((400, 9000, 3), 235, np.uint8), mpp=None)
    assert magnifications(slide, model, engine, RED_CELL_UM / 30) == (1.0,)
