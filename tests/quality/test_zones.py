from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pbsbatch.quality.zones import BLURRED, EMPTY, FEATHER, MONOLAYER, THICK, UNSEEN, _without_strays, zones_of
from pbsbatch.store import SUMS, BlockRows
from pbsbatch.synth import ZONES as DRAWN
from pbsbatch.synth import Scene
from tests.quality.drawn import plan_of, tiles_of, zone_shares

PX, DIAMETER = 256, 29


def block(cells: int, overlapping: float, pallor: float = 0.5, edge_px: float = 3.0, failed: int = 0) -> np.ndarray:
    """Return the sums of one block of 256 px with that many red cells."""
    given = {
        "samples": (PX // 16) ** 2, "red": cells, "overlapping": round(cells * overlapping), "sized": cells,
        "diameter": cells * 100 * DIAMETER, "whole": cells, "pallor": round(1000 * pallor * cells),
        "edges": 8 * cells, "slope": round(8 * cells * 1000 / edge_px), "failed": failed,
    }  # fmt: skip
    return np.array([given.get(name, 0) for name in SUMS], np.int64)


def grid(rows: list[list[np.ndarray]]) -> BlockRows:
    """Return blocks that lie in rows beside each other."""
    at = np.array([(x, y) for y, row in enumerate(rows) for x in range(len(row))], np.int32)
    box = np.concatenate([at * PX, (at + 1) * PX], axis=1).astype(np.float64)
    return BlockRows(at, box, np.full(len(at), float(PX * PX)), np.stack([b for row in rows for b in row]))


def everywhere(one: np.ndarray) -> list[int]:
    return sorted(set(zones_of(grid([[one] * 6] * 6)).tolist()))


def test_anaemia_is_a_monolayer_and_a_heap_is_not_at_any_density() -> None:
    assert everywhere(block(43, 0.30)) == [MONOLAYER]
    assert everywhere(block(13, 0.10)) == [MONOLAYER]  # sparse, but apart
    assert everywhere(block(13, 0.32)) == [THICK]  # as sparse, but thrown at random
    assert everywhere(block(110, 0.93)) == [THICK]


def test_empty_blurred_and_unseen() -> None:
    assert everywhere(block(0, 0)) == [EMPTY]
    assert everywhere(block(2, 0)) == [EMPTY]
    assert everywhere(block(43, 0.3, edge_px=6.0)) == [BLURRED]
    assert everywhere(block(43, 0.3, failed=1)) == [UNSEEN]


def test_flat_and_sparse_ends_are_feathered_but_a_patient_without_pallor_is_not() -> None:
    full, flat, few = block(43, 0.3), block(43, 0.3, pallor=0.2), block(14, 0.05)
    for other in (flat, few):
        zones = zones_of(grid([[full] * 8 + [other] * 4] * 6)).reshape(6, 12)
        assert (zones[:, :6] == MONOLAYER).all()
        assert (zones[:, -2:] == FEATHER).all()
    assert everywhere(block(43, 0.3, pallor=-0.1)) == [MONOLAYER]
    assert everywhere(block(43, 0.3, pallor=0.12)) == [MONOLAYER]


def test_cells_stuck_together_at_the_sparse_end_are_no_thick_part() -> None:
    full, stuck, heap = block(43, 0.3), block(20, 0.6), block(90, 0.9)
    zones = zones_of(grid([[heap] * 6 + [full] * 8 + [stuck] * 4] * 6)).reshape(6, 18)
    assert (zones[:, :5] == THICK).all()
    assert (zones[:, 8:12] == MONOLAYER).all()
    assert (zones[:, -2:] == FEATHER).all()


def test_a_stray_block_belongs_to_the_zone_around_it_and_a_border_stays() -> None:
    blocks = grid([[block(43, 0.3)] * 5] * 5)
    for other in (THICK, FEATHER, BLURRED):
        stray = np.full((5, 5), other, np.uint8)
        stray[2, 2] = MONOLAYER
        assert (_without_strays(blocks, stray.ravel()) == other).all()
        half = np.full((5, 5), MONOLAYER, np.uint8)
        half[:, 3:] = other
        np.testing.assert_array_equal(_without_strays(blocks, half.ravel()), half.ravel())
    alone = grid([[block(43, 0.3)]])
    assert _without_strays(alone, np.array([MONOLAYER], np.uint8)).tolist() == [MONOLAYER]


def test_the_border_of_the_smear_is_no_monolayer() -> None:
    full, none = block(43, 0.3), block(0, 0)
    zones = zones_of(grid([[full] * 5 + [none] * 2] * 6)).reshape(6, 7)
    assert (zones[:, :4] == MONOLAYER).all()
    assert (zones[:, 4] == FEATHER).all()


def test_a_field_of_a_few_cells_is_no_crowd() -> None:
    assert zones_of(grid([[block(12, 0.67)]])).tolist() == [MONOLAYER]
    assert zones_of(BlockRows.empty()).tolist() == []


@pytest.mark.parametrize(("density", "seed"), [(10500, 31), (5000, 32), (14000, 33)])
def test_zones_agree_with_those_that_were_drawn(density: float, seed: int) -> None:
    scene = Scene(8192, 4096, seed=seed, profile="slide", density_per_mm2=density)
    blocks = tiles_of(scene, plan_of(scene)).blocks
    found = zones_of(blocks) == MONOLAYER
    true = zone_shares(scene, blocks)[:, DRAWN.index("monolayer")] * blocks.area
    assert true[found].sum() / blocks.area[found].sum() > 0.85
    assert true[found].sum() / true.sum() > 0.85


def test_out_of_focus_is_seen(density: float = 10500) -> None:
    sharp = Scene(2048, 2048, seed=5, density_per_mm2=density)
    soft = replace(sharp, focus_um=2.5)
    zones = [zones_of(tiles_of(scene, plan_of(scene)).blocks) for scene in (sharp, soft)]
    assert (zones[0] == MONOLAYER).mean() > 0.9
    assert (zones[1] == BLURRED).mean() > 0.9
