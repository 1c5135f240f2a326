"""Hold what a classifier says against the labels: accuracy, calibration, and false calls where it will be used.

Law: judged are the eight types; bands and segmented cells are both neutrophils, as in the headline.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbsbatch.models.taxonomy import TYPES, of_types

__all__ = ["PREVALENCE", "Report", "TypeReport", "expected_calibration_error", "judge", "log_loss"]

F64 = NDArray[np.float64]

PREVALENCE = {
    "neutrophil": 0.60, "lymphocyte": 0.30, "monocyte": 0.06, "eosinophil": 0.03, "basophil": 0.005,
    "immature_granulocyte": 0.005,
}  # fmt: skip
"""A differential count as laboratories see it; data sets hold the rare types far more often."""
BINS = 15


@dataclass(frozen=True, slots=True)
class TypeReport:
    """One type. None: there is no such cell, or none is called so."""

    cells: int
    precision: float | None
    recall: float | None
    false_calls_per_100: float  # among 100 white cells at clinical prevalence, calls of this type that are wrong


@dataclass(frozen=True, slots=True)
class Report:
    """How good a classifier is on some cells."""

    cells: int
    accuracy: float
    balanced_accuracy: float
    log_loss: float
    calibration_error: float
    wrong_per_100: float  # white cells at clinical prevalence
    types: dict[str, TypeReport]
    confusion: tuple[tuple[int, ...], ...]  # rows: true types, columns: called types

    def table(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def judge(kinds: F64, types: NDArray[np.int64]) -> Report:
    """Return how good the chances of kinds (N, 11) are for cells of these types."""
    if len(kinds) != len(types) or not len(types):
        raise ValueError(f"judging needs as many labels as cells, and one at least: {len(kinds)}, {len(types)}")
    chances = of_types(kinds)
    called = chances.argmax(1)
    confusion = np.zeros((len(TYPES), len(TYPES)), np.int64)
    np.add.at(confusion, (types, called), 1)
    true, named, right = confusion.sum(1), confusion.sum(0), confusion.diagonal()
    recall = right / np.maximum(true, 1)
    calls = _calls(confusion)
    rows = {
        name: TypeReport(int(true[t]), _ratio(right[t], named[t]), _ratio(right[t], true[t]), float(calls[t]))
        for t, name in enumerate(TYPES)
    }
    return Report(
        cells=len(types), accuracy=float(right.sum() / len(types)), balanced_accuracy=float(recall[true > 0].mean()),
        log_loss=log_loss(chances, types), calibration_error=expected_calibration_error(chances, types),
        wrong_per_100=float(calls.sum()), types=rows, confusion=tuple(map(tuple, confusion.tolist())),
    )  # fmt: skip


def log_loss(chances: F64, types: NDArray[np.int64]) -> float:
    """Return the mean of -log of the chance of the true type."""
    return float(-np.log(np.maximum(chances[np.arange(len(types)), types], 1e-12)).mean())


def expected_calibration_error(chances: F64, types: NDArray[np.int64]) -> float:
    """Return how far the chance of the called type lies from how often it is right, over 15 bins of equal width."""
    sure, right = chances.max(1), chances.argmax(1) == types
    at = np.minimum((sure * BINS).astype(np.int64), BINS - 1)
    gap = np.bincount(at, sure - right, BINS)
    return float(np.abs(gap).sum() / len(types))


def _calls(confusion: NDArray[np.int64]) -> F64:
    """Return the wrong calls of each type among 100 white cells; a type that was not there is left out of them."""
    share = np.array([PREVALENCE.get(name, 0.0) for name in TYPES])
    rates = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    np.fill_diagonal(rates, 0.0)
    return np.asarray(100 * share @ rates, np.float64)


def _ratio(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None
