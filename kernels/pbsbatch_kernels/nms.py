"""Suppress boxes that overlap a better one: exact greedy NMS on any coordinates, in memory O(N)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pbsbatch_kernels.jit import kernel, kernel_ieee

__all__ = ["nms"]

Boxes = NDArray[np.float32] | NDArray[np.float64]
Scores = NDArray[np.float32] | NDArray[np.float64]

MOST_BOXES = 2**30  # slots and cells are numbered in int32
TOP_LEVEL = 1024  # of float64
FARTHEST = 2.0**60  # in cells; a box has its corner within 2 ** 54 of its own, else its sides would be rounded away
FEW = 128  # up to here comparing all is faster than a grid
FINE, INVERTED, INFINITE, NAN_SCORE = range(4)


def nms(
    boxes: Boxes,
    scores: Scores,
    classes: NDArray[np.integer],
    iou: float | NDArray[np.float64],
    groups: NDArray[np.integer] | None = None,
) -> NDArray[np.int64]:
    """Return the boxes (x0, y0, x1, y1) that stay, by (score descending, index ascending).

    Laws. In that order each box stays unless one that stayed before it, of its class and group, overlaps
    it with an IoU above `iou`: one threshold, or one per class. The IoU is inter / (a + b - inter) in the
    dtype of the boxes, so the result is that of torchvision's nms per class and group, ties included.
    A box without area, or with more than its dtype can hold, overlaps nothing. Not finite or inverted
    boxes and NaN scores are refused. The memory is O(N). A box is compared with those near it, or, where
    its surroundings have more cells than boxes stayed, with these.
    """
    limits = np.array(iou, np.float64, ndmin=1)
    _check(boxes, scores, classes, limits, groups)
    if np.ndim(iou) and len(classes) and not 0 <= classes.min() <= classes.max() < len(limits):
        raise ValueError(f"nms: {len(limits)} thresholds for classes {classes.min()} to {classes.max()}")
    # An unstable sort with its ties put right is 10 ms of 60 faster at 1e5, and slower where scores are coarse.
    order = np.argsort(-scores, kind="stable")
    kinds = classes.astype(np.int64)[order]
    parts = kinds if groups is None else groups.astype(np.int64)[order]
    ranked = boxes.take(order, 0)
    if len(ranked) <= FEW:
        kept = _compare_all(ranked, kinds, parts, limits)
    else:
        kept = _compare_near(ranked, kinds, parts, limits, float(np.finfo(boxes.dtype).tiny))
    stay: NDArray[np.int64] = order[kept]
    return stay


def _check(
    boxes: Boxes,
    scores: Scores,
    classes: NDArray[np.integer],
    limits: NDArray[np.float64],
    groups: NDArray[np.integer] | None,
) -> None:
    n = len(scores)
    if boxes.shape != (n, 4) or scores.shape != (n,) or classes.shape != (n,):
        shapes = f"{boxes.shape}, {scores.shape}, {classes.shape}"
        raise ValueError(f"nms: boxes, scores and classes must be (N, 4), (N,), (N,), not {shapes}")
    if groups is not None and groups.shape != (n,):
        raise ValueError(f"nms: {groups.shape} groups for {n} boxes")
    if boxes.dtype.str not in ("<f4", "<f8") or scores.dtype.str not in ("<f4", "<f8"):
        raise ValueError(f"nms: boxes and scores must be float32 or float64, not {boxes.dtype} and {scores.dtype}")
    if classes.dtype.kind not in "iu" or (groups is not None and groups.dtype.kind not in "iu"):
        raise ValueError("nms: classes and groups must be integers")
    if limits.ndim != 1 or not all(0.0 <= limit <= 1.0 for limit in limits.tolist()):
        raise ValueError(f"nms: a threshold must lie in [0, 1], not {limits.tolist()}")
    if n > MOST_BOXES:
        raise ValueError(f"nms: {n} boxes are more than {MOST_BOXES}")
    wrong, at = _inspect(boxes, scores)
    if wrong == NAN_SCORE:
        raise ValueError(f"nms: the score of box {at} is NaN")
    if wrong != FINE:
        what = "inverted" if wrong == INVERTED else "not finite"
        raise ValueError(f"nms: box {at} is {what}: {boxes[at].tolist()}")


@kernel
def _inspect(boxes: Boxes, scores: Scores) -> tuple[int, int]:
    """Return what is wrong first, and with which box."""
    for i in range(len(scores)):
        for k in range(4):
            if not math.isfinite(boxes[i, k]):
                return INFINITE, i
        if boxes[i, 2] < boxes[i, 0] or boxes[i, 3] < boxes[i, 1]:
            return INVERTED, i
        if math.isnan(scores[i]):
            return NAN_SCORE, i
    return FINE, 0


@kernel
def _compare_all(
    boxes: Boxes, classes: NDArray[np.int64], groups: NDArray[np.int64], limits: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return which of the boxes, best first, stay."""
    keep = np.empty(len(boxes), np.int64)
    kept = 0
    for i in range(len(boxes)):
        x0, y0, x1, y1 = boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3]
        limit = limits[classes[i]] if len(limits) > 1 else limits[0]
        beaten, k = False, 0
        while k < kept and not beaten:
            j = keep[k]
            beaten = _iou(x0, y0, x1, y1, boxes, j) > limit and classes[j] == classes[i] and groups[j] == groups[i]
            k += 1
        if not beaten:
            keep[kept] = i
            kept += 1
    return keep[:kept]


