"""How well cells are found when nothing tells the magnification: fields at many sizes, in grids and in composites.

`python -m benchmarks.magnification --json` resizes labelled fields so that their red cells measure 14 to 200 px, pastes
fields into grids of 2 x 2 and 3 x 3 resized to one field, and beside each other at 0.5, 1 and 1.5 times their size; all
through the path of a run that is told no scale. F1 is at an IoU of 0.5 and the model's own thresholds. Published on
such grids: detectors of one scale fall from .95 to .18-.80.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np

from benchmarks import record
from benchmarks.accuracy import cells_of, figure
from pbsbatch import engines, models
from pbsbatch.datasets.readers import DataSet, read
from pbsbatch.datasets.samples import CLASSES, Sample, encode
from pbsbatch.detections import Detections
from pbsbatch.engines.base import Engine
from pbsbatch.evaluate import fields_found, fields_truth, verdicts
from pbsbatch.models.base import Model

DIAMETERS = (14, 20, 29, 42, 60, 85, 120, 160, 200)
MIN_SIDE_PX = 2.0
"""What a resized box must keep of each side to be counted."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smear")
    parser.add_argument("--fields", type=int, default=36, help="of each kind of image")
    parser.add_argument("--json", action="store_true", help="print one JSON object (the default prints it too)")
    parser.add_argument("--no-record", action="store_true", help="do not append to benchmarks/results")
    asked = parser.parse_args()
    data = record.data_folder()
    if data is None:
        raise SystemExit("no labelled fields: set PBSBATCH_DATA to their folder")
    val, _ = read(DataSet(data / "txl", "yolo", "val"))
    fields = [val[i] for i in np.random.default_rng(0).permutation(len(val))[: asked.fields]]
    model = models.load(asked.model)
    engine = engines.load(model)
    rows = [judge(model, engine, title, images) for title, images in kinds(fields)]
    engine.close()
    if not asked.no_record:
        record.append("magnification", rows)
    record.show({"rows": rows})


def kinds(fields: Sequence[Sample]) -> Iterator[tuple[str, list[Sample]]]:
    """Yield the images of each kind by its title."""
    for diameter in DIAMETERS:
        yield f"red cells of {diameter} px", [resized(f, diameter / f.red_cell_px) for f in fields]
    for n in (1, 2, 3):
        groups = [pick(fields, i, n * n) for i in range(len(fields))]
        yield f"grid {n} x {n}", [grid(group, n) for group in groups]
    yield "0.5, 1 and 1.5 times beside each other", [mixed(pick(fields, i, 3)) for i in range(len(fields))]


def pick(fields: Sequence[Sample], first: int, count: int) -> list[Sample]:
    return [fields[(first + k) % len(fields)] for k in range(count)]


def resized(field: Sample, zoom: float) -> Sample:
    """Return a field so many times larger."""
    width, height = (max(8, round(n * zoom)) for n in field.size)
    how = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
    return laid([(np.asarray(cv2.resize(field.image, (width, height), interpolation=how), np.uint8), field)], [(0, 0)])


def grid(fields: Sequence[Sample], n: int) -> Sample:
    """Return n x n fields, each resized to the n-th part of the first one's width and height."""
    wide, tall = fields[0].size[0] // n, fields[0].size[1] // n
    parts = [(np.asarray(cv2.resize(f.image, (wide, tall), interpolation=cv2.INTER_AREA), np.uint8), f) for f in fields]
    return laid(parts, [(k % n * wide, k // n * tall) for k in range(n * n)])


def mixed(fields: Sequence[Sample]) -> Sample:
    """Return three fields whose red cells measure 30, 60 and 90 px beside each other."""
    parts, places, x = [], [], 0
    for field, diameter in zip(fields, (30.0, 60.0, 90.0), strict=True):
        one = resized(field, diameter / field.red_cell_px)
        parts.append((one.image, field))
        places.append((x, 0))
        x += one.size[0]
    return laid(parts, places)


def laid(parts: Sequence[tuple[np.ndarray, Sample]], places: Sequence[tuple[int, int]]) -> Sample:
    """Return one image of resized fields at their places, with all their labels."""
    width = max(x + p.shape[1] for (p, _), (x, _) in zip(parts, places, strict=True))
    height = max(y + p.shape[0] for (p, _), (_, y) in zip(parts, places, strict=True))
    image = np.full((height, width, 3), 255, np.uint8)
    boxes, classes = [], []
    for (pixels, field), (x, y) in zip(parts, places, strict=True):
        image[y : y + pixels.shape[0], x : x + pixels.shape[1]] = pixels
        zoom = np.array([pixels.shape[1] / field.size[0], pixels.shape[0] / field.size[1]] * 2, np.float32)
        boxes.append(field.boxes * zoom + np.array([x, y, x, y], np.float32))
        classes.append(field.classes)
    joined, kinds_of = np.concatenate(boxes), np.concatenate(classes)
    kept = ((joined[:, 2:] - joined[:, :2]) >= MIN_SIDE_PX).all(1)
    first = parts[0][1]
    return Sample(
        name=first.name, source=first.source, encoded=encode(image), size=(width, height), boxes=joined[kept],
        classes=kinds_of[kept], outlines=np.full((int(kept.sum()), 32), np.nan, np.float32),
        unsure=np.zeros((0, 4), np.float32), red_cell_px=float("nan"),
    )  # fmt: skip


def judge(model: Model, engine: Engine, title: str, images: Sequence[Sample]) -> dict[str, Any]:
    """Return one row: F1 by class over all images."""
    found = [cells_of(model, engine, image, "estimated") for image in images]
    cells = [c if c is not None else Detections.empty() for c in found]
    verdict = verdicts(
        fields_truth([s.boxes for s in images], [s.classes for s in images]),
        fields_found([c.boxes for c in cells], [c.classes for c in cells], [c.scores for c in cells]), len(CLASSES),
    ).at([0.0])  # fmt: skip
    tp, fp, fn = (float(getattr(verdict, name)[:, 0].sum()) for name in ("tp", "fp", "fn"))
    row: dict[str, Any] = {
        "model": model.spec.name, "version": model.spec.version, "digest": model.spec.digest[:12],
        "engine": engine.name, "precision": engine.precision, "images": title, "count": len(images),
        "unmeasured": sum(c is None for c in found), "f1": figure(2 * tp / max(1.0, 2 * tp + fp + fn)),
    }  # fmt: skip
    return row | {f"{name}_f1": figure(verdict.f1[k, 0]) for k, name in enumerate(CLASSES)}


if __name__ == "__main__":
    main()
