from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbsbatch_kernels import matching
from pbsbatch_kernels.matching_grid import WORTH_IT
from pbsbatch_kernels.matching_order import by_score
from tests.kernels.matching_peer import Case, draw, peer, same

SEEDS = st.integers(0, 2**32 - 1)
FREE, HIT, MISS, SPARED = -1, 1, 0, 2


def coco_curves(case: Case, **sets: Any) -> matching.Curves:
    true, detected = sets.get("true", case.truth()), sets.get("found", case.found())
    measure = sets.get("measure", "boxes")
    matches = matching.match(true, detected, areas=matching.COCO_AREAS, limit=case.limits[-1], measure=measure)
    return matching.curves(true, detected, matches, case.n_classes, limits=case.limits)


@given(SEEDS)
def test_boxes_equal_pycocotools(seed: int) -> None:
    case = draw(seed, most=150)
    same(coco_curves(case), peer(case))


def encode(masks: list[np.ndarray], rng: np.random.Generator, cut: bool) -> matching.Runs:
    """Return runs of whole pictures, or of a window around each mask's pixels."""
    counts, sizes, windows = [], [], []
    for mask in masks:
        x = y = 0
        part = mask
        if cut and mask.any():
            rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            y, x = (int(rng.integers(0, v[0] + 1)) for v in (rows, cols))
            part = mask[y : rng.integers(rows[-1], mask.shape[0]) + 1, x : rng.integers(cols[-1], mask.shape[1]) + 1]
        flat = np.concatenate([[0], part.ravel(order="F").astype(np.int64)])
        edges = np.concatenate([np.flatnonzero(np.diff(flat)), [part.size]])
        runs = np.diff(edges, prepend=0)
        counts.append(runs)
        sizes.append(len(runs))
        windows.append((x, y, part.shape[1], part.shape[0]))
    flat_counts = np.concatenate(counts) if counts else np.zeros(0)
    return matching.Runs(
        flat_counts.astype(np.uint32), np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        np.array(windows, np.int64).reshape(-1, 4),
    )  # fmt: skip


def blobs(boxes: np.ndarray, shape: tuple[int, int], rng: np.random.Generator) -> list[np.ndarray]:
    out = []
    for x, y, w, h in boxes.astype(int):
        mask = np.zeros(shape, np.bool_)
        inside = mask[y : y + h, x : x + w]
        inside[:] = rng.random(inside.shape) < rng.choice([0.3, 0.9, 1.0])
        out.append(mask)
    return out


@given(SEEDS, st.booleans())
def test_masks_equal_pycocotools(seed: int, cut: bool) -> None:
    case, rng = draw(seed, most=25), np.random.default_rng(seed)
    shape = (int(rng.integers(1, 70)), int(rng.integers(1, 70)))
    masks = blobs(case.true_boxes, shape, rng), blobs(case.boxes, shape, rng)
    runs = [encode(m, rng, cut) for m in masks]
    true = matching.truth(
        case.true_images, case.true_classes, masks=runs[0], areas=case.areas, crowd=case.crowd, ids=case.ids
    )
    detected = matching.found(case.images, case.classes, None, case.scores, masks=runs[1])
    same(coco_curves(case, true=true, found=detected, measure="masks"), peer(case, masks=masks))
    assert [int(p) for p in true.masks.pixels] == [int(m.sum()) for m in masks[0]]


def fits(true: matching.Truth, detected: matching.Found, kind: str) -> np.ndarray:
    """Measure every detection against every truth."""
    b, g = detected.boxes[:, None], true.boxes[None]
    if kind == "points":
        gap = (b[..., :2] + b[..., 2:] / 2) - (g[..., :2] + g[..., 2:] / 2)
        return -np.sqrt(gap[..., 0] * gap[..., 0] + gap[..., 1] * gap[..., 1])
    sides = np.minimum(b[..., 2:] + b[..., :2], g[..., 2:] + g[..., :2]) - np.maximum(b[..., :2], g[..., :2])
    shared = np.where((sides > 0).all(-1), np.prod(np.maximum(sides, 0), axis=-1), 0)
    size, true_size = b[..., 2] * b[..., 3], g[..., 2] * g[..., 3]
    union = np.where(true.crowd[None], size, size + true_size - shared)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(shared > 0, shared / union, 0)