@kernel
def _compare_near(
    boxes: Boxes, classes: NDArray[np.int64], groups: NDArray[np.int64], limits: NDArray[np.float64], tiny: float
) -> NDArray[np.int64]:
    """Return which of the boxes, best first, stay, each compared with those in the cells around it.

    Two boxes overlap only if the one's corner (x0, y0) lies between the other's corner less the one's longer
    side and the other's far corner. Longer sides differ by a factor of at most 1 / IoU, so other levels are
    left out; 1 % is room for rounding, which is coarser below `tiny` or for a threshold near zero. A box whose
    cells outnumber the boxes that stayed is compared with these. All in one loop: a call that passes arrays
    costs 80 ns in reference counts, as much as the comparisons.
    """
    n = len(boxes)
    cells, heads, levels = _grid(boxes, classes, groups)
    mask = len(heads) - 1
    held, owner, keep = np.empty((n, 4), boxes.dtype), np.empty(n, np.int32), np.empty(n, np.int64)
    kept = 0
    for i in range(n):
        x0, y0, x1, y1 = boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3]
        kind, group, home = classes[i], groups[i], cells[i]
        beaten = False
        if home >= 0:
            limit = limits[kind] if len(limits) > 1 else limits[0]
            side = max(x1 - x0, y1 - y0)
            alike = 0.99 * limit if limit >= 0.01 and (x1 - x0) * (y1 - y0) >= tiny else 0.0
            visits = 0.0
            for level in levels:
                least = math.ldexp(1.0, int(level) - 2)
                if 4.0 * least < alike * side or alike * least > side:
                    continue
                scale = math.ldexp(1.0, -int(level))
                visits += ((x1 - x0) * scale + 3.0) * ((y1 - y0) * scale + 3.0)
                if beaten or visits > kept:
                    break
                if max(abs(x0), abs(y0)) * scale > FARTHEST:
                    continue
                left, right = math.floor(x0 * scale) - 1, math.floor(x1 * scale)
                top, bottom = math.floor(y0 * scale) - 1, math.floor(y1 * scale)
                for y in range(top, bottom + 1):
                    row = _row(int(kind), int(group), int(level), y)
                    for x in range(left, right + 1):
                        slot = heads[(row + x) & mask, 0]
                        end = slot + heads[(row + x) & mask, 1]
                        while slot < end and not beaten:
                            j = owner[slot]
                            beaten = (
                                _iou(x0, y0, x1, y1, held, slot) > limit and classes[j] == kind and groups[j] == group
                            )
                            slot += 1
            k = 0 if visits > kept else kept
            while k < kept and not beaten:
                j = keep[k]
                beaten = _iou(x0, y0, x1, y1, boxes, j) > limit and classes[j] == kind and groups[j] == group
                k += 1
        if not beaten:
            if home >= 0:
                slot = heads[home, 0] + heads[home, 1]
                heads[home, 1] += 1
                held[slot, 0], held[slot, 1], held[slot, 2], held[slot, 3] = x0, y0, x1, y1
                owner[slot] = i
            keep[kept] = i
            kept += 1
    return keep[:kept]


@kernel
def _grid(
    boxes: Boxes, classes: NDArray[np.int64], groups: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
    """Return each box's cell (-1: it overlaps nothing), each cell's first slot and no filled ones, and the levels.

    Level k, an even number, holds the boxes whose longer side lies in [2 ** (k - 2), 2 ** k); its cells have
    the side 2 ** k, and a box is in the cell of its corner (x0, y0). Scaling by a power of two is exact, so no
    rounding moves a box. Cells are hashed by class, group, level and row, and those of a row lie side by
    side. Cells that share a number cost time, not truth.
    """
    n = len(boxes)
    size = 1
    while size < n:
        size *= 2
    mask = size - 1
    cells, heads, seen = np.empty(n, np.int32), np.zeros((size, 2), np.int32), np.zeros(2 * TOP_LEVEL + 1, np.bool_)
    for i in range(n):
        wide, tall = boxes[i, 2] - boxes[i, 0], boxes[i, 3] - boxes[i, 1]
        cells[i] = -1
        if 0.0 < wide * tall < np.inf:
            level = (math.frexp(max(wide, tall))[1] + 1) // 2 * 2
            seen[level + TOP_LEVEL] = True
            scale = math.ldexp(1.0, -level)
            row = _row(int(classes[i]), int(groups[i]), level, math.floor(boxes[i, 1] * scale))
            cells[i] = (row + math.floor(boxes[i, 0] * scale)) & mask
            heads[cells[i], 0] += 1
    first = 0
    for c in range(size):
        heads[c, 0], first = first, first + heads[c, 0]
    return cells, heads, np.flatnonzero(seen) - TOP_LEVEL


@kernel
def _row(kind: int, group: int, level: int, y: int) -> int:
    """Return the hash of one row of cells."""
    mixed = (y * 0x1E3779B97F4A7C15) ^ (level * 0x42B2AE3D27D4EB4F) ^ (kind * 0x165667B19E3779F9) ^ (group << 20)
    mixed = (mixed ^ (mixed >> 31)) * 0x3F58476D1CE4E5B9
    return mixed ^ (mixed >> 29)


@kernel_ieee
def _iou(x0: float, y0: float, x1: float, y1: float, others: Boxes, j: int) -> float:
    """Return the IoU of a box with others[j], rounded as the dtype of the boxes rounds."""
    wide = min(x1, others[j, 2]) - max(x0, others[j, 0])
    tall = min(y1, others[j, 3]) - max(y0, others[j, 1])
    if min(wide, tall) <= 0.0:  # one branch: each of two alone would be hard to foresee
        return 0.0
    inter = wide * tall
    other = (others[j, 2] - others[j, 0]) * (others[j, 3] - others[j, 1])
    return float(inter / ((x1 - x0) * (y1 - y0) + other - inter))
