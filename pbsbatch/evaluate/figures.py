"""The figures of an evaluation as one table: a row for each class and one for all, with counting errors per image.

Laws. Rates without a denominator are NaN and shown blank. Average precision is COCO's (101 points) and, beside it, the
area under the precision-recall curve by the trapezoid rule, each under its own name.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbsbatch.evaluate.ap import mean_present
from pbsbatch.evaluate.best import best_verdicts
from pbsbatch.evaluate.evaluation import Evaluation, evaluate
from pbsbatch.evaluate.pr import trapezoid
from pbsbatch.evaluate.reliability import Reliability, reliabilities
from pbsbatch.evaluate.shapes import MaskFit, mask_fits
from pbsbatch.evaluate.sizes import SizeRow, size_rows
from pbsbatch.evaluate.together import Compared
from pbsbatch.evaluate.verdicts import Verdicts, verdicts
from pbsbatch_kernels.matching import COCO_IOUS

__all__ = ["ALL", "BEST_IOU", "COCO", "Figures", "Row", "figures", "names_of_rows"]

ALL = "all"
COCO, BEST_IOU = "coco", "best-iou"
"""How counts are made: best score first and each truth once, or each detection to its best truth, not exclusively."""


@dataclass(frozen=True, slots=True)
class Row:
    """What one class came to, or all of them."""

    name: str
    true: int
    found: int
    tp: int
    fp: int
    fn: int
    precision: float
    recall: float
    f1: float
    accuracy: float  # TP / (TP + FP + FN)
    found_per_true: float
    ap50: float  # COCO, 101 points
    ap50_trapezoid: float
    ap: float  # COCO, mean over IoU .50 to .95
    count_mae: float  # mean |found - true| per image
    count_mape: float  # mean |found - true| / true over images that hold any, in per cent
    count_bias: float  # mean of found - true
    count_low: float  # limits of agreement: bias -+ 1.96 standard deviations
    count_high: float


@dataclass(frozen=True, slots=True)
class Figures:
    """An evaluation at one IoU, or of points at one distance."""

    iou: float  # least overlap of a hit; of points the largest distance in px
    images: int
    rows: tuple[Row, ...]  # the classes, then all
    confusion: NDArray[np.int64]  # (K + 1, K + 1): true by found, the last row and column are nothing
    notes: tuple[str, ...]
    matching: str = COCO
    measure: str = "boxes"
    sizes: tuple[SizeRow, ...] = ()
    masks: tuple[MaskFit, ...] = ()
    reliability: tuple[Reliability, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the classes."""
        return tuple(row.name for row in self.rows[:-1])

    def table(self) -> dict[str, Any]:
        """Return the figures as plain values; a figure that does not exist is None."""
        return {
            "iou": self.iou, "images": self.images, "matching": self.matching, "measure": self.measure,
            "rows": [_plain(row) for row in self.rows], "classes": list(self.names),
            "confusion": self.confusion.tolist(), "sizes": [_plain(row) for row in self.sizes],
            "masks": [_plain(row) for row in self.masks], "calibration": [_plain(row) for row in self.reliability],
            "notes": list(self.notes),
        }  # fmt: skip


def _plain(row: Any) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in asdict(row).items()}


