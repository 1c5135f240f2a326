"""Boxes cut from maps: torchvision's numbers, a slow reference from the definition, and refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbsbatch_kernels.roi_align import roi_align, roi_align_into


def by_definition(features: np.ndarray, boxes: np.ndarray, scale: float, side: int, samples: int) -> np.ndarray:
    """Sample point by point, in float64."""
    height, width, channels = features.shape
    out = np.zeros((len(boxes), side, side, channels))
    for n, (x0, y0, x1, y1) in enumerate(boxes.astype(float) * scale):
        wide, tall = max(x1 - x0, 1) / side, max(y1 - y0, 1) / side
        for row, col, i, j in np.ndindex(side, side, samples, samples):
            y, x = y0 + (row + (i + 0.5) / samples) * tall, x0 + (col + (j + 0.5) / samples) * wide
            if not (-1 <= y <= height and -1 <= x <= width):
                continue
            y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
            top, left = min(int(y), height - 1), min(int(x), width - 1)
            for yy, share in ((top, 1 - (y - top)), (min(top + 1, height - 1), y - top)):
                for xx, part in ((left, 1 - (x - left)), (min(left + 1, width - 1), x - left)):
                    out[n, row, col] += share * part * features[yy, xx] / samples**2
    return out


corner = st.floats(-40, 90, width=32)
boxes_ = st.lists(
    st.tuples(corner, corner, st.floats(0, 60, width=32), st.floats(0, 60, width=32)), min_size=1, max_size=4
)


@given(boxes=boxes_, scale=st.sampled_from([1.0, 0.25, 0.125]), side=st.integers(1, 4), samples=st.integers(1, 3))
def test_the_definition_holds(boxes: list[tuple[float, ...]], scale: float, side: int, samples: int) -> None:
    """Inside, across the border, beyond it, without area, from maps of one pixel on."""
    rng = np.random.default_rng(len(boxes))
    features = rng.normal(size=(int(rng.integers(1, 12)), int(rng.integers(1, 12)), 3)).astype(np.float32)
    corners = np.array([(x, y, x + w, y + h) for x, y, w, h in boxes], np.float32)
    found = roi_align(features, corners, scale, side, samples)
    # a point that rounding puts on the other side of "a pixel outside" counts or not: leave those boxes out
    points = by_definition(features, corners, scale, side, samples)
    moved = by_definition(features, corners + np.float32(1e-4), scale, side, samples)
    steady = np.abs(points - moved).max((1, 2, 3)) < 1e-2
    np.testing.assert_allclose(found[steady], points[steady], atol=1e-3)


def test_boxes_are_cut_where_they_are_wanted() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(9, 12, 5)).astype(np.float32)
    boxes = np.array([(1, 2, 7, 6), (-50, -50, -45, -45), (0, 0, 12, 9)], np.float32)
    out = np.full((4, 3, 3, 5), np.nan, np.float32)
    roi_align_into(features, boxes, 1.0, out, np.array([3, 0, 2]))
    np.testing.assert_array_equal(out[[3, 0, 2]], roi_align(features, boxes, 1.0, 3))
    assert np.isnan(out[1]).all() and not out[0].any(), "what stood there is no part of a sum"
    for places, into in (([0, 1], out), ([0, 1, 4], out), ([0, 1, -1], out), ([0, 1, 2], out[:, :2])):
        with pytest.raises(ValueError, match="roi_align"):
            roi_align_into(features, boxes, 1.0, into, np.array(places))


def test_it_is_torchvisions() -> None:
    torch, ops = pytest.importorskip("torch"), pytest.importorskip("torchvision.ops")
    rng = np.random.default_rng(0)
    features = rng.normal(size=(40, 56, 16)).astype(np.float32)
    low = rng.uniform(-40, 220, (300, 2))
    boxes = np.concatenate([low, low + rng.uniform(0, 90, (300, 2))], 1).astype(np.float32)
    planes = torch.from_numpy(features).permute(2, 0, 1)[None].contiguous()
    for side, scale in ((7, 0.25), (14, 0.125)):
        wanted = ops.roi_align(planes, [torch.from_numpy(boxes)], side, scale, 2).permute(0, 2, 3, 1).numpy()
        found = roi_align(features, boxes, scale, side)
        assert np.abs(wanted).max() > 1
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_a_box_does_not_depend_on_the_others() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(16, 16, 8)).astype(np.float32)
    boxes = np.array([[3, 4, 20, 18], [30, 30, 60, 61], [0, 0, 64, 64]], np.float32)
    whole = roi_align(features, boxes, 0.25, 7)
    for i in range(3):
        np.testing.assert_array_equal(roi_align(features, boxes[i : i + 1], 0.25, 7)[0], whole[i])
    assert roi_align(features, boxes[:0], 0.25, 7).shape == (0, 7, 7, 8)


@pytest.mark.parametrize(
    ("features", "boxes", "said"),
    [
        (np.zeros((4, 4), np.float32), np.zeros((1, 4), np.float32), "a map"),
        (np.zeros((4, 4, 2)), np.zeros((1, 4), np.float32), "float32"),
        (np.zeros((4, 4, 2), np.float32), np.full((1, 4), np.nan, np.float32), "not finite"),
        (np.zeros((0, 4, 2), np.float32), np.zeros((1, 4), np.float32), "a map"),
    ],
)
def test_what_cannot_be_cut_is_refused(features: np.ndarray, boxes: np.ndarray, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        roi_align(features, boxes, 0.25, 7)
