"""The study's rule of matching: each detection goes to its best truth, not exclusively, if they overlap by more.

Law: the best truth is of the same image and class; several detections may hit one truth. Crowds are nobody's best.
Sorted along x, so that a slide of a million cells costs what its neighbours cost.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pbsbatch.evaluate.verdicts import Verdicts
from pbsbatch_kernels.matching import Found, Truth

__all__ = ["best_fits", "best_verdicts"]

AT_ONCE = 256


def best_fits(true: Truth, detected: Found) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return each detection's best truth (-1: it touches none) and their IoU."""
    partner = np.full(len(detected), -1, np.int64)
    iou = np.zeros(len(detected))
    for rows, truths in _groups(true, detected):
        boxes = _corners(true.boxes[truths])
        order = np.argsort(boxes[:, 0], kind="stable")
        boxes, truths_by_x = boxes[order], truths[order]
        widest = float((boxes[:, 2] - boxes[:, 0]).max())
        mine = rows[np.argsort(detected.boxes[rows, 0], kind="stable")]
        for some in (mine[k : k + AT_ONCE] for k in range(0, len(mine), AT_ONCE)):
            here = _corners(detected.boxes[some])
            first = int(np.searchsorted(boxes[:, 0], here[:, 0].min() - widest, "left"))
            last = int(np.searchsorted(boxes[:, 0], here[:, 2].max(), "right"))
            if last > first:
                table = _ious(here, boxes[first:last])
                best = table.argmax(1)
                iou[some] = table[np.arange(len(some)), best]
                partner[some] = np.where(iou[some] > 0, truths_by_x[first + best], -1)
    return partner, iou


def best_verdicts(true: Truth, detected: Found, n_classes: int, above: float = 0.5) -> Verdicts:
    """Sort detections and truths by their fate under the study's rule. A truth may stand in several hits."""
    partner, iou = best_fits(true, detected)
    order = np.argsort(-detected.scores, kind="stable")
    hit = order[(partner[order] >= 0) & (iou[order] > above)]
    pairs = np.stack([hit, partner[hit]], axis=1)
    counts = ~true.ignored[pairs[:, 1]]
    missed = ~true.ignored
    missed[pairs[:, 1]] = False
    wrong = np.ones(len(detected), np.bool_)
    wrong[hit] = False
    return Verdicts(
        threshold=above, hits=pairs[counts], spared=pairs[~counts], false_positives=order[wrong[order]],
        missed=np.flatnonzero(missed).astype(np.int64), true_classes=true.classes, found_classes=detected.classes,
        scores=detected.scores, n_classes=n_classes,
    )  # fmt: skip


def _groups(true: Truth, detected: Found) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the detections and truths of each image and class that has both."""
    plain = np.flatnonzero(~true.crowd)
    keys, true_keys = (detected.images << 32) | detected.classes, ((true.images << 32) | true.classes)[plain]
    order, true_order = np.argsort(keys, kind="stable"), np.argsort(true_keys, kind="stable")
    ranked, true_ranked = keys[order], true_keys[true_order]
    for key in np.intersect1d(ranked, true_ranked):
        a, b = np.searchsorted(ranked, [key, key + 1])
        c, d = np.searchsorted(true_ranked, [key, key + 1])
        yield order[a:b], plain[true_order[c:d]]


def _corners(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def _ious(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = np.clip(high - low, 0, None).prod(2)
    areas, others = (a[:, 2:] - a[:, :2]).prod(1), (b[:, 2:] - b[:, :2]).prod(1)
    whole = areas[:, None] + others[None] - inter
    out: NDArray[np.float64] = np.divide(inter, whole, out=np.zeros_like(inter), where=whole > 0)
    return out
