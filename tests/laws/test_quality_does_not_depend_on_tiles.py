"""Quality is measured over blocks of the slide: the sums are the same on every grid of tiles."""

from __future__ import annotations

import numpy as np
import pytest

from pbsbatch.synth import Scene
from tests.quality.drawn import plan_of, tiles_of

SCENE = Scene(1500, 1100, seed=8, profile="slide", density_per_mm2=9000)


@pytest.mark.parametrize(("core", "origin"), [(256, (0, 0)), (512, (37, 101)), (400, (200, 3)), (1024, (11, 5))])
def test_the_sums_of_blocks_are_the_same_on_every_grid(core: int, origin: tuple[int, int]) -> None:
    whole, cut = (tiles_of(SCENE, plan_of(SCENE, *grid)).blocks for grid in ((None, (0, 0)), (core, origin)))
    np.testing.assert_array_equal(whole.at, cut.at)
    np.testing.assert_allclose(whole.box, cut.box)
    np.testing.assert_allclose(whole.area, cut.area)
    np.testing.assert_array_equal(whole.sums, cut.sums)
    assert whole["red"].sum() > 300
    assert whole["whole"].sum() > 100
    assert whole.area.sum() == SCENE.width * SCENE.height