def reference(
    true: matching.Truth, detected: matching.Found, marks: list[float], kind: str, areas: matching.Ranges, limit: int
) -> tuple[np.ndarray, np.ndarray]:
    """Match by going through all detections and all truths; return partners and fates (A, T, D)."""
    fit = fits(true, detected, kind)
    shape = (len(areas), len(marks), len(detected))
    partners, fates = np.full(shape, -1), np.full(shape, FREE)
    order = sorted(range(len(detected)), key=lambda d: (-detected.scores[d], detected.images[d], d))
    for a, (low, high) in enumerate(areas):
        ignored = true.ignored | (true.areas < low) | (true.areas > high)
        for t, mark in enumerate(marks):
            taken, seen = set(), {}
            for d in order:
                cell = (int(detected.images[d]), int(detected.classes[d]))
                seen[cell] = seen.get(cell, 0) + 1
                if seen[cell] > limit:
                    continue
                fitting = [
                    (not ignored[g], fit[d, g], g)
                    for g in range(len(true))
                    if (true.images[g], true.classes[g]) == cell
                    and fit[d, g] >= (-mark if kind == "points" else min(mark, 1 - 1e-10))
                    and (true.crowd[g] or g not in taken)
                ]
                outside = not low <= detected.areas[d] <= high
                fates[a, t, d] = SPARED if outside else MISS
                if fitting:
                    counts, _, g = max(fitting)
                    taken.add(g)
                    partners[a, t, d] = g
                    if true.counted[g]:
                        fates[a, t, d] = HIT
                    if not counts:
                        fates[a, t, d] = SPARED
    return partners, fates


def fates_of(matches: matching.Matches) -> np.ndarray:
    """Read the bits."""
    n_areas, n = matches.hits.shape[1], len(matches.rows)
    out = np.empty((n_areas, matches.n_thresholds, n), np.int64)
    for a in range(n_areas):
        for t in range(matches.n_thresholds):
            for d in range(n):
                row = matches.rows[d]
                if matches.ranks[d] >= matches.limit:
                    out[a, t, d] = FREE
                elif row < 0:
                    out[a, t, d] = SPARED if matches.outside[d] >> a & 1 else MISS
                elif matches.spared[row, a] >> t & 1:
                    out[a, t, d] = SPARED
                else:
                    out[a, t, d] = HIT if matches.hits[row, a] >> t & 1 else MISS
    return out


def scattered(seed: int, kind: str) -> tuple[matching.Truth, matching.Found]:
    """Draw one or two images with enough truths for a grid: lattices, giants, slivers, far away, all in one place."""
    rng = np.random.default_rng(seed)
    n, m = int(rng.integers(0, 4 * WORTH_IT)), int(rng.integers(0, 120))
    spread, side = float(rng.choice([0.001, 5, 80, 400])), float(rng.choice([0, 1, 10, 30]))
    origin = float(rng.choice([0, -1e5, 2e16, 1e-3]))
    centre = np.round(rng.uniform(0, spread, (n, 2)), int(rng.integers(0, 4)))
    sides = side * rng.choice([1.0, 0.5, 1.7], (n, 2))
    giants = rng.random(n) < rng.choice([0, 0.05])
    sides[giants] *= rng.choice([10, 1e3, 1e9])
    stretched = rng.random(n) < rng.choice([0, 0.2])
    sides[stretched, int(rng.integers(0, 2))] *= 7
    boxes = np.concatenate([origin + centre, sides], axis=1)
    pick = rng.integers(0, max(n, 1), m) % max(n, 1)
    found = np.concatenate([origin + rng.uniform(0, spread, (m, 2)), side * rng.uniform(0.5, 2, (m, 2))], axis=1)
    if n:
        near = rng.random(m) < 0.7
        found[near] = boxes[pick[near]]
        found[near, :2] += rng.choice([0, 0, 0.25, 1], (int(near.sum()), 2))
    images = rng.integers(0, int(rng.integers(1, 3)), n + m)
    true = matching.truth(
        images[:n], np.zeros(n, np.int64), boxes, areas=rng.uniform(0, 2000, n), crowd=rng.random(n) < 0.05,
        ignored=rng.random(n) < 0.2, ids=rng.permutation(n),
    )  # fmt: skip
    return true, matching.found(images[n:], np.zeros(m, np.int64), found, rng.integers(0, 6, m) / 5)


