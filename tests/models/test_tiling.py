"""Tiling does not matter: the same cells, masks and scores from any tile size and grid origin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pbsbatch.models.classical import ClassicalModel
from tests.models import drawing
from tests.models.grid import calibrated, decode, differing, halo_of, owned, tiled

MODEL = ClassicalModel()


@pytest.mark.parametrize(("seed", "every"), [(0, 34), (1, 27), (2, 22)])
def test_cells_do_not_depend_on_core_or_origin(seed: int, every: int) -> None:
    image = drawing.monolayer(700, 800, seed=seed, every=every, whites=12, platelets=40)
    known = calibrated(image)
    whole = tiled(MODEL, image, known, 1024)
    assert len(whole) > 250
    for core in (128, 256, 512):
        for origin in ((0, 0), (37, 91), (101, 13)):
            assert differing(whole, tiled(MODEL, image, known, core, origin)) == 0


@settings(max_examples=10)
@given(dx=st.integers(0, 60), dy=st.integers(0, 60))
def test_phase_does_not_matter(dx: int, dy: int) -> None:
    image = drawing.monolayer(360, 360, seed=5, whites=3)
    known, edge = calibrated(image), halo_of(MODEL)
    core = 360 - 60 - 2 * edge
    moved = decode(MODEL, np.ascontiguousarray(image[dy:, dx:]), known)
    here = owned(decode(MODEL, image, known), edge + 60, core, 0, 0)
    there = owned(moved, 0, 10_000, dx, dy)
    inside = [c for c in there if all(edge + 60 <= (c[k] + c[k + 2]) / 2 < edge + 60 + core for k in (1, 2))]
    assert here and sorted(here) == sorted(inside)
