"""Right, wrong and missed, cell by cell, and precision, recall and F1 above score cuts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pbsbatch_kernels.matching import Found, Measure, Truth, match

__all__ = ["OperatingPoints", "Verdicts", "verdicts"]


@dataclass(frozen=True, slots=True)
class OperatingPoints:
    """Counts and rates above S score cuts for K classes. Law: a rate without a denominator is NaN."""

    cuts: NDArray[np.float64]  # (S,) detections with a score of at least this
    tp: NDArray[np.int64]  # (K, S)
    fp: NDArray[np.int64]
    fn: NDArray[np.int64]

    @property
    def precision(self) -> NDArray[np.float64]:
        """Return tp / (tp + fp)."""
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> NDArray[np.float64]:
        """Return tp / (tp + fn)."""
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> NDArray[np.float64]:
        """Return 2 tp / (2 tp + fp + fn)."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    def total(self) -> OperatingPoints:
        """Return all classes counted as one."""
        return OperatingPoints(self.cuts, *(a.sum(axis=0, keepdims=True) for a in (self.tp, self.fp, self.fn)))


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Every detection and truth by its fate at one threshold; entries are rows of the sets that were matched.

    Laws. Detections stand by falling score. Lowering the score cut never changes the fate of what was above it, so one
    match serves every cut. hits, spared and false_positives are all detections; hits, missed and the ignored truths are
    all truths.
    """

    threshold: float
    hits: NDArray[np.int64]  # (H, 2) detection, truth
    spared: NDArray[np.int64]  # (S, 2) detection, the crowd or other ignored truth that it matched
    false_positives: NDArray[np.int64]
    missed: NDArray[np.int64]  # truths
    true_classes: NDArray[np.int64]
    found_classes: NDArray[np.int64]
    scores: NDArray[np.float64]
    n_classes: int

    def at(self, cuts: ArrayLike) -> OperatingPoints:
        """Count what has a score of at least each cut."""
        marks = np.atleast_1d(np.asarray(cuts, np.float64))
        if marks.ndim != 1 or np.isnan(marks).any():
            raise ValueError("verdicts: score cuts must be a list of numbers")
        right, wrong = self.hits[:, 0], self.false_positives
        tp, fp = (self._above(rows, marks) for rows in (right, wrong))
        judged = np.concatenate([self.hits[:, 1], self.missed])
        truths = np.bincount(self.true_classes[judged], minlength=self.n_classes)
        return OperatingPoints(marks, tp, fp, truths[:, None] - tp)

    def best_cut(self, k: int) -> float:
        """Return the highest score cut at which class k reaches its best F1; NaN if it has no hit."""
        scores = self.scores[self.hits[self.found_classes[self.hits[:, 0]] == k, 0]]
        cuts = np.unique(scores)[::-1]
        return float(cuts[np.argmax(self.at(cuts).f1[k])]) if len(cuts) else float("nan")

    def _above(self, rows: NDArray[np.int64], cuts: NDArray[np.float64]) -> NDArray[np.int64]:
        out = np.zeros((self.n_classes, len(cuts)), np.int64)
        for k in range(self.n_classes):
            rising = np.sort(self.scores[rows[self.found_classes[rows] == k]])
            out[k] = len(rising) - np.searchsorted(rising, cuts, side="left")
        return out


def verdicts(
    true: Truth, detected: Found, n_classes: int, threshold: float = 0.5, *, measure: Measure = "boxes"
) -> Verdicts:
    """Match at one threshold and sort detections and truths by their fate."""
    for name, classes in (("truth", true.classes), ("detections", detected.classes)):
        if len(classes) and classes.max() >= n_classes:
            raise ValueError(f"verdicts: {name} hold class {classes.max()}, there are {n_classes}")
    matches = match(true, detected, [threshold], measure=measure, partners=True)
    assert matches.partners is not None
    partner = matches.partners[0, 0].astype(np.int64)[matches.order]
    pairs = np.stack([matches.order, partner], axis=1)[partner >= 0]
    counts = ~true.ignored[pairs[:, 1]]
    hits = pairs[counts]
    missed = ~true.ignored
    missed[hits[:, 1]] = False
    return Verdicts(
        threshold=float(threshold), hits=hits, spared=pairs[~counts], false_positives=matches.order[partner < 0],
        missed=np.flatnonzero(missed).astype(np.int64),
        true_classes=true.classes, found_classes=detected.classes, scores=detected.scores, n_classes=n_classes,
    )  # fmt: skip


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    out = np.full(part.shape, np.nan)
    np.divide(part, whole, out=out, where=whole > 0)
    return out
