"""Where a detector's errors come from: what average precision would be if one kind of error were mended by an oracle.

`python -m benchmarks.error_sources --json` takes what a run finds in the fields of TXL val, laboratory by laboratory,
and mends it by the labels, one thing at a time: exact boxes, the right order, no double, no cell of another class, no
false find, no missed cell. Beside that: where red cells are missed and falsely found, how far edges of whole cells lie
from the labelled ones, and how far from those that the same network says of the field turned by half: its own share.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import record
from benchmarks.accuracy import cells_of, figure, sets, thresholds, wide_open
from pbsbatch import engines, models
from pbsbatch.datasets.samples import CLASSES, Sample, encode
from pbsbatch.detections import Detections
from pbsbatch.engines.base import Engine
from pbsbatch.evaluate import detection_ap, fields_found, fields_truth, verdicts
from pbsbatch.models.base import Model

CUT = 0.02
"""Of a red cell's diameter: a box that comes so near the field's border is cut there."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field's labels and what was found in it."""

    boxes: NDArray[np.float64]
    classes: NDArray[np.int64]
    scores: NDArray[np.float64]
    sample: Sample

    def overlaps(self) -> NDArray[np.float64]:
        """Return the IoU of every cell found with every label, whatever their classes."""
        return iou(self.boxes, self.sample.boxes.astype(np.float64))

    def fates(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return for each cell found the label that it hits, and the labels that none hits; -1 where it hits none."""
        true = fields_truth([self.sample.boxes], [self.sample.classes])
        seen = verdicts(true, fields_found([self.boxes], [self.classes], [self.scores]), len(CLASSES))
        hit = np.full(len(self.boxes), -1)
        hit[seen.hits[:, 0]] = seen.hits[:, 1]
        return hit, seen.missed

    def only(self, rows: NDArray[Any]) -> Field:
        return replace(self, boxes=self.boxes[rows], classes=self.classes[rows], scores=self.scores[rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smear")
    parser.add_argument("--json", action="store_true", help="print one JSON object (the default prints it too)")
    parser.add_argument("--no-record", action="store_true", help="do not append to benchmarks/results")
    asked = parser.parse_args()
    data = record.data_folder()
    if data is None:
        raise SystemExit("no labelled fields: set PBSBATCH_DATA to their folder")
    model = wide_open(models.load(asked.model))
    engine = engines.load(model)
    samples = dict(sets([], 0, data))["txl-val"]
    fields = [seen(model, engine, s) for s in samples]
    turned = [back(seen(model, engine, half_turned(s)), s) for s in samples]
    engine.close()
    cuts = np.array(thresholds(model))
    rows = []
    for source in (*sorted({s.source for s in samples}), "all"):
        chosen = [i for i, s in enumerate(samples) if source in (s.source, "all")]
        row = {"model": model.spec.name, "version": model.spec.version, "source": source, "fields": len(chosen)}
        own = [fields[i] for i in chosen]
        rows.append(row | mended(own) | places(own, cuts) | edges(own, [turned[i] for i in chosen], cuts))
    if not asked.no_record:
        record.append("error_sources", rows)
    record.show({"rows": rows})


def seen(model: Model, engine: Engine, sample: Sample) -> Field:
    cells = cells_of(model, engine, sample, "labels") or Detections.empty()
    inside = np.clip(cells.boxes.astype(np.float64), 0, np.tile(sample.size, 2))
    return Field(inside, cells.classes.astype(np.int64), cells.scores.astype(np.float64), sample)


def half_turned(sample: Sample) -> Sample:
    return replace(sample, encoded=encode(np.ascontiguousarray(sample.image[::-1, ::-1])))


def back(field: Field, sample: Sample) -> Field:
    """Return what was found in a field turned by half as it lies in the field."""
    return replace(field, boxes=(np.tile(sample.size, 2) - field.boxes)[:, [2, 3, 0, 1]], sample=sample)


def iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = (high - low).clip(0).prod(2)
    return np.asarray(both / ((a[:, 2:] - a[:, :2]).prod(1)[:, None] + (b[:, 2:] - b[:, :2]).prod(1) - both + 1e-9))


def mended(fields: Sequence[Field]) -> dict[str, float]:
    """Return average precision as it is and with one kind of error mended."""
    out: dict[str, float] = {}
    for title, mend in MENDS.items():
        now = [mend(f) for f in fields]
        ap = detection_ap(
            [f.sample.boxes for f in now], [f.sample.classes for f in now], [f.boxes for f in now],
            [f.classes for f in now], [f.scores for f in now], len(CLASSES),
        )  # fmt: skip
        out |= {f"{title}_ap50": figure(ap.ap50), f"{title}_ap": figure(ap.ap)}
    return out


def exact(field: Field) -> Field:
    hit, _ = field.fates()
    right = hit >= 0
    boxes = field.boxes.copy()
    boxes[right] = field.sample.boxes[hit[right]]
    return replace(field, boxes=boxes)


def ordered(field: Field) -> Field:
    """What fits better scores better."""
    hit, _ = field.fates()
    right = hit >= 0
    fit = np.zeros(len(hit))
    fit[right] = field.overlaps()[right, hit[right]]
    return replace(field, scores=fit)


def unless(field: Field, own_class: bool) -> Field:
    """Leave out false finds that lie on a label, of their class or of another."""
    hit, _ = field.fates()
    same = field.classes[:, None] == field.sample.classes[None]
    on = (field.overlaps() * (same == own_class) >= 0.5).any(1)
    return field.only((hit >= 0) | ~on)


def all_right(field: Field) -> Field:
    return field.only(field.fates()[0] >= 0)


def none_missed(field: Field) -> Field:
    _, missed = field.fates()
    return replace(
        field, boxes=np.concatenate([field.boxes, field.sample.boxes[missed]]),
        classes=np.concatenate([field.classes, field.sample.classes[missed]]),
        scores=np.concatenate([field.scores, np.ones(len(missed))]),
    )  # fmt: skip


MENDS = {
    "as_it_is": lambda f: f, "exact_boxes": exact, "right_order": ordered, "no_doubles": lambda f: unless(f, True),
    "no_other_class": lambda f: unless(f, False), "none_false": all_right, "none_missed": none_missed,
    "none_false_or_missed": lambda f: none_missed(all_right(f)),
}  # fmt: skip


def at_border(boxes: NDArray[Any], sample: Sample) -> NDArray[np.bool_]:
    near = CUT * sample.red_cell_px
    cut = (boxes[:, :2] <= near).any(1) | (boxes[:, 2:] >= np.array(sample.size) - near).any(1)
    return np.asarray(cut, np.bool_)


def reported(field: Field, cuts: NDArray[np.float64]) -> Field:
    return field.only(field.scores >= cuts[field.classes])


def places(fields: Sequence[Field], cuts: NDArray[np.float64]) -> dict[str, int]:
    """Return how many red cells are missed and falsely found, at a field's border and inside."""
    out = dict.fromkeys(("missed_cut", "missed_whole", "false_cut", "false_whole"), 0)
    for field in (reported(f, cuts) for f in fields):
        hit, missed = field.fates()
        lost = field.sample.boxes[missed[field.sample.classes[missed] == 0]]
        false = field.boxes[(hit < 0) & (field.classes == 0)]
        for title, boxes in (("missed", lost), ("false", false)):
            cut = at_border(boxes, field.sample)
            out[f"{title}_cut"] += int(cut.sum())
            out[f"{title}_whole"] += int((~cut).sum())
    return out


def edges(fields: Sequence[Field], turned: Sequence[Field], cuts: NDArray[np.float64]) -> dict[str, float]:
    """Return how far edges of whole cells lie from the labelled ones and, by a root of two, from the other view's."""
    apart: dict[tuple[str, int], list[NDArray[np.float64]]] = {}
    for one, two in zip(fields, turned, strict=True):
        field = reported(one, cuts)
        hit, _ = field.fates()
        rows = np.flatnonzero((hit >= 0) & ~at_border(field.boxes, field.sample))
        other = iou(field.boxes, two.boxes) * (field.classes[:, None] == two.classes[None])
        for i in rows:
            side = np.tile(field.boxes[i, 2:] - field.boxes[i, :2], 2)
            kind = int(field.classes[i])
            apart.setdefault(("labels", kind), []).append((field.boxes[i] - field.sample.boxes[hit[i]]) / side)
            if other.shape[1] and other[i].max() >= 0.5:
                said = two.boxes[other[i].argmax()]
                apart.setdefault(("itself", kind), []).append((field.boxes[i] - said) / side / np.sqrt(2))
    return {
        f"{name}_edges_from_{what}_pct": round(148.26 * float(np.median(np.abs(np.array(apart[what, k])))), 2)
        for k, name in enumerate(CLASSES) for what in ("labels", "itself") if (what, k) in apart
    }  # fmt: skip


if __name__ == "__main__":
    main()
