"""Detection through the path of a run: CBC fields raw and tuned, and composites of known magnification."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy import cbc_unseen, cells_of, figure, thresholds, wide_open
from pbsbatch import engines, models
from pbsbatch.datasets.compose import ComposeSpec, Composite, Source, load_source
from pbsbatch.datasets.readers import DataSet
from pbsbatch.datasets.readers.fields import class_of
from pbsbatch.datasets.samples import CLASSES, Sample, encode
from pbsbatch.detections import Detections
from pbsbatch.engines.base import Engine
from pbsbatch.evaluate import Verdicts, detection_ap, fields_found, fields_truth, verdicts
from pbsbatch.evaluate.sweep import sweep
from pbsbatch.evaluate.together import Compared
from pbsbatch.models.base import Model
from pbsbatch.models.dense import DenseModel

__all__ = ["cbc", "composites", "sample_of"]

Rows = list[dict[str, Any]]
TUNED = "best F1 of the other half"


def cbc(settings: Mapping[str, Any], data: Path, model_name: str) -> Rows:
    """Average precision of each class: of every candidate, tuned, and as shipped.

    Fields are halved by turns of their names; each half is judged at the suppression and the thresholds that have the
    best F1 on the other.
    """
    run_at = models.load(model_name)
    model = wide_open(run_at)
    engine = engines.load(model)
    fields = cbc_unseen(data, settings["splits"])[: settings["fields"] or None]
    found = _cells(model, engine, fields)
    about, grid = _about(model, engine) | {"fields": len(fields)}, {"shipped": found}
    if isinstance(model, DenseModel):
        grid |= {f"{iou:g}": _cells(model.at({}, iou), engine, fields) for iou in settings["nms_iou"]}
    engine.close()
    tuned, limits = _tuned(fields, grid)
    shipped = [_above(c, np.array(thresholds(run_at))) for c in found]
    kinds = {"none": ("shipped", found), TUNED: (limits, tuned), "shipped": ("shipped", shipped)}
    return [
        about | {"thresholds": title, "nms_iou": iou} | _precisions(fields, cells)
        for title, (iou, cells) in kinds.items()
    ]


def _cells(model: Model, engine: Engine, fields: Sequence[Sample]) -> list[Detections]:
    return [cells_of(model, engine, field, "estimated") or Detections.empty() for field in fields]


def _tuned(fields: Sequence[Sample], grid: Mapping[str, Sequence[Detections]]) -> tuple[list[Detections], str]:
    """Return each half's cells at what is best on the other half, and the suppressions that were."""
    tuned, limits = [Detections.empty()] * len(fields), []
    halves = np.arange(len(fields)) % 2
    for half in (0, 1):
        others = np.flatnonzero(halves != half)
        best = {iou: _best_cuts(_both(fields, found, others)) for iou, found in grid.items()}
        iou = max(best, key=lambda iou: best[iou][1])  # of equals the shipped one
        for i in np.flatnonzero(halves == half).tolist():
            tuned[i] = _above(grid[iou][i], best[iou][0])
        limits.append(iou)
    return tuned, " and ".join(dict.fromkeys(limits))


def _precisions(fields: Sequence[Sample], found: Sequence[Detections]) -> dict[str, Any]:
    """Return average precision, F1 of all that is kept, and the error of red cells' counts."""
    ap = detection_ap(
        [s.boxes for s in fields], [s.classes for s in fields], [c.boxes for c in found], [c.classes for c in found],
        [c.scores for c in found], len(CLASSES),
    )  # fmt: skip
    at = _fates(fields, found, np.arange(len(fields))).at([-np.inf])
    row: dict[str, Any] = {"map50": figure(ap.ap50), "map": figure(ap.ap)}
    for k, name in enumerate(CLASSES):
        row |= {f"{name}_ap50": figure(ap.ap50_per_class[k]), f"{name}_f1": figure(at.f1[k, 0])}
    return row | {"rbc_mape": _red_error(fields, found)}


def composites(settings: Mapping[str, Any], data: Path, model_name: str) -> Rows:
    """F1 and count errors on images whose magnification nothing tells, at the model's own thresholds."""
    source = load_source([DataSet(data / "txl", "yolo", "val")])
    model = models.load(model_name)
    engine = engines.load(model)
    rows = [_judge(model, engine, title, images) for title, images in _kinds(settings, source)]
    engine.close()
    return rows


