"""Places become boxes as the formula says; outlines become masks pixel by pixel, wherever the tile starts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.measure import points_in_poly

from pbsbatch_kernels import outlines
from pbsbatch_kernels.outlines import FAR, LOG_LEAST, LOG_MOST, SNAP

seeds = st.integers(0, 2**32 - 1)


def drawn(seed: int, n: int, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    centre = rng.uniform(-4, 4 + max(width, height), (n, 2))
    size = rng.uniform(0, rng.choice([3, 12, 60]), (n, 2))
    boxes = np.floor(np.concatenate([centre - size / 2, centre + size / 2], 1) * SNAP) / SNAP
    return boxes.astype(np.float32), rng.normal(0, rng.choice([0.05, 0.4, 2.0]), (n, 32)).astype(np.float32)


def corners(box: np.ndarray, outline: np.ndarray) -> np.ndarray:
    angles = 2 * np.pi * np.arange(len(outline)) / len(outline)
    reach = np.clip(1 + outline.astype(float), 0, FAR)
    x0, y0, x1, y1 = box.astype(float)
    return np.stack(
        [
            (x0 + x1) / 2 + reach * (x1 - x0) / 2 * np.cos(angles),
            (y0 + y1) / 2 + reach * (y1 - y0) / 2 * np.sin(angles),
        ],
        1,
    )


def inside(polygon: np.ndarray, width: int, height: int) -> np.ndarray:
    """Count for every pixel of a tile the edges to the left of its centre."""
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    odd = np.zeros((height, width), bool)
    for (ax, ay), (bx, by) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        spans = (ay <= y) != (by <= y)
        with np.errstate(divide="ignore", invalid="ignore"):
            cross = ax + (y - ay) * (bx - ax) / (by - ay)
        odd ^= spans & (cross <= x)
    return odd


def pasted(window: np.ndarray, mask: np.ndarray, width: int, height: int) -> np.ndarray:
    x, y, w, h = window
    assert mask.shape == (h, w) and x >= 0 and y >= 0 and x + w <= width and y + h <= height
    out = np.zeros((height, width), bool)
    out[y : y + h, x : x + w] = mask
    return out


def near_edge(polygon: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return the pixels whose centre lies so near an edge that rounding decides."""
    y, x = np.mgrid[:height, :width] + 0.5
    near = np.zeros((height, width), bool)
    for a, b in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        edge = b - a
        t = np.clip(((x - a[0]) * edge[0] + (y - a[1]) * edge[1]) / max(float(edge @ edge), 1e-30), 0, 1)
        near |= np.hypot(x - a[0] - t * edge[0], y - a[1] - t * edge[1]) < 1e-9
    return near


@given(seed=seeds, width=st.integers(1, 50), height=st.integers(1, 50))
def test_masks_hold_the_pixels_whose_centres_lie_in_the_polygon(seed: int, width: int, height: int) -> None:
    boxes, shapes = drawn(seed, 6, width, height)
    windows, masks = outlines.fill(boxes, shapes, width, height)
    for box, shape, window, mask in zip(boxes, shapes, windows, masks, strict=True):
        found = pasted(window, mask, width, height)
        assert found.any()
        small = min(box[2] - box[0], box[3] - box[1]) < 2
        tried = [corners(box, s) for s in ([] if small else [shape]) + [np.zeros(32)]]
        sure = [inside(p, width, height) for p in tried if not near_edge(p, width, height).any()]
        if len(sure) < len(tried):
            continue
        expected = next((m for m in sure if m.any()), None)
        if expected is None:
            assert found.sum() == 1
        else:
            np.testing.assert_array_equal(found, expected)


