import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbsbatch_kernels.jit import SETTINGS
from pbsbatch_kernels.nms import FEW, nms

INTERPRETED = bool(SETTINGS.DISABLE_JIT)

# Where the loops are interpreted, numpy says what it rounds to inf.
pytestmark = pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")
Case = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def reference(boxes, scores, classes, iou, groups=None) -> np.ndarray:
    """Compare every box with every one kept, in the dtype of the boxes."""
    limits = np.broadcast_to(np.asarray(iou, float), (256,)) if np.ndim(iou) == 0 else np.asarray(iou, float)
    kept: list[int] = []
    with np.errstate(all="ignore"):
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
            rivals = [j for j in kept if classes[j] == classes[i] and (groups is None or groups[j] == groups[i])]
            lo, hi = np.maximum(boxes[rivals, :2], boxes[i, :2]), np.minimum(boxes[rivals, 2:], boxes[i, 2:])
            both = np.prod(np.maximum(hi - lo, 0), axis=1, dtype=boxes.dtype)
            if not (both / (areas[rivals] + areas[i] - both) > limits[classes[i]]).any():
                kept.append(i)
    return np.array(kept, np.int64)


def torchvision_reference(boxes, scores, classes, iou, groups) -> np.ndarray:
    torch, ops = pytest.importorskip("torch"), pytest.importorskip("torchvision.ops")
    torch.set_num_threads(1)
    limits = np.broadcast_to(np.asarray(iou, float), (256,)) if np.ndim(iou) == 0 else np.asarray(iou, float)
    kept = []
    for kind, group in {*zip(classes.tolist(), groups.tolist(), strict=True)}:
        mine = np.flatnonzero((classes == kind) & (groups == group))
        found = ops.nms(torch.from_numpy(boxes[mine]), torch.from_numpy(scores[mine]), float(limits[kind]))
        kept.extend(mine[found.numpy()].tolist())
    return np.array(sorted(kept, key=lambda i: (-scores[i], i)), np.int64)


@st.composite
def cases(draw: st.DrawFn, most: int = 160 if INTERPRETED else 400) -> Case:
    """Draw crowded boxes: on a grid of halves so that IoUs tie, at any place, of any spread of sizes."""
    n = draw(st.integers(0, most))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    width = draw(st.sampled_from([4.0, 30.0, 300.0, 1e4]))
    spread = draw(st.sampled_from([0.0, 0.3, 3.0, 12.0]))  # of the sizes, in powers of e
    boxes = np.empty((n, 4), np.float64)
    boxes[:, :2] = rng.uniform(0, width, (n, 2))
    boxes[:, 2:] = boxes[:, :2] + 8 * np.exp(rng.normal(0, spread, (n, 1)) + rng.normal(0, spread / 4, (n, 2)))
    if draw(st.booleans()):
        boxes = np.round(boxes * 2) / 2  # some become lines or points
    boxes += draw(st.sampled_from([0.0, -17.25, 1e5, -1e9]))
    boxes *= draw(st.sampled_from([1.0, 1.0, 1e9, 1e-3]))
    scores = rng.integers(0, draw(st.sampled_from([1, 5, 10**6])), n) / 7.0
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    return boxes.astype(dtype), scores.astype(dtype), rng.integers(0, 3, n), rng.integers(-1, 2, n)


LIMITS = st.one_of(
    st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    st.floats(0, 1),
    st.lists(st.floats(0, 1), min_size=3, max_size=3).map(np.array),
)


@given(cases(), LIMITS)
def test_it_is_torchvision_per_class_and_group(case: Case, iou) -> None:
    boxes, scores, classes, groups = case
    expected = torchvision_reference(boxes, scores, classes, iou, groups)
    np.testing.assert_array_equal(nms(boxes, scores, classes, iou, groups), expected)


@given(cases(), LIMITS)
def test_it_is_the_double_loop(case: Case, iou) -> None:
    boxes, scores, classes, groups = case
    np.testing.assert_array_equal(nms(boxes, scores, classes, iou, groups), reference(*case[:3], iou, groups))
    np.testing.assert_array_equal(nms(boxes, scores, classes, iou), reference(*case[:3], iou))