@given(SEEDS, st.sampled_from(["boxes", "points"]), st.sampled_from([3, 10_000]))
def test_a_grid_finds_what_the_reference_finds(seed: int, kind: Any, limit: int) -> None:
    true, detected = scattered(seed, kind)
    marks = [0.1, 0.5, 1.0] if kind == "boxes" else [20.0, 1.0, 0.0]
    areas = ((0.0, float("inf")), (100.0, 900.0))
    matches = matching.match(true, detected, marks, measure=kind, areas=areas, limit=limit, partners=True)
    partners, fates = reference(true, detected, marks, kind, areas, limit)
    np.testing.assert_array_equal(matches.partners, partners)
    np.testing.assert_array_equal(fates_of(matches), fates)


@given(st.lists(st.tuples(st.sampled_from([0.0, -0.0, 0.5, 1.0, -3.0]), st.integers(0, 3)), max_size=40))
def test_equal_scores_keep_their_order(objects: list[tuple[float, int]]) -> None:
    scores, images = np.array([o[0] for o in objects], np.float64), np.array([o[1] for o in objects], np.int64)
    expected = sorted(range(len(objects)), key=lambda i: (-scores[i], images[i], i))
    assert by_score(scores, images).tolist() == expected


def test_hundreds_of_candidates_are_sorted() -> None:
    """One truth for each size, all around one point: the best fit is far down in any list."""
    sides = np.arange(1, 2500) / 10.0
    boxes = np.stack([500 - sides / 2, 500 - sides / 2, sides, sides], axis=1)
    true = matching.truth(np.zeros(len(boxes), int), np.zeros(len(boxes), int), boxes)
    detected = matching.found([0, 0, 0], [0, 0, 0], boxes[[1200, 1200, 1200]], [0.9, 0.8, 0.7])
    matches = matching.match(true, detected, [0.01, 0.5], partners=True)
    assert matches.partners is not None
    assert matches.partners[0, 0].tolist() == [1200, 1201, 1199]


def test_at_a_distance_the_bound_counts() -> None:
    true = matching.truth([0, 0], [0, 0], [[0, 0, 0, 0], [9, 12, 0, 0]])
    detected = matching.found([0, 0, 0], [0, 0, 0], [[2, 3, 2, 2], [-1, -1, 2, 2], [3, 4, 0, 0]], [0.9, 0.8, 0.7])
    near = matching.match(true, detected, [10.0, 5.0, 4.9], measure="points", partners=True)
    assert near.partners is not None
    assert near.partners[0].tolist() == [[0, -1, 1], [0, -1, -1], [-1, 0, -1]]


def test_nothing_against_nothing() -> None:
    true, detected = matching.truth([], [], []), matching.found([], [], [], [])
    curves = matching.curves(true, detected, matching.match(true, detected), 2)
    assert curves.precision.shape == (10, 101, 2, 1, 1)
    assert (curves.precision == -1).all()
    assert (curves.recall == -1).all()


def test_take_keeps_masks_with_their_cells() -> None:
    rng = np.random.default_rng(5)
    masks = [rng.random((9, 7)) < p for p in (0.0, 0.4, 1.0, 0.6)]
    true = matching.truth([0, 1, 2, 3], [0] * 4, masks=encode(masks, rng, cut=True))
    chosen = matching.take(true, np.array([2, 0, 3]))
    again = matching.truth([2, 0, 3], [0] * 3, masks=encode([masks[2], masks[0], masks[3]], rng, cut=False))
    assert chosen.masks is not None
    assert again.masks is not None
    for name in ("starts", "pieces", "pixels", "boxes"):
        np.testing.assert_array_equal(getattr(chosen.masks, name), getattr(again.masks, name))


