"""Quality is measured over blocks of the slide: the sums are the same on every grid of tiles."""

from __future__ import annotations

import numpy as np
import pytest

from pbsbatch.config import Config
from pbsbatch.geometry import Level
from pbsbatch.plan import Needs, make_plan
from pbsbatch.quality import read_tile
from pbsbatch.store import BlockRows
from pbsbatch.synth import Scene

SCENE = Scene(1500, 1100, seed=8, profile="slide", density_per_mm2=9000)
PIXELS = SCENE.render(0, 0, SCENE.width, SCENE.height)
CELLS = SCENE.cells(0, 0, SCENE.width, SCENE.height)


def merged(core: int | None, origin: tuple[int, int]) -> BlockRows:
    """Measure the scene with its true cells, tile by tile."""
    plan = make_plan(
        slide_id="s", levels=[Level(0, SCENE.width, SCENE.height, 1.0)], mpp=0.25, mpp_source="given",
        needs=Needs(0.25, 25.0, 0), config=Config(core=core, origin=origin),
    )  # fmt: skip
    parts = []
    for strip in range(plan.strips):
        for tile in plan.strip_tiles(strip):
            read = tile.read
            pixels = np.full((read.h, read.w, 3), 240, np.uint8)
            x0, y0, x1, y1 = max(0, read.x), max(0, read.y), min(SCENE.width, read.x1), min(SCENE.height, read.y1)
            pixels[y0 - read.y : y1 - read.y, x0 - read.x : x1 - read.x] = PIXELS[y0:y1, x0:x1]
            b = CELLS.boxes
            seen = (CELLS.classes < 3) & (b[:, 2] > x0) & (b[:, 0] < x1) & (b[:, 3] > y0) & (b[:, 1] < y1)
            boxes = (np.clip(b[seen], [x0, y0] * 2, [x1, y1] * 2) - [read.x, read.y] * 2).astype(np.float32)
            rows = read_tile(pixels, boxes, CELLS.classes[seen], 0, tile, plan)
            assert rows.blocks.area.sum() == pytest.approx(rows.areas.sum())
            parts.append(rows.blocks)
    return BlockRows.concat(parts).merged()


@pytest.mark.parametrize(("core", "origin"), [(256, (0, 0)), (512, (37, 101)), (400, (200, 3)), (1024, (11, 5))])
def test_the_sums_of_blocks_are_the_same_on_every_grid(core: int, origin: tuple[int, int]) -> None:
    whole, cut = merged(None, (0, 0)), merged(core, origin)
    np.testing.assert_array_equal(whole.at, cut.at)
    np.testing.assert_allclose(whole.box, cut.box)
    np.testing.assert_allclose(whole.area, cut.area)
    np.testing.assert_array_equal(whole.sums, cut.sums)
    assert whole["red"].sum() > 300
    assert whole["lone"].sum() > 50
