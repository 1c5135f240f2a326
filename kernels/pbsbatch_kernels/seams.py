"""Settle the cells near tile borders: which views are one cell, and which view stands for it."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["MIN_IOU", "rank", "settle"]

MIN_IOU = 0.3
"""Two views of one cell overlap at least so much; neighbours in a crowd stay far below."""


def settle(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    classes: NDArray[np.uint8],
    tiles: NDArray[np.int32],
    owned: NDArray[np.bool_],
    band: float,
) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
    """Return which near-border views are kept, and how many other views each kept one stands for.

    Laws. Two views match if they come from different tiles, their centres lie within 2 * band, their
    boxes' IoU is at least 0.3, and each is the other's best such view in that tile (by IoU, then by
    rank). In the order of rank each kept view suppresses its matches. A view that its tile does not
    own stays only if it suppressed another: then each tile put the centre into the other's core. The
    result does not depend on the order of the input, up to views that are equal in all respects.
    """
    n = len(scores)
    if boxes.shape != (n, 4) or len(classes) != n or len(tiles) != n or len(owned) != n:
        raise ValueError("settle: every array must have one entry per view")
    if not math.isfinite(band) or band < 0:
        raise ValueError(f"settle: the band must be finite and not negative, not {band}")
    kept, views = np.zeros(n, np.bool_), np.zeros(n, np.int32)
    if n == 0:
        return kept, views
    order = rank(boxes, scores, classes, tiles, owned)
    ranked = boxes[order].astype(np.float64)
    reach = 2.0 * float(band)
    keys, width = _grid(ranked, max(reach, 1.0))
    by_key = np.argsort(keys, kind="stable").astype(np.int64)
    starts, best = _best(ranked, tiles[order].astype(np.int32), keys[by_key], by_key, width, reach, MIN_IOU)
    keep_ranked, views_ranked = _greedy(owned[order].astype(np.bool_), starts, best)
    kept[order], views[order] = keep_ranked, views_ranked
    return kept, views


def rank(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    classes: NDArray[np.uint8],
    tiles: NDArray[np.int32],
    owned: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Return the order of precedence: owned first, then score, then place, class and tile."""
    x0, y0, x1, y1 = boxes.T
    keys = (tiles, classes, y1, x1, x0, y0, -scores.astype(np.float64), ~owned.astype(np.bool_))
    return np.lexsort(keys).astype(np.int64)


def _grid(boxes: NDArray[np.float64], side: float) -> tuple[NDArray[np.int64], int]:
    """Return each centre's grid cell as one number, row by row, with an empty column at both ends."""
    x, y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    col = np.floor((x - x.min()) / side).astype(np.int64) + 1
    row = np.floor((y - y.min()) / side).astype(np.int64)
    width = int(col.max()) + 2
    return row * width + col, width


@njit(nogil=True, cache=True)
def _iou(boxes: NDArray[np.float64], i: int, j: int) -> float:
    w = min(boxes[i, 2], boxes[j, 2]) - max(boxes[i, 0], boxes[j, 0])
    h = min(boxes[i, 3], boxes[j, 3]) - max(boxes[i, 1], boxes[j, 1])
    area_i = (boxes[i, 2] - boxes[i, 0]) * (boxes[i, 3] - boxes[i, 1])
    area_j = (boxes[j, 2] - boxes[j, 0]) * (boxes[j, 3] - boxes[j, 1])
    both = max(w, 0.0) * max(h, 0.0)
    union = area_i + area_j - both
    return both / union if union > 0.0 else 0.0


@njit(nogil=True, cache=True)
def _best(
    boxes: NDArray[np.float64],
    tiles: NDArray[np.int32],
    keys: NDArray[np.int64],
    by_key: NDArray[np.int64],
    width: int,
    reach: float,
    min_iou: float,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return for each view its best view in every other tile, as one list per view."""
    n = len(tiles)
    starts = np.zeros(n + 1, np.int64)
    found = np.empty(max(4 * n, 16), np.int64)
    ious = np.empty(max(4 * n, 16), np.float64)
    used = 0
    slot = np.empty(n, np.int64)
    for k in range(n):
        slot[by_key[k]] = k
    for i in range(n):
        first = used
        x, y = (boxes[i, 0] + boxes[i, 2]) / 2, (boxes[i, 1] + boxes[i, 3]) / 2
        for dy in range(-1, 2):
            lo = keys[slot[i]] + dy * width - 1
            k = np.searchsorted(keys, lo)
            while k < n and keys[k] <= lo + 2:
                j = by_key[k]
                k += 1
                if tiles[j] == tiles[i]:
                    continue
                dx = (boxes[j, 0] + boxes[j, 2]) / 2 - x
                dz = (boxes[j, 1] + boxes[j, 3]) / 2 - y
                if dx * dx + dz * dz > reach * reach:
                    continue
                iou = _iou(boxes, i, j)
                if iou < min_iou:
                    continue
                at = first
                while at < used and tiles[found[at]] != tiles[j]:
                    at += 1
                if at == used:
                    if used == len(found):
                        found = np.concatenate((found, np.empty_like(found)))
                        ious = np.concatenate((ious, np.empty_like(ious)))
                    used += 1
                elif iou < ious[at] or (iou == ious[at] and j > found[at]):
                    continue
                found[at], ious[at] = j, iou
        starts[i + 1] = used
    return starts, found[:used]


@njit(nogil=True, cache=True)
def _greedy(
    owned: NDArray[np.bool_], starts: NDArray[np.int64], best: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
    n = len(owned)
    alive = np.ones(n, np.bool_)
    views = np.zeros(n, np.int32)
    for i in range(n):
        if not alive[i]:
            continue
        for a in range(starts[i], starts[i + 1]):
            j = best[a]
            if j < i or not alive[j]:
                continue
            for b in range(starts[j], starts[j + 1]):
                if best[b] == i:
                    alive[j] = False
                    views[i] += 1
                    break
        if not owned[i] and views[i] == 0:
            alive[i] = False
    return alive, views
