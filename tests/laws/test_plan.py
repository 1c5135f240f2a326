"""Law 1: tiles cover, cores own, halos suffice, and the plan refuses with its numbers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbsbatch.config import Config
from pbsbatch.errors import PlanError
from pbsbatch.geometry import Level
from pbsbatch.plan import (
    BAND_PX,
    CORE_SHARE,
    FIELD_MARGIN_PX,
    STEP_PX,
    Needs,
    Plan,
    make_plan,
    required_halo,
    work_scale,
)

NEEDS = Needs(work_mpp=0.25, max_cell_um=25, context_px=10)
sizes = st.one_of(st.integers(1, 40), st.integers(41, 6000))
configs = st.builds(
    Config,
    core=st.one_of(st.none(), st.integers(32, 700)),
    halo=st.one_of(st.none(), st.integers(200, 900)),
    origin=st.one_of(st.just((0, 0)), st.tuples(st.integers(-900, 900), st.integers(-900, 900))),
)


def plan_of(width: int, height: int, config: Config | None = None, **change: object) -> Plan:
    values = {"slide_id": "s", "levels": (Level(0, width, height, 1.0),), "mpp": 0.25, "mpp_source": "given"}
    return make_plan(**(values | {"needs": NEEDS, "config": config or Config()} | change))  # type: ignore[arg-type]


def all_tiles(plan: Plan):  # type: ignore[no-untyped-def]
    return [tile for strip in range(plan.strips) for tile in plan.strip_tiles(strip)]


@given(width=sizes, height=sizes, config=configs)
def test_cores_cover_the_slide_and_never_overlap(width: int, height: int, config: Config) -> None:
    plan = plan_of(width, height, config)
    times_covered_x, times_covered_y = np.zeros(width, int), np.zeros(height, int)
    for col in range(plan.cols):
        core = plan.tile(0, col).core
        times_covered_x[core.x : core.x1] += 1
    for row in range(plan.rows):
        core = plan.tile(row, 0).core
        times_covered_y[core.y : core.y1] += 1
    assert (times_covered_x == 1).all()
    assert (times_covered_y == 1).all()
    assert sum(t.core.area for t in all_tiles(plan)) == width * height


@given(width=sizes, height=sizes, config=configs, data=st.data())
def test_every_point_has_exactly_one_owner(width: int, height: int, config: Config, data: st.DataObject) -> None:
    plan = plan_of(width, height, config)
    points = np.array(
        data.draw(
            st.lists(
                st.tuples(
                    st.floats(0, width, exclude_max=True, allow_subnormal=False),
                    st.floats(0, height, exclude_max=True, allow_subnormal=False),
                ),
                min_size=1,
                max_size=20,
            )
        )
    )
    owners = sum(tile.owns(points).astype(int) for tile in all_tiles(plan))
    assert (owners == 1).all()


@given(width=sizes, height=sizes, config=configs)
def test_every_tile_has_the_plans_one_shape_and_its_halo(width: int, height: int, config: Config) -> None:
    plan = plan_of(width, height, config)
    least = -(-100 // 2) + BAND_PX + NEEDS.context_px
    one_tile = plan.rows * plan.cols == 1 and config.core is None
    assert plan.halo >= (FIELD_MARGIN_PX if one_tile else least)
    for tile in all_tiles(plan):
        assert (tile.read.h, tile.read.w) == plan.tile_shape
        assert tile.read.contains(tile.core.grow(min(plan.halo, FIELD_MARGIN_PX)))
        assert tile.core.area > 0


@given(width=sizes, height=sizes, config=configs)
def test_tiles_lie_on_the_strides_of_a_network(width: int, height: int, config: Config) -> None:
    plan = plan_of(width, height, config)
    assert all(side % STEP_PX == 0 for side in (*plan.tile_shape, plan.halo, plan.core_w, plan.core_h))
    if config.origin == (0, 0):
        assert all(tile.read.x % STEP_PX == tile.read.y % STEP_PX == 0 for tile in all_tiles(plan))
    else:
        places = {(tile.read.x % STEP_PX, tile.read.y % STEP_PX) for tile in all_tiles(plan)}
        assert len(places) == 1  # neighbours see a cell alike all the same


@given(width=st.integers(1200, 40_000), height=st.integers(1200, 40_000))
def test_cores_are_most_of_what_is_computed(width: int, height: int) -> None:
    assert plan_of(width, height).core_share >= CORE_SHARE


@given(
    width=st.integers(1, 5000),
    height=st.integers(1, 5000),
    scale=st.floats(0.3, 9, allow_subnormal=False),
    config=configs,
)
def test_neighbouring_cores_share_their_edge_in_level_0(width: int, height: int, scale: float, config: Config) -> None:
    plan = plan_of(width, height, config, mpp=0.25 / scale)
    for row in range(plan.rows):
        edges = [plan.core_level0(plan.tile(row, col)) for col in range(plan.cols)]
        assert edges[0][0] == 0
        assert edges[-1][2] == width
        assert all(left[2] == right[0] for left, right in itertools.pairwise(edges))
    assert plan.roi_level0_px == pytest.approx(width * height)


@given(width=sizes, height=sizes, config=configs)
def test_strips_hold_every_tile_once_in_reading_order(width: int, height: int, config: Config) -> None:
    plan = plan_of(width, height, config)
    assert [t.index for t in all_tiles(plan)] == list(range(plan.rows * plan.cols))


@given(width=st.integers(1, 3000), height=st.integers(1, 3000), seed=st.integers(0, 99), config=configs)
def test_no_foreground_is_left_out(width: int, height: int, seed: int, config: Config) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(int(v) for v in rng.integers(1, 30, 2))
    foreground = rng.random(shape) < 0.05
    plan = plan_of(width, height, config, foreground=foreground)
    for y, x in np.argwhere(foreground):
        centre = np.array([[(x + 0.5) * width / shape[1], (y + 0.5) * height / shape[0]]])
        assert sum(int(tile.owns(centre)[0]) for tile in all_tiles(plan)) == 1


def test_a_blank_slide_has_nothing_to_read() -> None:
    plan = plan_of(5000, 5000, foreground=np.zeros((10, 10), np.bool_))
    assert (plan.tiles, plan.roi_level0_px, plan.core_share) == (0, 0.0, 1.0)


def test_a_halo_that_is_too_small_is_refused_with_the_numbers() -> None:
    with pytest.raises(PlanError, match=r"halo of 20 px is too small: 63 px are needed, 50 .* 3 .* 10"):
        plan_of(5000, 5000, Config(halo=20))
    assert required_halo(100, 10, None) == 64  # the next multiple of STEP_PX


def test_a_level_near_the_working_scale_is_used_as_it_is() -> None:
    levels = (Level(0, 4000, 4000, 1.0), Level(1, 2000, 2000, 2.0), Level(2, 1000, 1000, 4.0))
    assert work_scale(levels, 0.126, 0.25) == 2.0
    assert work_scale(levels, 0.25, 0.25) == 1.0
    assert work_scale(levels, 0.1, 0.25) == 2.5


def test_geometry_depends_on_slide_and_config_alone() -> None:
    one, two = plan_of(9000, 7000), plan_of(9000, 7000)
    assert one.facts() == two.facts()
    assert all_tiles(one) == all_tiles(two)


@given(size=st.integers(1, 3000), halo=st.one_of(st.none(), st.integers(70, 150)))
def test_tiles_of_a_fixed_side_begin_on_the_models_own_steps(size: int, halo: int | None) -> None:
    """A network whose coarsest stride is 64 sees a cell alike from every tile."""
    needs = Needs(work_mpp=0.25, max_cell_um=25, context_px=10, tile_px=512, step_px=64)
    plan = plan_of(size, size, Config(halo=halo), needs=needs)
    assert plan.tile_shape == (512, 512)
    for tile in all_tiles(plan):
        assert tile.read.x % 64 == tile.read.y % 64 == 0


def test_the_memory_of_a_lane_is_the_models() -> None:
    light, heavy = (plan_of(900, 900, needs=Needs(0.25, 25, 10, lane_bytes_px=n)) for n in (40, 400))
    height, width = heavy.tile_shape
    assert heavy.projected_memory(2) - light.projected_memory(2) == 2 * 360 * height * width