@given(cases(), st.sampled_from([0.3, 0.5, 0.75]))
def test_the_grid_finds_what_comparing_all_finds(case: Case, iou: float) -> None:
    """A few boxes are compared all with all: they stay as they do among many that are far away."""
    boxes, scores, classes, groups = (a[:FEW] for a in case)
    away = (
        np.repeat(boxes.min() - 1e3 - 10.0 * np.arange(1.0, FEW + 1)[:, None], 4, 1)
        if len(boxes)
        else np.zeros((FEW, 4))
    )
    away[:, 2:] += abs(away[:, 2:]) / 1e5 + 1
    many = np.concatenate([boxes, away.astype(boxes.dtype)])
    low = np.full(FEW, -1, scores.dtype)
    rest = np.zeros(FEW, np.int64)
    found = nms(many, np.r_[scores, low], np.r_[classes, rest], iou, np.r_[groups, rest + 9])
    np.testing.assert_array_equal(found[found < len(boxes)], nms(boxes, scores, classes, iou, groups))


@given(cases(), st.integers(0, 2**32))
def test_the_order_of_the_input_does_not_matter(case: Case, seed: int) -> None:
    boxes, scores, classes, groups = case
    scores = np.arange(len(scores), dtype=np.float64)  # no ties
    order = np.random.default_rng(seed).permutation(len(scores))
    shuffled = nms(boxes[order], scores[order], classes[order], 0.5, groups[order])
    np.testing.assert_array_equal(order[shuffled], nms(boxes, scores, classes, 0.5, groups))


def keep(boxes: list[list[float]], iou: float, dtype: type = np.float64) -> list[int]:
    """Keep among many boxes that overlap nothing, so that the grid is used."""
    far = np.arange(2.0 * FEW)[:, None] * 1e3 + [-1e6, -1e6, -1e6 + 1, -1e6 + 1]
    every = np.concatenate([np.array(boxes, dtype), far.astype(dtype)])
    found = nms(every, -np.arange(len(every), dtype=np.float64), np.zeros(len(every), np.int64), iou)
    return [int(i) for i in found if i < len(boxes)]


