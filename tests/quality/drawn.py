"""Drawn smears measured with their true cells: no network, so that what is judged is the judging."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pbsbatch.config import Config
from pbsbatch.geometry import Level
from pbsbatch.plan import Needs, Plan, make_plan
from pbsbatch.quality import read_tile
from pbsbatch.store import BlockRows, TileRows
from pbsbatch.synth import Scene


def plan_of(scene: Scene, core: int | None = None, origin: tuple[int, int] = (0, 0)) -> Plan:
    """Return a plan of the whole scene."""
    return make_plan(
        slide_id="s", levels=[Level(0, scene.width, scene.height, 1.0)], mpp=scene.mpp, mpp_source="given",
        needs=Needs(0.25, 25.0, 0), config=Config(core=core, origin=origin),
    )  # fmt: skip


def tiles_of(scene: Scene, plan: Plan) -> TileRows:
    """Measure the scene tile by tile; its blocks are whole."""
    cells = scene.cells(0, 0, scene.width, scene.height)
    cells = cells.take(cells.classes < 3)
    rows = [_tile(scene, plan, tile, cells) for strip in range(plan.strips) for tile in plan.strip_tiles(strip)]
    whole = TileRows.concat(rows)
    return TileRows.from_columns(whole.by_column(), whole.blocks.merged())


def _tile(scene: Scene, plan: Plan, tile, cells) -> TileRows:
    read = tile.read
    x0, y0, x1, y1 = max(0, read.x), max(0, read.y), min(scene.width, read.x1), min(scene.height, read.y1)
    pixels = np.full((read.h, read.w, 3), 240, np.uint8)
    pixels[y0 - read.y : y1 - read.y, x0 - read.x : x1 - read.x] = scene.render(x0, y0, x1 - x0, y1 - y0)
    b = cells.boxes
    seen = (b[:, 2] > x0) & (b[:, 0] < x1) & (b[:, 3] > y0) & (b[:, 1] < y1)
    boxes = (np.clip(b[seen], [x0, y0] * 2, [x1, y1] * 2) - [read.x, read.y] * 2).astype(np.float32)
    return read_tile(pixels, boxes, cells.classes[seen], 0, tile, plan)


def zone_shares(scene: Scene, blocks: BlockRows) -> NDArray[np.float64]:
    """Return which share of each block lies in each drawn zone."""
    shares = []
    for x0, y0, x1, y1 in blocks.box:
        x, y = np.meshgrid(np.linspace(x0 + 1, x1 - 1, 8), np.linspace(y0 + 1, y1 - 1, 8))
        shares.append(np.bincount(scene.zone(x.ravel(), y.ravel()), minlength=4) / 64)
    return np.array(shares)
