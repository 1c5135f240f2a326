"""A region counts cells without bias: over any parts of the plane each cell is counted once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbsbatch import rules
from pbsbatch.quality.frame import Frame
from pbsbatch.quality.zones import EMPTY, MONOLAYER, THICK, UNSEEN
from pbsbatch.store import SUMS, BlockRows

SIDE = 100.0


def blocks_of(rows: int, cols: int, width: float, height: float) -> BlockRows:
    at = np.array([(x, y) for y in range(rows) for x in range(cols)], np.int32)
    box = np.concatenate([at * SIDE, np.minimum((at + 1) * SIDE, [width, height])], axis=1)
    area = (box[:, 2:] - box[:, :2]).prod(axis=1)
    return BlockRows(at, box, area, np.zeros((len(at), len(SUMS)), np.int64))


def frame_of(zones: np.ndarray, width: int, height: int, mpp: float = 0.25) -> Frame:
    blocks = blocks_of(*zones.shape, width, height)
    return Frame.of(blocks, zones.ravel().astype(np.uint8), side=SIDE, width=width, height=height, mpp=mpp)


@given(st.integers(0, 2**32 - 1))
def test_regions_that_share_a_slide_count_each_cell_once(seed: int) -> None:
    rng = np.random.default_rng(seed)
    width, height = 870, 640
    part = rng.integers(0, 3, (7, 9))
    frames = [frame_of(np.where(part == k, MONOLAYER, THICK), width, height) for k in range(3)]
    x1, y1 = rng.uniform(-20, 900, 500), rng.uniform(-20, 700, 500)
    counted = np.sum([f.holds(x1, y1) for f in frames], axis=0)
    near, far = rules.FRAME_NEAR_UM / 0.25, rules.FRAME_FAR_UM / 0.25
    inside = (x1 >= near) & (x1 < width - far) & (y1 >= near) & (y1 < height - far)
    np.testing.assert_array_equal(counted, inside.astype(int))
    whole = (width - near - far) * (height - near - far)
    assert sum(f.area for f in frames) == pytest.approx(whole)


@pytest.mark.parametrize("shape", ["field", "corner", "ring"])
def test_the_density_is_without_bias_where_the_raw_count_is_not(shape: str) -> None:
    """Discs on a plane, of which a slide of a few cells' width is cut out, and a region of it."""
    rng = np.random.default_rng(4)
    zones = np.full((6, 8), MONOLAYER)
    if shape == "corner":
        zones[3:, 4:] = EMPTY
    elif shape == "ring":
        zones[2:4, 2:6] = EMPTY
    frame = frame_of(zones, 800, 600)
    field = frame_of(np.full((6, 8), MONOLAYER), 800, 600)
    n, extent, r = 400_000, 20_000.0, 40.0  # 0.001 per px
    counted, raw = 0, 0
    for _ in range(4):
        centre = rng.uniform(0, extent, (n, 2)) % 2000 - 600  # many slides on top of each other
        boxes = np.concatenate([centre - r, centre + r], axis=1)
        seen = (boxes[:, 2] > 0) & (boxes[:, 3] > 0) & (boxes[:, 0] < 800) & (boxes[:, 1] < 600)
        cut = np.clip(boxes[seen], 0, [800, 600, 800, 600])  # as they are found: cut off at the slide's edge
        counted += int(frame.holds(cut[:, 2], cut[:, 3]).sum())
        raw += len(cut)
    true = 4 * n / 2000**2
    assert counted / frame.area == pytest.approx(true, rel=0.01)
    assert field.area <= 800 * 600
    assert raw / (800 * 600) > 1.2 * true


def test_what_reaches_out_of_a_failed_tile_was_not_seen() -> None:
    zones = np.full((4, 4), MONOLAYER)
    zones[1, 1] = UNSEEN
    frame = frame_of(zones, 400, 400)
    expected = np.array([[1, 1, 1, 1], [1, 0, 0, 1], [1, 0, 0, 1], [1, 1, 1, 1]], bool)
    np.testing.assert_array_equal(frame.counts, expected)
    assert frame.zone_at(np.array([150.0, 350.0, -5.0]), np.array([150.0, 350.0, -5.0])).tolist() == [
        UNSEEN, MONOLAYER, MONOLAYER,
    ]  # fmt: skip


def test_no_monolayer_no_frame() -> None:
    frame = frame_of(np.full((2, 2), THICK), 200, 200)
    assert frame.area == 0
    assert not frame.holds(np.array([50.0]), np.array([50.0])).any()
