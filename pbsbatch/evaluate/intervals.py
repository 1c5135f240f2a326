"""How sure the figures are: 95 % intervals by drawing images with replacement.

Law: images are drawn, not cells: cells of one image share its stain and its focus. They are matched once, for a match
never crosses images.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pbsbatch.evaluate.best import best_verdicts
from pbsbatch.evaluate.figures import ALL, BEST_IOU, COCO
from pbsbatch.evaluate.together import Compared
from pbsbatch.evaluate.verdicts import Verdicts, verdicts
from pbsbatch_kernels.matching import COCO_RECALLS

__all__ = ["Intervals", "intervals"]

Intervals = dict[str, dict[str, tuple[float, float]]]
"""class -> figure -> its 95 % interval; a figure that too few rounds had is NaN."""
MOST_STEPS = 200_000_000
"""Average precision is drawn in no more rounds than take so many steps: a detection in a round is one."""


def intervals(both: Compared, iou: float, rounds: int, seed: int = 0, *, matching: str = COCO) -> Intervals:
    """Return the intervals of rates, counting errors and, at an IoU of 0.5, AP50, by class and of all."""
    n, k = len(both.images), len(both.classes)
    exclusive = verdicts(both.true, both.found, k, iou, measure=both.measure)
    seen = best_verdicts(both.true, both.found, k, iou) if matching == BEST_IOU else exclusive
    per_image = _per_image(both, seen, n, k)
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=rounds)
    tp, fp, fn = np.einsum("ri,cik->crk", drawn, per_image).astype(np.float64)
    whole = [i for i, name in enumerate(both.classes) if name not in both.incomplete]
    miss = (per_image[0] + per_image[1]) - _true(both, n, k)
    aps = [_ap(both, exclusive, i, drawn) for i in range(k)]
    out: Intervals = {}
    for i, name in enumerate(both.classes):
        rates = _rates(tp[:, i], fp[:, i], fn[:, i])
        if name in both.incomplete:
            out[name] = {"recall": _quantiles(rates["recall"])}
            continue
        rates |= _errors(drawn, miss[:, i]) | {"ap50": aps[i]}
        out[name] = {rate: _quantiles(values) for rate, values in rates.items()}
    if whole:
        rates = _rates(*(x[:, whole].sum(1) for x in (tp, fp, fn))) | _errors(drawn, miss[:, whole].sum(1))
        with np.errstate(invalid="ignore"):
            there = np.stack([aps[i] for i in whole])
            rates["ap50"] = np.nansum(there, 0) / np.isfinite(there).sum(0)
        out[ALL] = {rate: _quantiles(values) for rate, values in rates.items()}
    return out


def _per_image(both: Compared, seen: Verdicts, n: int, k: int) -> NDArray[np.int64]:
    out = np.zeros((3, n, k), np.int64)
    hit, false = seen.hits[:, 0], seen.false_positives
    np.add.at(out[0], (both.found.images[hit], both.found.classes[hit]), 1)
    np.add.at(out[1], (both.found.images[false], both.found.classes[false]), 1)
    np.add.at(out[2], (both.true.images[seen.missed], both.true.classes[seen.missed]), 1)
    return out


def _true(both: Compared, n: int, k: int) -> NDArray[np.int64]:
    out, counts = np.zeros((n, k), np.int64), ~both.true.ignored
    np.add.at(out, (both.true.images[counts], both.true.classes[counts]), 1)
    return out


def _rates(a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    with np.errstate(invalid="ignore"):
        return {
            "precision": a / (a + b), "recall": a / (a + c), "f1": 2 * a / (2 * a + b + c), "accuracy": a / (a + b + c)
        }  # fmt: skip


def _errors(drawn: NDArray[np.int64], miss: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    return {"count_mae": drawn @ np.abs(miss) / len(miss), "count_bias": drawn @ miss / len(miss)}


def _ap(both: Compared, seen: Verdicts, k: int, drawn: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return COCO's average precision of class k in each round: an image drawn twice counts its cells twice."""
    hits = seen.hits[seen.found_classes[seen.hits[:, 0]] == k, 0]
    wrong = seen.false_positives[seen.found_classes[seen.false_positives] == k]
    missed = seen.missed[seen.true_classes[seen.missed] == k]
    out = np.full(len(drawn), np.nan)
    if seen.threshold != 0.5 or (len(hits) == 0 and len(missed) == 0):
        return out
    rows = np.concatenate([hits, wrong])
    order = np.lexsort((rows, both.found.images[rows], -seen.scores[rows]))  # equal scores as the match takes them
    where, right = both.found.images[rows[order]], (np.arange(len(rows)) < len(hits))[order]
    for r in range(min(len(drawn), MOST_STEPS // max(len(rows), 1))):
        weight = drawn[r, where]
        true = int(weight[right].sum() + drawn[r, both.true.images[missed]].sum())
        if true == 0:
            continue
        tp, all_ = np.cumsum(weight * right), np.cumsum(weight)
        precision = np.divide(tp, all_, out=np.zeros(len(tp)), where=all_ > 0)
        falling = np.maximum.accumulate(precision[::-1])[::-1]
        at = np.searchsorted(tp / true, COCO_RECALLS, side="left")
        out[r] = np.append(falling, 0.0)[at].mean()
    return out


def _quantiles(values: NDArray[np.float64]) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    if len(known) == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)
