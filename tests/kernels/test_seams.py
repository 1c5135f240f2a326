import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pbsbatch_kernels import seams

Views = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def reference(boxes: np.ndarray, scores, classes, tiles, owned, band: float) -> tuple[np.ndarray, np.ndarray]:
    """Settle by comparing every view with every other."""
    n = len(scores)
    b = boxes.astype(np.float64)
    key = [(not owned[i], -scores[i], b[i, 1], b[i, 0], b[i, 3], b[i, 2], classes[i], tiles[i], i) for i in range(n)]
    order = sorted(range(n), key=lambda i: key[i])
    place = {i: k for k, i in enumerate(order)}

    def iou(i: int, j: int) -> float:
        w = max(0.0, min(b[i, 2], b[j, 2]) - max(b[i, 0], b[j, 0]))
        h = max(0.0, min(b[i, 3], b[j, 3]) - max(b[i, 1], b[j, 1]))
        union = (b[i, 2] - b[i, 0]) * (b[i, 3] - b[i, 1]) + (b[j, 2] - b[j, 0]) * (b[j, 3] - b[j, 1]) - w * h
        return w * h / union if union > 0 else 0.0

    def best(i: int, tile: int) -> int | None:
        found = []
        for j in range(n):
            dx = (b[i, 0] + b[i, 2]) / 2 - (b[j, 0] + b[j, 2]) / 2
            dy = (b[i, 1] + b[i, 3]) / 2 - (b[j, 1] + b[j, 3]) / 2
            if tiles[j] == tile and tile != tiles[i] and dx * dx + dy * dy <= 4 * band * band and iou(i, j) >= 0.3:
                found.append((-iou(i, j), place[j], j))
        return min(found)[2] if found else None

    kept, views, dead = np.zeros(n, bool), np.zeros(n, np.int32), set()
    for i in order:
        if i in dead:
            continue
        for tile in set(tiles.tolist()) - {int(tiles[i])}:
            j = best(i, tile)
            if j is not None and j not in dead and place[j] > place[i] and best(j, int(tiles[i])) == i:
                dead.add(j)
                views[i] += 1
        kept[i] = owned[i] or views[i] > 0
    return kept, views


def see(
    x: np.ndarray, y: np.ndarray, side: np.ndarray, edges: tuple[np.ndarray, np.ndarray], band: float,
    jitter: float = 0.0, seed: int = 0,
) -> Views:  # fmt: skip
    """Return the views near a border that tiles with these edges have, each view jittered on its own."""
    rng = np.random.default_rng(seed)
    xs, ys = edges
    out: list[tuple[np.ndarray, ...]] = []
    for row in range(len(ys) - 1):
        for col in range(len(xs) - 1):
            left, right, top, bottom = xs[col], xs[col + 1], ys[row], ys[row + 1]
            vx, vy = x + rng.normal(0, jitter, len(x)), y + rng.normal(0, jitter, len(x))
            box = np.stack([vx - side / 2, vy - side / 2, vx + side / 2, vy + side / 2], 1).astype(np.float32)
            cx, cy = (box[:, 0].astype(float) + box[:, 2]) / 2, (box[:, 1].astype(float) + box[:, 3]) / 2
            own = (cx >= left) & (cx < right) & (cy >= top) & (cy < bottom)
            far = np.maximum(np.maximum(left - cx, cx - right), np.maximum(top - cy, cy - bottom))
            rows = np.flatnonzero(own | (np.abs(far) <= band))
            near = np.abs(far[rows]) <= band
            out.append((rows, np.full(len(rows), row * 1000 + col), box[rows], own[rows], near))
    return tuple(np.concatenate([o[k] for o in out]) for k in range(5))  # type: ignore[return-value]


def count(views: Views, scores: np.ndarray, band: float) -> tuple[int, list[int]]:
    """Return how many cells there are after settling, and which true cells they are."""
    rows, tiles, boxes, own, near = views
    inner = own & ~near
    kept, _ = seams.settle(
        boxes[near], scores[rows[near]], np.zeros(near.sum(), np.uint8), tiles[near].astype(np.int32), own[near], band
    )
    cells = np.concatenate([rows[inner], rows[near][kept]])
    return len(cells), sorted(cells.tolist())


@st.composite
def clusters(draw: st.DrawFn) -> tuple[np.ndarray, ...]:
    """Draw views so close together that every rule is needed, on a coarse lattice so that there are ties."""
    n = draw(st.integers(0, 24))
    lattice = st.lists(st.integers(0, 24), min_size=n, max_size=n)
    x, y = np.array(draw(lattice), np.float32) / 2, np.array(draw(lattice), np.float32) / 2
    side = np.array(draw(st.lists(st.integers(0, 12), min_size=n, max_size=n)), np.float32)
    scores = np.array(draw(st.lists(st.integers(1, 4), min_size=n, max_size=n)), np.float32) / 4
    tiles = np.array(draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)), np.int32)
    owned = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)), np.bool_)
    boxes = np.stack([x - side / 2, y - side / 2, x + side / 2, y + side / 2], axis=1).reshape(-1, 4)
    return boxes, scores, np.zeros(n, np.uint8), tiles, owned


