"""The curve of precision over recall, and the area under it by the trapezoid rule."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pbsbatch.evaluate.verdicts import Verdicts

__all__ = ["pr_curve", "trapezoid"]


def pr_curve(seen: Verdicts, k: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return recall, precision and score of class k after each detection, best first; empty without truth."""
    hits = seen.hits[seen.found_classes[seen.hits[:, 0]] == k, 0]
    wrong = seen.false_positives[seen.found_classes[seen.false_positives] == k]
    true = len(hits) + int((seen.true_classes[seen.missed] == k).sum())
    if true == 0:
        return np.zeros(0), np.zeros(0), np.zeros(0)
    rows = np.concatenate([hits, wrong])
    right = np.concatenate([np.ones(len(hits)), np.zeros(len(wrong))])
    order = np.lexsort((rows, -seen.scores[rows]))  # equal scores as the match took them
    tp = np.cumsum(right[order])
    return tp / true, tp / np.arange(1, len(rows) + 1), seen.scores[rows[order]]


def trapezoid(seen: Verdicts, k: int) -> float:
    """Return the area under class k's curve of precision over recall, from recall 0 to the highest reached."""
    recall, precision, _ = pr_curve(seen, k)
    if len(recall) == 0:
        some = (seen.true_classes[seen.missed] == k).any()
        return 0.0 if some else float("nan")
    return float(np.trapezoid(np.append(precision[0], precision), np.append(0.0, recall)))
