import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbsbatch.geometry import Box, Tile
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


@given(clusters(), st.sampled_from([0.0, 0.5, 1.5, 3.0]))
def test_settle_equals_the_reference(case: tuple[np.ndarray, ...], band: float) -> None:
    expected = reference(*case, band)
    found = seams.settle(*case, band)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


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


def cores_of(edges: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    xs, ys = edges
    return np.array([[a, b, c, d] for b, d in itertools.pairwise(ys) for a, c in itertools.pairwise(xs)], np.float64)


@given(st.data())
def test_reconcile_is_ownership_and_settling_in_one_call(data: st.DataObject) -> None:
    edges = edges_from(data.draw, 200), edges_from(data.draw, 200)
    n, jitter = data.draw(st.integers(0, 200)), data.draw(st.sampled_from([0.0, 0.4, 2.0]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**31)))
    x, y, side = rng.uniform(0, 200, n), rng.uniform(0, 200, n), rng.integers(1, 20, n)
    band, cores = data.draw(st.sampled_from([0.5, 3.0])), cores_of(edges)
    rows, tiles, boxes, own, _ = see(x, y, side, edges, 2 * band, jitter=jitter, seed=1)
    tiles = (tiles // 1000 * (len(edges[0]) - 1) + tiles % 1000).astype(np.int32)
    scores, classes = (rng.integers(1, 5, n) / 4).astype(np.float32)[rows], np.zeros(len(rows), np.uint8)
    owned, near = seams.own(boxes, tiles, cores, band)
    np.testing.assert_array_equal(owned, own)
    middle = boxes.reshape(-1, 2, 2).astype(float).mean(axis=1)
    lone = np.flatnonzero(near)
    keep, others = seams.settle(boxes[lone], scores[lone], classes[lone], tiles[lone], owned[lone], band)
    keep &= owned[lone] | ((middle[lone] >= 0) & (middle[lone] < 200)).all(1)
    kept, views = seams.reconcile(boxes, scores, classes, tiles, cores, band)
    np.testing.assert_array_equal(kept[~near], owned[~near])
    np.testing.assert_array_equal(kept[lone], keep)
    np.testing.assert_array_equal(views[lone[keep]], others[keep])
    assert not views[~kept].any() and not views[~near].any()
    if jitter == 0:
        assert sorted(rows[kept].tolist()) == list(range(n))


@given(st.lists(st.tuples(st.integers(-8, 24), st.integers(-8, 24), st.integers(0, 6)), max_size=40))
def test_ownership_is_the_tiles_own_law(cells: list[tuple[int, int, int]]) -> None:
    tile = Tile(0, 0, 0, Box(-4, -4, 24, 20), Box(0, 0, 16, 12))
    boxes = np.array([(x, y, x + side, y + side / 2) for x, y, side in cells], np.float32).reshape(-1, 4)
    middle = boxes.reshape(-1, 2, 2).astype(np.float64).mean(axis=1)
    found, near = seams.own(boxes, np.zeros(len(boxes), np.int32), np.array([[0.0, 0, 16, 12]]), 2.5)
    np.testing.assert_array_equal(found, tile.owns(middle))
    inner, outer = ([-d, -d, 16 + d, 12 + d] for d in (-5.0, 2.5))
    in_outer = ((middle > outer[:2]) & (middle < outer[2:])).all(1)
    np.testing.assert_array_equal(near, in_outer & ~((middle >= inner[:2]) & (middle <= inner[2:])).all(1))


def test_a_cell_lost_between_two_tiles_counts_only_where_a_core_is() -> None:
    """Each tile puts the centre into the other's core; the same two views beyond the last core are nobody's."""
    cores = np.array([[0.0, 0, 100, 100], [100, 0, 200, 100]])
    for x, expected in ((100.0, [True, False]), (200.0, [False, False])):
        boxes = np.array([[x - 15, 35, x + 15, 65]] * 2, np.float32) + np.array([[0.3], [-0.3]], np.float32) * [
            1,
            0,
            1,
            0,
        ]
        tiles = np.array([0, 1] if x == 100 else [1, 0], np.int32)
        kept, views = seams.reconcile(
            boxes.astype(np.float32), np.array([0.9, 0.8]), np.zeros(2, np.uint8), tiles, cores, 3.0
        )
        assert (kept.tolist(), views.tolist()) == (expected, [int(expected[0]), 0])


def test_a_cell_at_a_corner_of_four_is_not_counted_beside_its_owner() -> None:
    """Two tiles that miss the cell agree on it, while its owner sees it a little further in than the band."""
    cores = np.array([[0.0, 0, 100, 100], [100, 0, 200, 100], [0, 100, 100, 200], [100, 100, 200, 200]])
    centres = np.array([[97.2, 102.7], [97.4, 102.5], [96.8, 103.1], [96.9, 103.0]])
    boxes = np.hstack([centres - 15, centres + 15])
    kept, _ = seams.reconcile(boxes, np.ones(4), np.zeros(4, np.uint8), np.arange(4), cores, 3.0)
    assert kept.tolist() == [False, False, True, False]


def test_a_chain_of_matches_is_decided_from_its_best_end() -> None:
    """Views of ever lower score, each in a tile of its own and each matching its neighbours: every other one stands."""
    n = 2000
    x = np.arange(n) * 5.0
    boxes = np.stack([x, 0 * x, x + 20, 0 * x + 20], 1)
    order = np.random.default_rng(1).permutation(n)
    scores = np.linspace(1, 0.1, n)[order]
    kept, views = seams.settle(boxes[order], scores, np.zeros(n, np.uint8), order, np.ones(n, np.bool_), 2.6)
    assert sorted(order[kept].tolist()) == list(range(0, n, 2))
    assert views.sum() == n // 2


@pytest.mark.parametrize("far", [0.0, 1e9, 1e14])
def test_boxes_may_lie_far_apart(far: float) -> None:
    boxes = np.array([[0, 0, 30, 30], [0.4, 0, 30.4, 30], [far + 99, far, far + 129, far + 30]], np.float64)
    kept, views = seams.settle(boxes, np.ones(3), np.zeros(3, np.uint8), np.arange(3), np.ones(3, np.bool_), 3.0)
    assert (kept.tolist(), views.tolist()) == ([True, False, True], [1, 0, 0])


def test_bad_arrays_are_refused() -> None:
    boxes, ones, zeros, cores = (
        np.array([[0.0, 0, 5, 5]]),
        np.ones(1),
        np.zeros(1, np.int32),
        np.array([[0.0, 0, 9, 9]]),
    )
    seams.reconcile(boxes, ones, zeros, zeros, cores, 3.0)
    for wrong in (boxes * np.nan, boxes[:, ::-1], boxes + np.inf, boxes[:, :3], boxes[0]):
        with pytest.raises(ValueError, match="boxes"):
            seams.reconcile(wrong, ones, zeros, zeros, cores, 3.0)
        with pytest.raises(ValueError, match="boxes"):
            seams.covered(wrong, cores)
    for tile in (-1, 1):
        with pytest.raises(ValueError, match="not among the 1 cores"):
            seams.reconcile(boxes, ones, zeros, zeros + tile, cores, 3.0)
    for tiles in (np.zeros(2, np.int32), np.zeros(1, np.float32), np.zeros(1, np.bool_)):
        with pytest.raises(ValueError, match="tiles must be 1 whole numbers"):
            seams.reconcile(boxes, ones, zeros, tiles, cores, 3.0)
    with pytest.raises(ValueError, match="one entry per view"):
        seams.reconcile(boxes, np.ones(2), zeros, zeros, cores, 3.0)
    with pytest.raises(ValueError, match="scores must be finite"):
        seams.reconcile(boxes, ones * np.nan, zeros, zeros, cores, 9.0)
    with pytest.raises(ValueError, match="fit 32 bits"):
        seams.settle(boxes, ones, np.array([2**40]), zeros, np.ones(1, np.bool_), 3.0)