BOX = [[0.0, 0.0, 1.0, 1.0]]
WHOLE = np.zeros(1, np.int64), np.array([[0, 0, 2, 2]], np.int64)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: matching.truth([0], [0]), "boxes or masks"),
        (lambda: matching.truth([0, 1], [0], BOX), "for 2 images"),
        (lambda: matching.truth([0], [0], [[0, 0, 1]]), r"\(N, 4\)"),
        (lambda: matching.truth([0], [0], [[0, 0, np.nan, 1]]), "finite"),
        (lambda: matching.truth([0], [0], [[0, 0, -1, 1]]), "negative size"),
        (lambda: matching.truth([0], [0], [[0, 0, 1e-200, 1]]), "too small"),
        (lambda: matching.truth([-1], [0], BOX), "count from 0"),
        (lambda: matching.truth([0.5], [0], BOX), "whole numbers"),
        (lambda: matching.truth([0], [0], BOX, areas=[np.nan]), "areas"),
        (lambda: matching.truth([0], [0], BOX, areas=[-1.0]), "areas"),
        (lambda: matching.truth([0], [0], BOX, crowd=[True, False]), "crowd"),
        (lambda: matching.truth([0], [0], BOX, ids=[1, 2]), "ids"),
        (lambda: matching.found([0], [0], BOX, [np.nan]), "finite"),
        (lambda: matching.found([0], [0], BOX, [0.5, 0.6]), "scores"),
    ],
)
def test_bad_objects_are_refused(call: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        call()


@pytest.mark.parametrize(
    ("counts", "offsets", "windows", "says"),
    [
        (np.array([1, 2], np.uint32), [0, 2], [[0, 0, 2, 2]], "do not fill"),
        (np.array([1, 4], np.uint32), [0, 2], [[0, 0, 2, 2]], "do not fill"),
        (np.array([4], np.int64), [0, 1], [[0, 0, 2, 2]], "uint32"),
        (np.array([4], np.uint32), [0, 2], [[0, 0, 2, 2]], "offsets"),
        (np.array([4], np.uint32), [0, 1], [[0, 0, -2, -2]], "negative size"),
        (np.array([4], np.uint32), [0, 1], [[2**31 - 2, 0, 2, 2]], r"2\^31"),
        (np.array([4], np.uint32), [0], [[0, 0, 2, 2]], r"\(N \+ 1,\)"),
    ],
)
def test_bad_runs_are_refused(counts: Any, offsets: Any, windows: Any, says: str) -> None:
    runs = matching.Runs(counts, np.array(offsets, np.int64), np.array(windows, np.int64))
    with pytest.raises(ValueError, match=says):
        matching.truth([0], [0], masks=runs)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"thresholds": [0.0, 0.5]}, "at 0 everything"),
        ({"thresholds": [0.5, 1.1]}, r"\(0, 1\]"),
        ({"thresholds": [np.nan]}, r"\(0, 1\]"),
        ({"thresholds": [0.6, 0.5]}, "must rise"),
        ({"thresholds": []}, "1 to 62"),
        ({"thresholds": np.full(63, 0.5)}, "1 to 62"),
        ({"thresholds": [1.0, 2.0], "measure": "points"}, "fall"),
        ({"thresholds": [-1.0], "measure": "points"}, "not negative"),
        ({"measure": "circles"}, "must be one of"),
        ({"measure": "masks"}, "have none"),
        ({"limit": 0}, "1 or more"),
        ({"areas": [(2.0, 1.0)]}, "area range"),
        ({"areas": [(2.0,)]}, "pairs"),
    ],
)
def test_bad_rules_are_refused(options: dict[str, Any], says: str) -> None:
    true, detected = matching.truth([0], [0], BOX), matching.found([0], [0], BOX, [0.5])
    with pytest.raises(ValueError, match=says):
        matching.match(true, detected, **options)


def test_bad_tables_are_refused() -> None:
    true, detected = matching.truth([0], [1], BOX), matching.found([0, 0], [1, 1], BOX * 2, [0.5, 0.4])
    matches = matching.match(true, detected, limit=1)
    for options, says in (
        ({"n_classes": 1}, "class 1"),
        ({"n_classes": 2, "limits": [2]}, "the match kept 1"),
        ({"n_classes": 2, "limits": []}, "ascend"),
        ({"n_classes": 2, "limits": [0, 1]}, "positive"),
        ({"n_classes": 2, "recalls": [0.5, 0.1]}, "ascend"),
    ):
        with pytest.raises(ValueError, match=says):
            matching.curves(true, detected, matches, **options)
