"""Whether scores mean what they say: of cells with score 0.7, seven in ten should be right.

Law: every detection that counts is in one bin, whatever bins there are; the expected calibration error is the mean
distance between score and share, weighted by how many cells a bin holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pbsbatch.evaluate.verdicts import Verdicts

__all__ = ["BINS", "Bin", "Reliability", "reliabilities", "reliability"]

BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """Detections whose scores lie together."""

    from_score: float
    to_score: float
    cells: int
    score: float  # their mean
    right: float  # the share that is right


@dataclass(frozen=True, slots=True)
class Reliability:
    """The calibration curve of a class, or of all."""

    name: str
    cells: int
    error: float  # expected calibration error
    bins: tuple[Bin, ...]  # those that hold any


def reliability(name: str, scores: NDArray[np.float64], right: NDArray[np.bool_]) -> Reliability:
    """Return the calibration curve of scores from 0 to 1."""
    place = np.clip((scores * BINS).astype(np.int64), 0, BINS - 1)
    bins, error = [], 0.0
    for k in range(BINS):
        here = place == k
        if here.any():
            one = Bin(k / BINS, (k + 1) / BINS, int(here.sum()), float(scores[here].mean()), float(right[here].mean()))
            bins.append(one)
            error += one.cells / len(scores) * abs(one.score - one.right)
    return Reliability(name, len(scores), error if len(scores) else float("nan"), tuple(bins))


def reliabilities(seen: Verdicts, names: Sequence[str], whole: str = "all") -> tuple[Reliability, ...]:
    """Return the curves of the classes that were found, then that of all; none where scores are no chances."""
    rows = np.concatenate([seen.hits[:, 0], seen.false_positives])
    right = np.arange(len(rows)) < len(seen.hits)
    scores, classes = seen.scores[rows], seen.found_classes[rows]
    if len(rows) == 0 or scores.min() < 0 or scores.max() > 1:
        return ()
    each = (reliability(name, scores[classes == k], right[classes == k]) for k, name in enumerate(names))
    return (*(one for one in each if one.cells), reliability(whole, scores, right))
