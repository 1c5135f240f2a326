"""The opencv engine: planes per slot, the same whatever stands beside them; found by name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pbsbatch import engines, models
from pbsbatch.engines.opencv import OpenCVEngine
from pbsbatch.errors import EngineError
from pbsbatch.models.classical import ClassicalModel


def test_a_slot_depends_on_its_own_pixels_alone() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (3, 33, 47, 3)).astype(np.uint8)
    engine = OpenCVEngine()
    raw = engine(pixels)
    assert {k: (v.shape, v.dtype) for k, v in raw.items()} == dict.fromkeys(("green", "stain"), ((3, 33, 47), np.uint8))
    for slot in range(3):
        alone = engine(pixels[slot : slot + 1, 5:20, 7:30])
        assert all(np.array_equal(alone[k][0], raw[k][slot, 5:20, 7:30]) for k in raw)


def test_planes_are_optical_densities() -> None:
    raw = OpenCVEngine()(np.array([[[[255, 255, 255], [200, 94, 255], [0, 0, 0], [0, 255, 94]]]], np.uint8))
    assert raw["green"][0, 0].tolist() == [0, 100, 255, 0]  # 100 * ln(255 / 94) = 99.8
    assert raw["stain"][0, 0].tolist() == [100, 200, 100, 0]


def test_an_empty_batch_is_empty() -> None:
    assert OpenCVEngine()(np.zeros((0, 8, 8, 3), np.uint8))["green"].shape == (0, 8, 8)


def test_auto_is_the_models_own_engine() -> None:
    model = models.load("classical")
    for asked in ("auto", "opencv"):
        engine = engines.load(model, asked)
        assert (engine.name, engine.precision) == ("opencv", "uint8")
        engine.close()


def test_an_engine_that_does_not_fit_is_refused_with_the_cure() -> None:
    with pytest.raises(EngineError, match="--engine auto"):
        engines.load(models.load("classical"), "tensorrt")
    base = ClassicalModel()
    strange = replace(base, spec=replace(base.spec, engine="nowhere"))
    with pytest.raises(EngineError, match="opencv"):
        engines.load(strange, "auto")