def test_an_ellipse_is_filled_like_a_polygon_of_another_library() -> None:
    box = np.array([[3.25, 5.5, 41.0, 30.75]], np.float32)
    windows, masks = outlines.fill(box, np.zeros((1, 32), np.float32), 50, 40)
    y, x = np.mgrid[:40, :50] + 0.5
    expected = points_in_poly(np.stack([x.ravel(), y.ravel()], 1), corners(box[0], np.zeros(32)))
    np.testing.assert_array_equal(pasted(windows[0], masks[0], 50, 40).ravel(), expected)
    assert abs(masks[0].sum() / (np.pi / 4 * 37.75 * 25.25) - 1) < 0.02


@given(seed=seeds, dx=st.integers(0, 300), dy=st.integers(0, 300))
def test_a_mask_does_not_depend_on_where_the_tile_starts(seed: int, dx: int, dy: int) -> None:
    boxes, shapes = drawn(seed, 5, 40, 40)
    here, there = boxes + np.float32(80), boxes + np.float32([80 + dx, 80 + dy, 80 + dx, 80 + dy])
    windows, masks = outlines.fill(here, shapes, 600, 600)
    moved, same = outlines.fill(there, shapes, 600, 600)
    np.testing.assert_array_equal(moved - windows, np.tile([dx, dy, 0, 0], (5, 1)))
    assert all(np.array_equal(a, b) for a, b in zip(masks, same, strict=True))


def test_a_speck_has_the_pixel_of_its_centre() -> None:
    boxes = np.array([[5.1, 7.1, 5.2, 7.2], [-9, -9, -8, -8], [90, 3, 90, 3]], np.float32)
    windows, masks = outlines.fill(boxes, np.full((3, 32), -1.0, np.float32), 20, 10)
    assert windows.tolist() == [[5, 7, 1, 1], [0, 0, 1, 1], [19, 3, 1, 1]]
    assert all(m.all() for m in masks)


def test_no_cells_have_no_masks() -> None:
    windows, masks = outlines.fill(np.zeros((0, 4), np.float32), np.zeros((0, 32), np.float32), 9, 9)
    assert windows.shape == (0, 4) and masks == ()


@pytest.mark.parametrize(
    ("boxes", "shapes", "side"),
    [
        (np.zeros((2, 3)), np.zeros((2, 32)), 9),
        (np.zeros((2, 4)), np.zeros((1, 32)), 9),
        (np.zeros((1, 4)), np.zeros((1, 2)), 9),
        (np.array([[0, 0, np.nan, 1]]), np.zeros((1, 32)), 9),
        (np.array([[0, 0, 1e9, 1]]), np.zeros((1, 32)), 9),
        (np.array([[2, 0, 1, 1]]), np.zeros((1, 32)), 9),
        (np.zeros((1, 4)), np.full((1, 32), np.inf), 9),
        (np.zeros((1, 4)), np.zeros((1, 32)), 0),
    ],
)
def test_bad_cells_are_refused(boxes: np.ndarray, shapes: np.ndarray, side: int) -> None:
    with pytest.raises(ValueError, match=r"must be|cannot be"):
        outlines.fill(boxes.astype(np.float32), shapes.astype(np.float32), side, side)


def raw_grid(seed: int, classes: int = 3, rows: int = 6, cols: int = 9) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scores = rng.normal(0, 2, (classes, rows, cols)).astype(np.float32)
    boxes = rng.normal(0, rng.choice([0.5, 4]), (4, rows, cols)).astype(np.float32)
    return scores, boxes


