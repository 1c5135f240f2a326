"""Sharing a mask and measuring it, against slow references."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pbsbatch_kernels import regions


def mask_of(seed: int) -> np.ndarray:  # type: ignore[type-arg]
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(3, 50)), int(rng.integers(3, 50)))
    return (rng.random(shape) < rng.choice([0.3, 0.6, 0.9])).astype(np.uint8)


@pytest.mark.parametrize("seed", range(8))
def test_power_labels_equal_the_slow_choice(seed: int) -> None:
    mask, rng = mask_of(seed), np.random.default_rng(seed)
    rows, cols = mask.shape
    seeds = np.stack([rng.integers(0, rows, 5), rng.integers(0, cols, 5)], 1).astype(np.int32)
    radii, reach = rng.integers(2, 8, 5).astype(np.float32), 9
    got = regions.power_labels(mask, seeds, radii, reach)
    for y in range(rows):
        for x in range(cols):
            gap = ((seeds - [y, x]) ** 2).sum(1).astype(float)
            power = np.where(gap <= reach**2, gap - radii**2, np.inf)
            expected = int(np.argmin(power)) + 1 if mask[y, x] and np.isfinite(power).any() else 0
            assert got[y, x] == expected


@pytest.mark.parametrize("seed", range(8))
def test_connect_keeps_the_part_nearest_to_the_seed(seed: int) -> None:
    mask, rng = mask_of(seed), np.random.default_rng(seed)
    rows, cols = mask.shape
    seeds = np.stack([rng.integers(0, rows, 4), rng.integers(0, cols, 4)], 1).astype(np.int32)
    labels = regions.power_labels(mask, seeds, np.full(4, 3, np.float32), 8)
    got = regions.connect(labels, seeds, 8)
    for i in range(4):
        ys, xs = np.nonzero(labels == i + 1)
        if not len(ys):
            assert not (got == i + 1).any()
            continue
        nearest = int(np.argmin((ys - seeds[i, 0]) ** 2 + (xs - seeds[i, 1]) ** 2))
        _, parts = cv2.connectedComponents((labels == i + 1).astype(np.uint8), connectivity=4)
        assert np.array_equal(got == i + 1, parts == parts[ys[nearest], xs[nearest]])


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("eight", [False, True])
def test_number_pieces_equal_connected_components(seed: int, eight: bool) -> None:
    mask, rng = mask_of(seed), np.random.default_rng(seed)
    widest, least = int(rng.integers(1, 20)), int(rng.integers(1, 6))
    labels = np.zeros(mask.shape, np.int32)
    n = regions.number_pieces(np.flatnonzero(mask), labels, 7, widest, least, eight)
    total, parts, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8 if eight else 4)
    keep = [k for k in range(1, total) if max(stats[k, 2], stats[k, 3]) <= widest and stats[k, 4] >= least]
    keep.sort(key=lambda k: int(np.flatnonzero(parts.ravel() == k)[0]))
    expected = np.zeros(mask.shape, np.int32)
    for j, k in enumerate(keep):
        expected[parts == k] = 8 + j
    assert n == 7 + len(keep) and np.array_equal(labels, expected)


@pytest.mark.parametrize("seed", range(6))
def test_measure_equals_numpy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = cv2.resize(rng.integers(0, 5, (6, 7)).astype(np.uint8), (40, 33), interpolation=cv2.INTER_NEAREST).astype(
        np.int32
    )
    density, stain = (rng.integers(0, 256, labels.shape).astype(np.uint8) for _ in range(2))
    table = regions.measure(labels, density, stain, 6)
    around = np.pad(labels, 1, constant_values=-1)
    sides = np.stack([around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:]])
    edge = (sides != labels).any(0)
    inner = np.zeros(labels.shape, bool)
    inner[1:-1, 1:-1] = True
    shared = ((sides != labels) & (sides > 0)).any(0) & inner
    for i in range(6):
        own = labels == i + 1
        if not own.any():
            assert table[i, 4] == 0
            continue
        ys, xs = np.nonzero(own)
        expected = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1, own.sum(), density[own].sum(), stain[own].sum()]
        assert table[i].tolist() == [*map(int, expected), int((own & edge).sum()), int((own & shared).sum())]
    boxes = regions.extents(labels, 6)
    for i in range(6):
        if (labels == i).any():
            ys, xs = np.nonzero(labels == i)
            assert boxes[i].tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1, len(xs)]


def test_overlap_mask_and_rims() -> None:
    labels = np.zeros((30, 40), np.int32)
    ys, xs = np.mgrid[:30, :40]
    labels[(ys - 15) ** 2 + (xs - 24) ** 2 <= 81] = 2
    labels[((ys - 15) ** 2 + (xs - 14) ** 2 <= 81) & (xs < 19)] = 1
    seeds = np.array([[15, 14], [15, 24]], np.int32)
    rims = regions.rim_radii(labels, seeds)
    assert rims[:, 0] == pytest.approx(9, abs=0.6) and (rims[:, 1] > 20).all()
    x, y, mask = regions.overlap_mask(labels, 1, (5, 6, 19, 25), 15, 14, 9)
    assert (x, y) == (5, 6) and mask.shape == (19, 19) and mask[9, 18]
    chosen = np.array([False, False, True])
    out = (labels == 1).astype(np.uint8)
    regions.fill_labels(out, labels, chosen)
    assert np.array_equal(out, (labels > 0).astype(np.uint8))