def test_the_cases_one_by_one() -> None:
    unit = [0.0, 0.0, 1.0, 1.0]
    assert keep([unit, unit], 0.99) == [0]
    assert keep([unit, unit], 1.0) == [0, 1]  # above the threshold, not at it
    assert keep([unit, [0, 0, 0.5, 1]], 0.5) == [0, 1]
    assert keep([unit, [0, 0, 0.5, 1]], np.nextafter(0.5, 0)) == [0]
    assert keep([unit, [1, 0, 2, 1]], 0.0) == [0, 1]  # side by side
    assert keep([unit, [1 - 1e-9, 0, 2, 1]], 0.0) == [0]
    assert keep([[0, 0, 0, 0], [0, 0, 0, 0]], 0.0) == [0, 1]  # points
    assert keep([unit, [0, 0, 1, 0]], 0.0) == [0, 1]  # a line
    assert keep([[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]], 0.4) == [0, 2]  # 1 is gone, 2 stays
    assert keep([[0, 0, 3e8, 3e8], [5, 5, 6, 6], [0, 0, 3e8, 3e8 - 64]], 0.5, np.float32) == [0, 1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_boxes_beyond_what_an_area_can_hold_are_left_alone(dtype: type) -> None:
    large, small = float(np.sqrt(np.finfo(dtype).max)), float(np.sqrt(np.finfo(dtype).smallest_subnormal))
    largest = float(np.finfo(dtype).max)
    for side in (3 * large, largest, small / 3):
        assert keep([[0, 0, side, side]] * 2, 0.1, dtype) == [0, 1]
    assert keep([[-largest, 0, largest, 0]] * 2, 0.1, dtype) == [0, 1]
    for side in (large / 2, small * 3):
        assert keep([[0, 0, side, side]] * 2, 0.1, dtype) == [0]
    assert keep([[0, 0, largest, 0.25]] * 2, 0.1, dtype) == [0]


def test_a_level_of_far_smaller_boxes_does_not_resolve_where_a_large_box_lies() -> None:
    """At the threshold 0 every level is looked at; on some of them this place has no 64-bit number."""
    large, far = [1e18, 1e18, 1e18 + 1e9, 1e18 + 1e9], [-1e18, 3, -1e18 + 1e9, 1e9]
    tiny = [[0.0, 0.0, 1e-12, 1e-12]]
    assert keep([large, large, far, far, *tiny * 2], 0.0) == [0, 2, 4]


@pytest.mark.parametrize("n", [FEW - 1, 1000])
def test_a_chain_falls_one_by_one(n: int) -> None:
    """Each box overlaps the next; every second one stays."""
    x = np.arange(n) * 4.0
    boxes = np.stack([x, x * 0, x + 10, x * 0 + 10], axis=1)
    found = nms(boxes, -x, np.zeros(n, np.int64), 0.4)
    np.testing.assert_array_equal(found, np.arange(0, n, 2))


def test_memory_grows_with_the_boxes_alone() -> None:
    rng = np.random.default_rng(0)
    peaks = []
    for n in (500, 2000) if INTERPRETED else (20_000, 80_000):
        x = rng.uniform(0, 1e9, (n, 2))
        boxes = np.concatenate([x, x + rng.exponential(50, (n, 2))], axis=1)
        boxes[0] = [0, 0, 1e9, 1e9]
        case = boxes, rng.random(n), rng.integers(0, 9, n), 0.5, rng.integers(0, 99, n)
        nms(*case)
        tracemalloc.start()  # sees the loops' own arrays only where they are interpreted
        nms(*case)
        peaks.append(tracemalloc.get_traced_memory()[1] / n)
        tracemalloc.stop()
    assert max(peaks) < 200
    assert peaks[1] < 1.1 * peaks[0]


GOOD = np.array([[0, 0, 1, 1], [2, 2, 3, 3]], np.float64), np.array([0.5, 0.6]), np.array([0, 1])


def test_nothing_gives_nothing() -> None:
    found = nms(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.uint8), 0.5)
    assert found.dtype == np.int64
    assert found.shape == (0,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boxes": GOOD[0][:1]}, "must be"),
        ({"boxes": GOOD[0][:, :3]}, "must be"),
        ({"scores": GOOD[1][:, None]}, "must be"),
        ({"classes": GOOD[2][:1]}, "must be"),
        ({"groups": GOOD[2][:1]}, "groups"),
        ({"boxes": GOOD[0].astype(int)}, "float32 or float64"),
        ({"scores": GOOD[1].astype(np.float16)}, "float32 or float64"),
        ({"classes": GOOD[1]}, "integers"),
        ({"groups": GOOD[1]}, "integers"),
        ({"boxes": GOOD[0] * [1, 1, np.nan, 1]}, "box 0 is not finite"),
        ({"boxes": GOOD[0] + [[0, 0, 0, 0], [0, 0, np.inf, 0]]}, "box 1 is not finite"),
        ({"boxes": GOOD[0][:, [2, 1, 0, 3]]}, "box 0 is inverted"),
        ({"boxes": GOOD[0][:, [0, 3, 2, 1]]}, "box 0 is inverted"),
        ({"scores": np.array([1, np.nan])}, "box 1 is NaN"),
        ({"iou": -0.1}, "threshold"),
        ({"iou": 1.5}, "threshold"),
        ({"iou": float("nan")}, "threshold"),
        ({"iou": np.array([0.5, np.nan])}, "threshold"),
        ({"iou": np.full((2, 2), 0.5)}, "threshold"),
        ({"iou": np.array([0.5])}, "1 thresholds for classes 0 to 1"),
        ({"classes": np.array([-1, 0]), "iou": np.array([0.5, 0.5])}, "classes -1 to 0"),
    ],
)
def test_bad_input_is_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        nms(**{"boxes": GOOD[0], "scores": GOOD[1], "classes": GOOD[2], "iou": 0.5} | change)
