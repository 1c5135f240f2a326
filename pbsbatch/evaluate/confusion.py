"""Which class is taken for which."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pbsbatch.evaluate.fields import one_class
from pbsbatch.evaluate.verdicts import Verdicts, verdicts
from pbsbatch_kernels.matching import Found, Measure, Truth, take

__all__ = ["Confusion", "confusion"]


@dataclass(frozen=True, slots=True)
class Confusion:
    """counts[t, d]: truths of class t found as class d. Law: the last row is found where nothing is, the last column
    is missed; crowds, ignored truths and what matched them are not counted.
    """

    names: tuple[str, ...]
    counts: NDArray[np.int64]  # (K + 1, K + 1)
    class_aware: bool
    threshold: float
    cut: float


def confusion(
    true: Truth, detected: Found, names: tuple[str, ...], *, threshold: float = 0.5, cut: float = -math.inf,
    class_aware: bool = False, measure: Measure = "boxes",
) -> Confusion:  # fmt: skip
    """Count classes against classes among detections with a score of at least `cut`.

    Laws. Class-free: one match that does not look at classes, so that a better placed detection of the wrong class
    shows. Class-aware: every class is matched first, the diagonal is COCO's, and only what is left over is matched
    across classes.
    """
    k = len(names)
    shown = take(detected, np.flatnonzero(detected.scores >= cut))
    counts = np.zeros((k + 1, k + 1), np.int64)
    rest, rest_found = true, shown
    if class_aware:
        own = verdicts(true, shown, k, threshold, measure=measure)
        _add(counts, true, shown, own.hits)
        open_ = np.ones(len(true), np.bool_)
        open_[np.concatenate([own.hits[:, 1], own.spared[:, 1]])] = False
        rest = take(true, np.flatnonzero(open_ | true.crowd))
        rest_found = take(shown, np.sort(own.false_positives))
    left = _across(rest, rest_found, threshold, measure)
    _add(counts, rest, rest_found, left.hits)
    np.add.at(counts[k], rest_found.classes[left.false_positives], 1)
    np.add.at(counts[:, k], rest.classes[left.missed], 1)
    return Confusion(tuple(names), counts, class_aware, float(threshold), float(cut))


def _across(true: Truth, detected: Found, threshold: float, measure: Measure) -> Verdicts:
    """Match without classes; the rows are those of the sets given."""
    merged, merged_found, rows, found_rows = one_class(true, detected)
    seen = verdicts(merged, merged_found, 1, threshold, measure=measure)
    hits, spared = (np.stack([found_rows[p[:, 0]], rows[p[:, 1]]], axis=1) for p in (seen.hits, seen.spared))
    return Verdicts(
        threshold=seen.threshold, hits=hits, spared=spared, false_positives=found_rows[seen.false_positives],
        missed=rows[seen.missed], true_classes=true.classes,
        found_classes=detected.classes, scores=detected.scores, n_classes=1,
    )  # fmt: skip


def _add(counts: NDArray[np.int64], true: Truth, detected: Found, hits: NDArray[np.int64]) -> None:
    np.add.at(counts, (true.classes[hits[:, 1]], detected.classes[hits[:, 0]]), 1)