@given(seed=seeds, stride=st.sampled_from([1, 4, 8]), largest=st.floats(1, 200))
def test_candidates_are_the_places_above_the_threshold(seed: int, stride: int, largest: float) -> None:
    scores, raw = raw_grid(seed)
    least = np.array([-0.5, 0.0, 1.0], np.float32)
    found = outlines.candidates(scores, raw, least, stride, largest)
    expected = []
    for c, row, col in np.argwhere(scores >= least[:, None, None]):
        dx, dy, lw, lh = raw[:, row, col].astype(float)
        cx, cy = (col + 0.5 + dx) * stride, (row + 0.5 + dy) * stride
        w, h = (float(np.clip(np.exp(np.clip(v, LOG_LEAST, LOG_MOST)) * stride, 1, largest)) for v in (lw, lh))
        box = np.array([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
        edge = min(abs(cx), abs(cy), abs(cx - 9 * stride), abs(cy - 6 * stride)) < 1 / SNAP
        if edge or (0 <= cx < 9 * stride and 0 <= cy < 6 * stride):
            expected.append((edge, row * 9 + col, c, scores[c, row, col], box))
    got = dict(
        zip(zip(found.places.tolist(), found.classes.tolist(), strict=True), range(len(found.places)), strict=True)
    )
    assert list(got) == sorted(got, key=lambda k: (k[1], k[0]))
    assert set(got) <= {(e[1], e[2]) for e in expected}
    for edge, place, c, logit, box in expected:
        if edge and (place, c) not in got:
            continue
        at = got[place, c]
        assert found.logits[at] == logit
        np.testing.assert_allclose(found.boxes[at], box, atol=0.51 / SNAP + 1e-6)
        np.testing.assert_array_equal(found.boxes[at] * SNAP % 1, 0)


@given(seed=seeds, down=st.integers(0, 40), right=st.integers(0, 40))
def test_a_box_does_not_depend_on_where_the_tile_starts(seed: int, down: int, right: int) -> None:
    scores, raw = raw_grid(seed)
    raw[:2] /= 8  # centres stay in the tile
    pad = ((0, 0), (20 + down, 5), (20 + right, 5))
    one = ((0, 0), (20, 5), (20, 5))
    least = np.zeros(3, np.float32)
    here, there = (
        outlines.candidates(np.pad(scores, p, constant_values=-9), np.pad(raw, p), least, 4, 100.0) for p in (one, pad)
    )
    np.testing.assert_array_equal(there.boxes, here.boxes + np.float32([right, down, right, down]) * 4)
    np.testing.assert_array_equal(there.logits, here.logits)


def test_candidates_refuse_what_they_cannot_read() -> None:
    scores, raw = raw_grid(0)
    least = np.zeros(3, np.float32)
    for bad in (scores.astype(np.float64), scores[0]):
        with pytest.raises(ValueError, match="scores must be"):
            outlines.candidates(bad, raw, least, 4, 100.0)
    with pytest.raises(ValueError, match="boxes must be"):
        outlines.candidates(scores, raw[:3], least, 4, 100.0)
    with pytest.raises(ValueError, match="least"):
        outlines.candidates(scores, raw, least[:2], 4, 100.0)
    for stride, largest in ((0, 100.0), (4, 0.5), (4, float("nan")), (10**6, 100.0)):
        with pytest.raises(ValueError, match="stride"):
            outlines.candidates(scores, raw, least, stride, largest)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_seen(value: float) -> None:
    scores, raw = raw_grid(0)
    least = np.full(3, -50, np.float32)
    broken = scores.copy()
    broken[2, 5, 8] = value
    with pytest.raises(ValueError, match="not finite"):
        outlines.candidates(broken, raw, least, 4, 100.0)
    for k in range(4):
        broken = raw.copy()
        broken[k, 0, 0] = value
        with pytest.raises(ValueError, match="not finite"):
            outlines.candidates(scores, broken, least, 4, 100.0)


def test_sizes_keep_their_bounds_and_far_centres_are_dropped() -> None:
    scores, raw = np.full((1, 2, 2), 3, np.float32), np.zeros((4, 2, 2), np.float32)
    raw[2:, 0, 0] = 1e30
    raw[2:, 0, 1] = -1e30
    raw[0, 1, 0], raw[1, 1, 1] = 1e30, -1e30
    found = outlines.candidates(scores, raw, np.zeros(1, np.float32), 4, 33.0)
    assert found.places.tolist() == [0, 1]
    sides = found.boxes[:, 2:] - found.boxes[:, :2]
    assert sides.tolist() == [[33, 33], [1, 1]]
