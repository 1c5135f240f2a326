"""Hold what was found against the labels: average precision, and how far counts are off.

Laws. Average precision is COCO's. A threshold is a logit, chosen once for each class over all fields, where F1 is
best; precision, recall and counts are taken there, also those of one source.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pbsbatch.datasets.samples import CLASSES, names_of
from pbsbatch.evaluate import Verdicts, detection_ap, fields_found, fields_truth, verdicts
from pbsbatch.train.detect import Cells
from pbsbatch.train.fields import Loaded

__all__ = ["ClassReport", "Report", "count_error", "fates", "judge"]

EVEN = 0.0
"""Logit of an even chance."""
SLACK = 0.005
"""Of F1: cuts that are no worse than that are as good as the best, and among them counts decide."""


@dataclass(frozen=True, slots=True)
class ClassReport:
    """One class. None: there is no truth, or nothing right was found, so that no threshold is the best."""

    cells: int
    ap50: float | None
    ap: float | None
    threshold: float | None  # logit
    precision: float | None
    recall: float | None
    f1: float | None
    count_error: float | None  # mean of |found - true| / true over the fields that have such cells


@dataclass(frozen=True, slots=True)
class Report:
    """All fields, or those of one source."""

    fields: int
    map50: float
    map: float
    classes: dict[str, ClassReport]
    sources: dict[str, Report]

    def table(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def judge(fields: Sequence[Loaded], found: Sequence[Cells]) -> Report:
    """Return how good the cells found are, in all and by source."""
    names = names_of(fields)
    seen = fates(fields, found, len(names))
    cuts = {name: _threshold(seen, kind) for kind, name in enumerate(names)}
    parts: dict[str, Report] = {}
    sources = sorted({f.source for f in fields})
    for source in sources if len(sources) > 1 else ():
        own = [i for i, f in enumerate(fields) if f.source == source]
        parts[source] = _report([fields[i] for i in own], [found[i] for i in own], cuts, {})
    return _report(fields, found, cuts, parts)


def _threshold(seen: Verdicts, kind: int) -> float:
    """Return the cut at which as many cells are found as there are, of those whose F1 is as good as the best.

    Where several are, an even chance if it lies among them, else their middle; NaN if nothing right was found. The best
    F1 itself is a chance of these fields, while a count that leans to one side leans on every slide. Cuts reach down to
    the next cell below: a cut that is the worst right cell's own score, .94 for white cells, lost the next worse one.
    """
    own = np.sort(seen.scores[seen.found_classes == kind])
    cuts = np.unique(seen.scores[seen.hits[seen.found_classes[seen.hits[:, 0]] == kind, 0]])
    if not len(cuts):
        return math.nan
    at = seen.at([*cuts, EVEN])
    lean = np.where(at.f1[kind] >= at.f1[kind].max() - SLACK, np.abs(at.fp[kind] - at.fn[kind]), np.inf)
    if lean[-1] == lean.min():
        return EVEN
    good = cuts[lean[:-1] == lean.min()]
    below = own[own < good[0]]
    return float((below[-1] if len(below) else good[0]) + good[-1]) / 2


def fates(fields: Sequence[Loaded], found: Sequence[Cells], classes: int = len(CLASSES)) -> Verdicts:
    """Return which cells found are labelled ones, at an IoU of 0.5; their scores are logits."""
    true = fields_truth([f.boxes for f in fields], [f.classes for f in fields])
    cells = fields_found([c.boxes for c in found], [c.classes for c in found], [c.logits for c in found])
    return verdicts(true, cells, classes)


def _report(
    fields: Sequence[Loaded], found: Sequence[Cells], cuts: Mapping[str, float], parts: dict[str, Report]
) -> Report:
    ap = detection_ap(
        [f.boxes for f in fields], [f.classes for f in fields],
        [c.boxes for c in found], [c.classes for c in found], [c.logits for c in found], len(cuts),
    )  # fmt: skip
    seen = fates(fields, found, len(cuts))
    rows: dict[str, ClassReport] = {}
    for kind, (name, cut) in enumerate(cuts.items()):
        aps = _or_none(ap.ap50_per_class[kind]), _or_none(ap.ap_per_class[kind])
        cells = int((seen.true_classes == kind).sum())
        if math.isnan(cut):
            rows[name] = ClassReport(cells, *aps, None, None, None, None, None)
            continue
        at = seen.at([cut])
        precision, recall, f1 = (_or_none(r[kind, 0]) for r in (at.precision, at.recall, at.f1))
        off = count_error(fields, found, kind, cut)
        rows[name] = ClassReport(cells, *aps, cut, precision, recall, f1, off)
    if math.isnan(ap.ap):
        raise ValueError("there is no cell in the fields to judge by")
    return Report(len(fields), ap.ap50, ap.ap, rows, parts)


def count_error(fields: Sequence[Loaded], found: Sequence[Cells], kind: int, cut: float) -> float | None:
    """Return the mean of |found - true| / true over the fields that have cells of a kind; None if none has."""
    errors = []
    for field, cells in zip(fields, found, strict=True):
        true = int((field.classes == kind).sum())
        counted = int(((cells.classes == kind) & (cells.logits >= cut)).sum())
        if true:
            errors.append(abs(counted - true) / true)
    return float(np.mean(errors)) if errors else None


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
