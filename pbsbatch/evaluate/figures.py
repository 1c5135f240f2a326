"""The figures of an evaluation as one table: a row for each class and one for all, with counting errors per image.

Laws. Rates without a denominator are NaN and shown blank. Average precision is COCO's (101 points) and, beside it, the
area under the precision-recall curve by the trapezoid rule, each under its own name.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbsbatch.evaluate.evaluation import evaluate
from pbsbatch.evaluate.labels import Compared
from pbsbatch.evaluate.verdicts import Verdicts, verdicts
from pbsbatch_kernels.matching import COCO_IOUS

__all__ = ["ALL", "Figures", "Row", "figures", "intervals"]

ALL = "all"


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
    """An evaluation at one IoU."""

    iou: float
    images: int
    rows: tuple[Row, ...]  # the classes, then all
    confusion: NDArray[np.int64]  # (K + 1, K + 1): true by found, the last row and column are nothing
    notes: tuple[str, ...]

    def table(self) -> dict[str, Any]:
        """Return the figures as plain values; a figure that does not exist is None."""
        return {
            "iou": self.iou, "images": self.images, "rows": [_plain(row) for row in self.rows],
            "confusion": self.confusion.tolist(), "notes": list(self.notes),
        }  # fmt: skip


def _plain(row: Row) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in asdict(row).items()}


def figures(both: Compared, iou: float = 0.5) -> Figures:
    """Evaluate results against truth."""
    names = both.classes
    thresholds = np.unique(np.append(COCO_IOUS, iou))
    whole = evaluate(both.true, both.found, names, thresholds=thresholds, judge_at=iou)
    coco = [float(t) for t in COCO_IOUS]
    seen = whole.verdicts
    points = seen.at(-np.inf)
    counts = _counts(both)
    rows = []
    for k, name in enumerate(names):
        ap = float(np.mean([whole.ap(at=t, name=name) for t in coco]))
        tp, fp, fn = (int(a[k, 0]) for a in (points.tp, points.fp, points.fn))
        rows.append(_row(name, tp, fp, fn, whole.ap(at=0.5, name=name), trapezoid(seen, k), ap, counts[:, :, k]))
    present = [r for r in rows if r.true]
    total = points.total()
    tp, fp, fn = (int(a[0, 0]) for a in (total.tp, total.fp, total.fn))
    means = [np.mean([getattr(r, n) for r in present]) if present else np.nan for n in ("ap50", "ap50_trapezoid", "ap")]
    rows.append(_row(ALL, tp, fp, fn, float(means[0]), float(means[1]), float(means[2]), counts.sum(axis=2)))
    return Figures(iou, len(both.images), tuple(rows), whole.confusion.counts, both.notes)


def _counts(both: Compared) -> NDArray[np.int64]:
    """Return (2, images, classes): how many cells are true, and found."""
    out = np.zeros((2, len(both.images), len(both.classes)), np.int64)
    np.add.at(out[0], (both.true.images, both.true.classes), 1)
    np.add.at(out[1], (both.found.images, both.found.classes), 1)
    return out


def _row(name: str, tp: int, fp: int, fn: int, ap50: float, area: float, ap: float, counts: NDArray[np.int64]) -> Row:
    true, found = counts.astype(np.float64)
    miss = found - true
    some = true > 0
    spread = 1.96 * float(miss.std(ddof=1)) if len(miss) > 1 else float("nan")
    return Row(
        name, tp + fn, tp + fp, tp, fp, fn, _share(tp, tp + fp), _share(tp, tp + fn), _share(2 * tp, 2 * tp + fp + fn),
        _share(tp, tp + fp + fn), _share(tp + fp, tp + fn), ap50, area, ap, float(np.abs(miss).mean()),
        float(100 * np.mean(np.abs(miss[some]) / true[some])) if some.any() else float("nan"), float(miss.mean()),
        float(miss.mean() - spread), float(miss.mean() + spread),
    )  # fmt: skip


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def trapezoid(seen: Verdicts, k: int) -> float:
    """Return the area under class k's curve of precision over recall, from recall 0 to the highest reached."""
    hits = seen.hits[seen.found_classes[seen.hits[:, 0]] == k, 0]
    wrong = seen.false_positives[seen.found_classes[seen.false_positives] == k]
    true = len(hits) + int((seen.true_classes[seen.missed] == k).sum())
    if true == 0:
        return float("nan")
    rows = np.concatenate([hits, wrong])
    right = np.concatenate([np.ones(len(hits)), np.zeros(len(wrong))])
    order = np.argsort(-seen.scores[rows], kind="stable")
    tp = np.cumsum(right[order])
    precision, recall = tp / np.arange(1, len(rows) + 1), tp / true
    if len(rows) == 0:
        return 0.0
    return float(np.trapezoid(np.append(precision[0], precision), np.append(0.0, recall)))


def intervals(both: Compared, iou: float, rounds: int, seed: int = 0) -> dict[str, dict[str, tuple[float, float]]]:
    """Return 95 % intervals of precision, recall and F1 by drawing images with replacement.

    Images are matched once: a match never crosses them.
    """
    seen = verdicts(both.true, both.found, len(both.classes), iou)
    n, k = len(both.images), len(both.classes)
    per_image = np.zeros((3, n, k), np.int64)
    hit, false = seen.hits[:, 0], seen.false_positives
    np.add.at(per_image[0], (both.found.images[hit], both.found.classes[hit]), 1)
    np.add.at(per_image[1], (both.found.images[false], both.found.classes[false]), 1)
    np.add.at(per_image[2], (both.true.images[seen.missed], both.true.classes[seen.missed]), 1)
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=rounds)
    tp, fp, fn = np.einsum("ri,cik->crk", drawn, per_image).astype(np.float64)
    columns: list[tuple[str, Any]] = [(name, i) for i, name in enumerate(both.classes)]
    out: dict[str, dict[str, tuple[float, float]]] = {}
    for name, i in [*columns, (ALL, None)]:
        a, b, c = (x.sum(1) if i is None else x[:, i] for x in (tp, fp, fn))
        with np.errstate(invalid="ignore"):
            rates = {"precision": a / (a + b), "recall": a / (a + c), "f1": 2 * a / (2 * a + b + c)}
        out[name] = {rate: _quantiles(values) for rate, values in rates.items()}
    return out


def _quantiles(values: NDArray[np.float64]) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    if len(known) == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)


def names_of_rows() -> Sequence[str]:
    """Return the columns of a row, in order."""
    return [f.name for f in fields(Row)]
