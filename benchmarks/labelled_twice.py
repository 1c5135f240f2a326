"""How well labels agree with each other: pictures that a data set holds twice, labelled twice, and a model beside them.

`python -m benchmarks.labelled_twice --json` finds the TXL fields that are one picture at two sizes, lays their labels
over each other, and holds one set against the other as if it had been found: F1 at rising overlaps, how far edges lie
apart, and how far counts do. A model that was taught by such labels stands beside them, on the same pictures. What
labels do not agree about no model can learn, and one that agrees better with labels than they do with each other has
learned their mean.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks import record
from benchmarks.accuracy import cells_of, figure
from pbsbatch import engines, models
from pbsbatch.datasets.duplicates import same_pictures
from pbsbatch.datasets.pixels import resized
from pbsbatch.datasets.readers import DataSet, read
from pbsbatch.datasets.samples import CLASSES, Sample
from pbsbatch.evaluate import fields_found, fields_truth, verdicts
from pbsbatch_kernels.matching import COCO_IOUS

SIDE = 208
"""Of the pictures that are held against each other pixel by pixel."""
ONE = 0.97
"""Correlation of two pictures that are one, neither shifted nor turned: such as are shifted by 2 px have less."""
F64 = NDArray[np.float64]
Set = Sequence[tuple[F64, NDArray[np.uint8]]]
"""Boxes and classes, field by field, as shares of the picture's sides."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smear")
    parser.add_argument("--json", action="store_true", help="print one JSON object (the default prints it too)")
    parser.add_argument("--no-record", action="store_true", help="do not append to benchmarks/results")
    asked = parser.parse_args()
    data = record.data_folder()
    if data is None:
        raise SystemExit("no labelled fields: set PBSBATCH_DATA to their folder")
    pairs = list(twice(data))
    rows = [against("the other labels", pairs, [marked(b) for _, b in pairs], [marked(a) for a, _ in pairs])]
    model = models.load(asked.model)
    engine = engines.load(model)
    for title, kept in (("learned from", "train"), ("not learned from", "val")):
        fields = [(a, b) for a, b in pairs if a.name in names(data, kept)]
        seen = [found(cells_of(model, engine, each, "labels"), each) for pair in fields for each in pair]
        labels = [marked(each) for pair in fields for each in pair]
        rows.append(against(f"{model.spec.name} {model.spec.version}, fields {title}", fields, labels, seen))
    engine.close()
    if not asked.no_record:
        record.append("labelled_twice", rows)
    record.show({"rows": rows})


def names(data: Path, split: str) -> set[str]:
    return {s.name for s in read(DataSet(data / "txl", "yolo", split))[0]}


def twice(data: Path) -> Iterator[tuple[Sample, Sample]]:
    """Yield the fields of one split that are one picture, the smaller first."""
    for split in ("train", "val"):
        fields, _ = read(DataSet(data / "txl", "yolo", split))
        small = [resized(f.image, (SIDE, SIDE)) for f in fields]
        for i, j in same_pictures(small):
            if fields[i].size != fields[j].size and like(small[i], small[j]) >= ONE:
                a, b = sorted((fields[i], fields[j]), key=lambda f: f.size)
                yield a, b


def like(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Return the correlation of two pictures as they lie."""
    one, two = (cv2.cvtColor(p, cv2.COLOR_RGB2GRAY).astype(np.float64).ravel() for p in (a, b))
    return float(np.corrcoef(one, two)[0, 1])


def marked(field: Sample) -> tuple[F64, NDArray[np.uint8]]:
    """Return a field's labels."""
    return field.boxes / np.tile(np.array(field.size, np.float64), 2), field.classes


def found(cells: Any, field: Sample) -> tuple[F64, NDArray[np.uint8]]:
    """Return the cells that a model reports."""
    assert cells is not None
    return np.clip(cells.boxes / np.tile(np.array(field.size, np.float64), 2), 0, 1), cells.classes


def against(title: str, pairs: Sequence[tuple[Sample, Sample]], true: Set, seen: Set) -> dict[str, Any]:
    """Return one row: how well what was seen agrees with what is true."""
    truth = fields_truth([b for b, _ in true], [c for _, c in true])
    cells = fields_found([b for b, _ in seen], [c for _, c in seen], [np.ones(len(c)) for _, c in seen])
    at = {round(float(t), 2): verdicts(truth, cells, len(CLASSES), float(t)) for t in COCO_IOUS}
    row: dict[str, Any] = {"held_against_labels": title, "pictures": len(pairs), "fields": len(true)}
    for k, name in enumerate(CLASSES):
        f1 = {t: float(v.at([0.0]).f1[k, 0]) for t, v in at.items()}
        row[f"{name}_cells"] = int((truth.classes == k).sum())
        row |= {f"{name}_f1_at_{t:.2f}": figure(f1[t]) for t in (0.5, 0.75, 0.9)}
        row[f"{name}_f1_mean"] = figure(np.mean(list(f1.values())))
    counts = [(int((c == 0).sum()), int((d == 0).sum())) for (_, c), (_, d) in zip(seen, true, strict=True)]
    row["rbc_mape"] = figure(np.mean([abs(a - b) / b for a, b in counts if b]))
    return row | {"rbc_edge_scatter_pct": scatter(at[0.5].hits, true, seen)}


def scatter(hits: NDArray[np.int64], true: Set, seen: Set) -> float:
    """Return the robust spread of what edges of red cells lie apart, in percent of the cell's own side."""
    one = np.concatenate([b for b, _ in seen])[hits[:, 0]]
    kinds = np.concatenate([c for _, c in true])[hits[:, 1]]
    two = np.concatenate([b for b, _ in true])[hits[:, 1]]
    apart = ((one - two) / np.tile(two[:, 2:] - two[:, :2], 2))[kinds == 0]
    return round(148.26 * float(np.median(np.abs(apart - np.median(apart, 0)))), 2)


if __name__ == "__main__":
    main()