def figures(
    both: Compared, iou: float = 0.5, *, matching: str = COCO, sizes: Sequence[float] = (), masks: bool = False
) -> Figures:
    """Evaluate results against truth; of points `iou` is the largest distance in px.

    matching: COCO, or BEST_IOU for the counts alone: average precision is always COCO's. sizes: bounds in um between
    bins of size. masks: read the outlines of hits.
    """
    names, measure = both.classes, both.measure
    marks = [iou] if both.points else np.unique(np.append(COCO_IOUS, iou))
    whole = evaluate(both.true, both.found, names, measure=measure, thresholds=marks, judge_at=iou)
    seen = whole.verdicts
    half = seen if iou == 0.5 or both.points else verdicts(both.true, both.found, len(names), 0.5)
    judged = best_verdicts(both.true, both.found, len(names), iou) if matching == BEST_IOU else seen
    counts, tallies = _counts(both, judged), _tallies(judged)
    rows = []
    for k, name in enumerate(names):
        row = _row(name, tallies[:, k], _areas(whole, half, [k], both), counts[:, :, k])
        rows.append(_recall_alone(row) if name in both.incomplete else row)
    whole_ones = [k for k, name in enumerate(names) if name not in both.incomplete]
    areas = _areas(whole, half, whole_ones, both)
    rows.append(_row(ALL, tallies[:, whole_ones].sum(1), areas, counts[:, :, whole_ones].sum(axis=2)))
    return Figures(
        iou, len(both.images), tuple(rows), whole.confusion.counts, both.notes, matching, measure,
        size_rows(both, iou, sizes) if sizes and not both.points else (),
        mask_fits(both, judged) if masks and not both.points else (), reliabilities(judged, names),
    )  # fmt: skip


def _areas(whole: Evaluation, seen: Verdicts, classes: Sequence[int], both: Compared) -> tuple[float, float, float]:
    """Return AP50, the trapezoid's and AP of some classes taken together, the first and last as pycocotools does."""
    precision = whole.curves.precision[:, :, list(classes), 0, -1]
    if both.points:
        return math.nan, math.nan, mean_present(precision)
    coco = [int(np.flatnonzero(whole.thresholds == t)[0]) for t in COCO_IOUS]
    under = [v for v in (trapezoid(seen, k) for k in classes) if not math.isnan(v)]
    return (
        mean_present(precision[coco[:1]]),
        float(np.mean(under)) if under else math.nan,
        mean_present(precision[coco]),
    )


def _tallies(seen: Verdicts) -> NDArray[np.int64]:
    """Return (3, classes): hits, false positives, missed."""
    of = (
        (seen.found_classes, seen.hits[:, 0]),
        (seen.found_classes, seen.false_positives),
        (seen.true_classes, seen.missed),
    )
    return np.array([np.bincount(classes[rows], minlength=seen.n_classes) for classes, rows in of], np.int64)


def _counts(both: Compared, seen: Verdicts) -> NDArray[np.int64]:
    """Return (2, images, classes): how many cells are true, and found, of those that count."""
    out = np.zeros((2, len(both.images), len(both.classes)), np.int64)
    true = ~both.true.ignored
    judged = np.concatenate([seen.hits[:, 0], seen.false_positives])
    np.add.at(out[0], (both.true.images[true], both.true.classes[true]), 1)
    np.add.at(out[1], (both.found.images[judged], both.found.classes[judged]), 1)
    return out


def _row(name: str, tally: NDArray[np.int64], areas: tuple[float, float, float], counts: NDArray[np.int64]) -> Row:
    tp, fp, fn = (int(n) for n in tally)
    true, found = counts.astype(np.float64)
    miss = found - true
    some = true > 0
    spread = 1.96 * float(miss.std(ddof=1)) if len(miss) > 1 else float("nan")
    n_true, n_found = int(counts[0].sum()), int(counts[1].sum())
    return Row(
        name, n_true, n_found, tp, fp, fn, _share(tp, tp + fp), _share(tp, tp + fn), _share(2 * tp, 2 * tp + fp + fn),
        _share(tp, tp + fp + fn), _share(n_found, n_true), *areas, float(np.abs(miss).mean()),
        float(100 * np.mean(np.abs(miss[some]) / true[some])) if some.any() else float("nan"), float(miss.mean()),
        float(miss.mean() - spread), float(miss.mean() + spread),
    )  # fmt: skip


def _recall_alone(row: Row) -> Row:
    """Blank what is not known of a class whose truth is incomplete."""
    known = ("name", "true", "found", "tp", "fp", "fn", "recall")
    blank: dict[str, Any] = {f.name: math.nan for f in fields(Row) if f.name not in known}
    return replace(row, **blank)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def names_of_rows() -> Sequence[str]:
    """Return the columns of a row, in order."""
    return [f.name for f in fields(Row)]