@settings(max_examples=300, deadline=None)
@given(clusters(), st.sampled_from([0.0, 0.5, 1.5, 3.0]))
def test_settle_equals_the_reference(case: tuple[np.ndarray, ...], band: float) -> None:
    expected = reference(*case, band)
    found = seams.settle(*case, band)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


@settings(max_examples=100, deadline=None)
@given(clusters(), st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(case: tuple[np.ndarray, ...], random) -> None:
    keep = np.unique(np.column_stack([*case[0].T, *case[1:]]), axis=0, return_index=True)[1]  # no equal views
    case = tuple(a[keep] for a in case)
    order = np.array(random.sample(range(len(keep)), len(keep)), np.int64)
    one, two = seams.settle(*case, 3.0), seams.settle(*(a[order] for a in case), 3.0)
    np.testing.assert_array_equal(one[0][order], two[0])
    np.testing.assert_array_equal(one[1][order], two[1])


def edges_from(draw: st.DrawFn, size: int) -> np.ndarray:
    cuts = draw(st.lists(st.integers(20, size - 20), min_size=0, max_size=4, unique=True))
    kept = [0]
    kept.extend(c for c in sorted(cuts) if c - kept[-1] >= 20)
    return np.array([*kept, size], np.float64)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_an_exact_engine_gives_the_truth_for_any_grid(data: st.DataObject) -> None:
    edges = edges_from(data.draw, 200), edges_from(data.draw, 200)
    seed, n = data.draw(st.integers(0, 2**31)), data.draw(st.integers(0, 400))
    rng = np.random.default_rng(seed)
    x, y, side = rng.uniform(0, 199.9, n), rng.uniform(0, 199.9, n), rng.integers(1, 20, n)
    snap = rng.random(n) < 0.5  # on and beside the borders, where cells also lie on top of one another
    x[snap] = np.clip(rng.choice(edges[0], snap.sum()) + rng.integers(-6, 7, snap.sum()) / 2, 0, 199.9)
    band = data.draw(st.sampled_from([0.0, 1.0, 3.0, 5.0]))
    views = see(x, y, side, edges, band)
    assert count(views, (rng.integers(1, 5, n) / 4).astype(np.float32), band)[1] == list(range(n))


@pytest.mark.parametrize("seed", range(10))
def test_a_jittering_engine_on_a_crowd_counts_right(seed: int) -> None:
    """30 px cells, 28 px apart, each view off by 0.4 px: not one cell is lost or counted twice."""
    rng = np.random.default_rng(seed)
    gx, gy = np.meshgrid(np.arange(14, 1000, 28.0), np.arange(14, 1000, 28.0))
    x, y = gx.ravel() + rng.uniform(-2, 2), gy.ravel() + rng.uniform(-2, 2)
    edges = np.array([0.0, 210, 420, 630, 840, 1020]) + rng.integers(-3, 4)
    edges[0] = -50
    views = see(x, y, np.full(len(x), 30.0), (edges, edges), 3.0, jitter=0.4, seed=seed)
    total, cells = count(views, np.full(len(x), 0.9, np.float32), 3.0)
    assert total == len(x)
    assert cells == list(range(len(x)))


def settle_two(owned: tuple[bool, bool], tiles: tuple[int, int] = (0, 1), shift: float = 0.4) -> list[bool]:
    boxes = np.array([[0, 0, 30, 30], [shift, 0, 30 + shift, 30]], np.float32)
    scores, tile = np.array([0.9, 0.8], np.float32), np.array(tiles, np.int32)
    return seams.settle(boxes, scores, np.zeros(2, np.uint8), tile, np.array(owned), 3.0)[0].tolist()


def test_the_cases_one_by_one() -> None:
    assert settle_two((True, True)) == [True, False]  # both own it: counted twice
    assert settle_two((True, False)) == [True, False]
    assert settle_two((False, True)) == [False, True]  # the owner stands, whatever the score
    assert settle_two((False, False)) == [True, False]  # each put it in the other's core
    assert settle_two((True, True), tiles=(5, 5)) == [True, True]  # one tile's cells are its own affair
    assert settle_two((True, True), shift=6.5) == [True, True]  # too far apart
    assert settle_two((True, False), shift=6.5) == [True, False]  # the owner saw nothing there


def test_sizes_and_bands_are_checked() -> None:
    empty = np.zeros((0, 4), np.float32), *(np.zeros(0, t) for t in (np.float32, np.uint8, np.int32, np.bool_))
    assert len(seams.settle(*empty, 3.0)[0]) == 0
    with pytest.raises(ValueError, match="one entry per view"):
        seams.settle(np.zeros((1, 4), np.float32), *empty[1:], 3.0)
    for band in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="band"):
            seams.settle(*empty, band)
