"""Every threshold of one class at once: what each would come to, from one match.

Law: a threshold matters only between two scores, so that the curve over all scores that occur is exact; a match serves
every cut, for what is below a cut never changes the fate of what is above it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pbsbatch.evaluate.together import Compared
from pbsbatch.evaluate.verdicts import Verdicts
from pbsbatch_kernels.matching import COCO_RECALLS

__all__ = ["GOALS", "Sweep", "sweep"]


@dataclass(frozen=True, slots=True)
class Sweep:
    """What one class comes to above each score that occurs, the highest first."""

    cuts: NDArray[np.float64]  # (S,) distinct, falling
    values: NDArray[np.float64]  # (S,) of the goal: F1, AP50, or minus the mean error of counts

    @property
    def best(self) -> int:
        """Return the place of the best value; of equals the highest cut."""
        return int(np.argmax(self.values))

    @property
    def threshold(self) -> float:
        """Return a threshold half-way between the best cut and the next lower score: no rounding moves a cell."""
        k = self.best
        below = self.cuts[k + 1] if k + 1 < len(self.cuts) else max(2 * self.cuts[k] - 1, 0.9 * self.cuts[k])
        return float((self.cuts[k] + below) / 2)


def sweep(both: Compared, seen: Verdicts, k: int, goal: str) -> Sweep | None:
    """Sweep class k; None where it has no truth or nothing was found."""
    hits = seen.hits[seen.found_classes[seen.hits[:, 0]] == k, 0]
    wrong = seen.false_positives[seen.found_classes[seen.false_positives] == k]
    true = len(hits) + int((seen.true_classes[seen.missed] == k).sum())
    rows = np.concatenate([hits, wrong])
    if true == 0 or len(rows) == 0:
        return None
    order = np.lexsort((rows, both.found.images[rows], -seen.scores[rows]))  # equal scores as the match takes them
    scores, right = seen.scores[rows[order]], (np.arange(len(rows)) < len(hits))[order]
    last = np.flatnonzero(np.append(np.diff(scores) != 0, True))  # after the last of equal scores
    images = both.found.images[rows[order]]
    counts = np.bincount(both.true.images[(both.true.classes == k) & ~both.true.ignored], minlength=len(both.images))
    return Sweep(scores[last], GOALS[goal](right, images, counts)[last])


def _f1(right: NDArray[np.bool_], images: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return F1 after each detection."""
    return np.asarray(2 * np.cumsum(right) / (np.arange(1, len(right) + 1) + counts.sum()), np.float64)


def _ap(right: NDArray[np.bool_], images: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return COCO's average precision of the detections up to each one.

    A cut only takes away: precision at a recall is the best from there on, so the value after n is a sum over recalls
    reached by then. It rises with n, and so the best cut is the highest that still has all of it.
    """
    tp = np.cumsum(right)
    recall, precision = tp / counts.sum(), tp / np.arange(1, len(right) + 1)
    first = np.searchsorted(recall, COCO_RECALLS, side="left")
    out = np.zeros(len(right))
    for start in first[first < len(right)]:
        out[start:] += np.maximum.accumulate(precision[start:]) / len(COCO_RECALLS)
    return np.round(out, 12)


def _counts(right: NDArray[np.bool_], images: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return minus the mean error of counts per image after each detection.

    One more detection mends its image's count while that is below the truth, and spoils it from there on.
    """
    by_image = np.argsort(images, kind="stable")
    starts = np.searchsorted(images[by_image], np.arange(len(counts)))
    nth = np.empty(len(images), np.int64)
    nth[by_image] = np.arange(len(images)) - starts[images[by_image]]
    steps = np.where(nth < counts[images], -1, 1)
    return np.asarray(-(counts.sum() + np.cumsum(steps)) / len(counts), np.float64)


GOALS: dict[str, Callable[[NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]]] = {
    "f1": _f1, "map": _ap, "count": _counts,
}  # fmt: skip
"""What may be sought, by name: the more the better."""