def _kinds(settings: Mapping[str, Any], source: Source) -> Iterator[tuple[str, list[Sample]]]:
    """Yield the images of each kind by its title."""
    count = settings["fields"]
    for n in settings.get("grids", ()):
        spec = ComposeSpec(*settings["size"], grid=(n, n), scales=(1.0,))
        yield f"grid {n}x{n}", [sample_of(Composite(spec, source, i)) for i in range(count)]
    chosen = np.random.default_rng(0).permutation(len(source.items))[:count]
    for diameter in settings.get("diameters", ()):
        yield f"red cells of {diameter} px", [sample_of(_alone(source, int(i), diameter)) for i in chosen]
    if settings.get("mixed"):
        spec = ComposeSpec(*settings["mixed_size"], scales=tuple(settings["mixed"]), diameter=60.0, fill=0.9)
        yield "mixed magnifications", [sample_of(Composite(spec, source, i)) for i in range(count)]


def _alone(source: Source, item: int, diameter: float) -> Composite:
    """Return one field whose red cells measure so many pixels."""
    field = source.items[item]
    width, height = (max(8, round(n * diameter / field.red_cell_px)) for n in field.size)
    spec = ComposeSpec(width, height, grid=(1, 1), scales=(1.0,), diameter=diameter)
    return Composite(spec, Source(source.classes, [field]), 0)


def sample_of(scene: Composite) -> Sample:
    """Return a composite as a field; crowds are unsure places."""
    cells = [c for row in scene.cells() for c in row]
    named = [c for c in cells if not c.crowd]
    return Sample(
        name=f"composite-{scene.number}", source="composed",
        encoded=encode(scene.render(0, 0, scene.width, scene.height)), size=(scene.width, scene.height),
        boxes=np.array([c.box for c in named], np.float32).reshape(-1, 4),
        classes=np.array([class_of(scene.source.classes[c.kind]) for c in named], np.uint8),
        outlines=np.full((len(named), 32), np.nan, np.float32),
        unsure=np.array([c.box for c in cells if c.crowd], np.float32).reshape(-1, 4), red_cell_px=float("nan"),
    )  # fmt: skip


def _judge(model: Model, engine: Engine, title: str, images: Sequence[Sample]) -> dict[str, Any]:
    found = [cells_of(model, engine, image, "estimated") for image in images]
    cells = [c if c is not None else Detections.empty() for c in found]
    at = _fates(images, cells, np.arange(len(images))).at([-np.inf])
    total = at.total()
    row = _about(model, engine) | {"images": title, "count": len(images), "unmeasured": sum(c is None for c in found)}
    row |= {name: figure(getattr(total, name)[0, 0]) for name in ("precision", "recall", "f1")}
    row |= {f"{name}_f1": figure(at.f1[k, 0]) for k, name in enumerate(CLASSES)}
    return row | {"rbc_mape": _red_error(images, cells)}


def _about(model: Model, engine: Engine) -> dict[str, Any]:
    return {
        "model": model.spec.name, "version": model.spec.version, "digest": model.spec.digest[:12],
        "engine": engine.name, "precision_of_engine": engine.precision,
    }  # fmt: skip


def _fates(fields: Sequence[Sample], found: Sequence[Detections], which: NDArray[np.int64]) -> Verdicts:
    both = _both(fields, found, which)
    return verdicts(both.true, both.found, len(CLASSES))


def _both(fields: Sequence[Sample], found: Sequence[Detections], which: NDArray[np.int64]) -> Compared:
    cells = [found[i] for i in which]
    return Compared(
        CLASSES, tuple(fields[i].name for i in which),
        fields_truth([fields[i].boxes for i in which], [fields[i].classes for i in which]),
        fields_found([c.boxes for c in cells], [c.classes for c in cells], [c.scores for c in cells]), (),
    )  # fmt: skip


def _best_cuts(both: Compared) -> tuple[NDArray[np.float64], float]:
    """Return the thresholds that `pbsbatch tune` would choose for F1, 1 where nothing tells, and its mean."""
    seen = verdicts(both.true, both.found, len(CLASSES))
    sweeps = [sweep(both, seen, k, "f1") for k in range(len(CLASSES))]
    known = [one.values[one.best] for one in sweeps if one is not None]
    return np.array([1.0 if s is None else s.threshold for s in sweeps]), float(np.mean(known)) if known else 0.0


def _above(cells: Detections, cuts: NDArray[np.float64]) -> Detections:
    return cells.take(np.flatnonzero(cells.scores >= cuts[cells.classes].astype(np.float32)))


def _red_error(fields: Sequence[Sample], found: Sequence[Detections]) -> float | str:
    """Return the mean of |found - true| / true of red cells over the images that hold any."""
    many = [(int((c.classes == 0).sum()), int((s.classes == 0).sum())) for c, s in zip(found, fields, strict=True)]
    errors = [abs(a - b) / b for a, b in many if b]
    return figure(np.mean(errors)) if errors else ""
