"""What is measured of tiles whose pixels are drawn on purpose."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pbsbatch.config import Config
from pbsbatch.geometry import Level
from pbsbatch.plan import Needs, Plan, make_plan
from pbsbatch.quality.tiles import block_px, failed_tile, read_tile
from pbsbatch.store import SUMS, TILE_FAILED, TILE_OK, BlockRows
from pbsbatch_kernels.quality import SUMMED

GLASS, CELL = 230, 150


def plan_of(
    width: int, height: int, mpp: float = 0.25, core: int | None = None, origin: tuple[int, int] = (0, 0)
) -> Plan:
    return make_plan(
        slide_id="s", levels=[Level(0, width, height, 1.0)], mpp=mpp, mpp_source="given", needs=Needs(0.25, 25.0, 0),
        config=Config(),
    )  # fmt: skip


def tile_of(centres: list[tuple[int, int]], pale: bool, blur: float = 0.0, side: int = 512, radius: int = 14):
    """Draw red cells on glass and measure them as one tile."""
    plan = plan_of(side, side)
    tile = plan.tile(0, 0)
    picture = np.full((side, side, 3), GLASS, np.uint8)
    for x, y in centres:
        cv2.circle(picture, (x, y), radius, (CELL, CELL - 20, CELL), -1, cv2.LINE_AA)
        if pale:
            cv2.circle(picture, (x, y), radius // 2, (200, 190, 200), -1, cv2.LINE_AA)
    if blur:
        picture = cv2.GaussianBlur(picture, (0, 0), blur)
    read = tile.read
    pixels = np.full((read.h, read.w, 3), GLASS, np.uint8)
    pixels[-read.y : side - read.y, -read.x : side - read.x] = picture
    c = np.array(centres, np.float32).reshape(-1, 2) + 0.5 - (read.x, read.y)
    boxes = np.concatenate([c - radius, c + radius], axis=1).astype(np.float32)
    return read_tile(pixels, boxes, np.zeros(len(boxes), np.uint8), 0, tile, plan)


APART = [(x, y) for x in range(40, 480, 43) for y in range(40, 480, 41)]
TOGETHER = [(x, y) for x in range(40, 480, 26) for y in range(40, 480, 26)]


def test_the_sums_have_one_list_of_names() -> None:
    assert (*SUMMED, "failed") == SUMS


def test_cells_apart_and_pale() -> None:
    row = tile_of(APART, pale=True)
    assert row.status.tolist() == [TILE_OK]
    assert row.n_cells[0] == len(APART)
    assert row.overlap[0] == 0
    assert row.pallor[0] == 1
    assert row.rbc_per_mpx[0] == pytest.approx(len(APART) * 1e6 / 512**2)
    assert row.covered[0] == pytest.approx(len(APART) * np.pi * 16**2 / 512**2, abs=0.05)
    assert row.glass_od[0] == pytest.approx(100 * np.log(255 / GLASS), abs=0.6)
    assert row.glass_od[0] < row.rbc_od[0] < 100 * np.log(255 / (CELL - 20))


def test_full_cells_and_cells_together() -> None:
    assert tile_of(APART, pale=False).pallor[0] == 0
    crowd = tile_of(TOGETHER, pale=False)
    assert crowd.overlap[0] == 1
    assert crowd.blocks["overlapping"].sum() == 0
    heap = tile_of([(x, y) for x in range(40, 480, 20) for y in range(40, 480, 20)], pale=False)
    assert heap.blocks["overlapping"].sum() == heap.n_cells[0]
    assert np.isnan(heap.pallor[0])  # no cell is whole


def test_blur_widens_edges_and_flattens() -> None:
    rows = [tile_of(APART, pale=False, blur=blur) for blur in (0.0, 1.5, 3.0)]
    edges, focus = [float(r.edge_px[0]) for r in rows], [float(r.focus[0]) for r in rows]
    assert edges[0] < edges[1] < edges[2]
    assert edges[0] == pytest.approx(2.0, abs=0.4)
    assert focus[0] > focus[1] > focus[2]


def test_an_empty_tile_and_a_failed_one() -> None:
    empty = tile_of([], pale=False)
    assert empty.covered[0] == 0
    assert np.isnan([empty.overlap[0], empty.pallor[0], empty.edge_px[0], empty.rbc_od[0]]).all()
    plan = plan_of(512, 512)
    failed = failed_tile(plan.tile(0, 0), plan)
    assert failed.status.tolist() == [TILE_FAILED]
    assert np.isnan(failed.rbc_per_mpx[0])
    assert (failed.blocks["failed"] == 1).all()
    assert failed.blocks.area.sum() == 512 * 512


def test_parts_of_a_block_add_up() -> None:
    parts = BlockRows(
        at=np.array([[1, 0], [0, 0], [1, 0]], np.int32),
        box=np.array([[512, 0, 700, 512], [0, 0, 512, 512], [700, 0, 1024, 512]], np.float64),
        area=np.array([188 * 512, 512 * 512, 324 * 512], np.float64), sums=np.arange(3 * len(SUMS)).reshape(3, -1),
    )  # fmt: skip
    whole = parts.merged()
    assert whole.at.tolist() == [[0, 0], [1, 0]]
    assert whole.box.tolist() == [[0, 0, 512, 512], [512, 0, 1024, 512]]
    assert whole.area.tolist() == [512 * 512, 512 * 512]
    np.testing.assert_array_equal(whole.sums[1], parts.sums[0] + parts.sums[2])
    assert len(BlockRows.empty().merged()) == 0


@pytest.mark.parametrize("mpp", [0.1, 0.25, 0.26, 0.5])
def test_a_block_is_64_um(mpp: float) -> None:
    plan = plan_of(4000, 3000, mpp)
    assert block_px(plan) % 16 == 0
    assert block_px(plan) * plan.work_mpp == pytest.approx(64, rel=0.04)
