"""How well a model finds cells, through the same path as a run: read, survey, plan, infer, decode, own, level 0.

`python -m benchmarks.accuracy --json [--model NAME|PATH ...] [--engine NAME] [--precision P]` measures each model on
the fields at hand: TXL val by laboratory, CBC fields that training never saw with TXL's complete labels, and drawn
fields with exact masks. The classical model, which needs no training, stands beside the others in the same run.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import record
from pbsbatch import engines, models
from pbsbatch.config import Config
from pbsbatch.datasets.readers import DataSet, read
from pbsbatch.datasets.samples import CLASSES, Sample, encode
from pbsbatch.detections import OWNED, Detections
from pbsbatch.engines.base import Engine
from pbsbatch.errors import ScaleError
from pbsbatch.evaluate import detection_ap, fields_found, fields_truth, verdicts
from pbsbatch.models.base import Model
from pbsbatch.models.dense import DenseModel
from pbsbatch.models.scale import RED_CELL_UM
from pbsbatch.pipeline import Job, process
from pbsbatch.run.prepare import cut_slide
from pbsbatch.slides.base import SlideRef
from pbsbatch.store import TileRows
from pbsbatch.synth import Scene

HELD_OUT = Path(__file__).resolve().parents[1] / "pbsbatch" / "train" / "configs" / "cbc_fields.txt"
SCALES = ("labels", "estimated")
LEAST_SCORE = 0.01
"""Below it nothing is asked for: the end of a precision-recall curve."""


@dataclass(slots=True)
class Kept:
    """A sink that keeps a field's cells."""

    cells: list[Detections] = field(default_factory=list)

    def append(self, strip: int, cells: Detections, tiles: TileRows) -> None:
        self.cells.append(cells)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A drawn field: a sample and its scene, whose masks are exact."""

    sample: Sample
    scene: Scene


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", help="a model by name or path; repeat for several")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--fields", type=int, default=0, help="at most so many fields of each set (0: all)")
    parser.add_argument("--set", action="append", help="only this set, by its title; repeat for several")
    parser.add_argument("--scale", action="append", choices=SCALES, help="where the scale comes from; default: each")
    parser.add_argument("--json", action="store_true", help="print one JSON object (the default prints it too)")
    parser.add_argument("--no-record", action="store_true", help="do not append to benchmarks/results")
    asked = parser.parse_args()
    drawn = [draw(seed) for seed in range(900, 912)] if not asked.set or "drawn" in asked.set else []
    rows = []
    for name in asked.model or ["smear", "classical"]:
        model = wide_open(models.load(name))
        engine = engines.load(model, asked.engine, precision=asked.precision)
        for title, samples in sets([d.sample for d in drawn], asked.fields, record.data_folder()):
            if asked.set and title not in asked.set:
                continue
            for scale in asked.scale or SCALES:
                rows.append(judge(model, engine, title, samples, scale))
                if title == "drawn" and scale == "labels":
                    rows[-1]["mask_iou_median"] = mask_iou(model, engine, drawn)
    if not asked.no_record:
        record.append("accuracy", rows)
    record.show({"rows": rows})


def wide_open(model: Model) -> Model:
    """Return the model with its score thresholds lowered, for the sake of whole curves."""
    if not isinstance(model, DenseModel):
        return model
    facts = dataclasses.replace(model.folder.facts, thresholds=(LEAST_SCORE,) * len(model.folder.facts.classes))
    return DenseModel(dataclasses.replace(model.folder, facts=facts))


def thresholds(model: Model) -> tuple[float, ...]:
    """Return the scores from which a run reports a cell, per class."""
    if isinstance(model, DenseModel):
        return models.load(str(model.folder.path)).folder.facts.thresholds  # type: ignore[attr-defined, no-any-return]
    return (0.0,) * len(CLASSES)


def sets(drawn: list[Sample], most: int, data: Path | None) -> Iterator[tuple[str, list[Sample]]]:
    """Yield the sets of fields by title."""
    yield "drawn", drawn[: most or None]
    if data is None:
        return
    val, _ = read(DataSet(data / "txl", "yolo", "val"))
    for source in sorted({s.source for s in val}):
        yield f"txl-val-{source}", [s for s in val if s.source == source][: most or None]
    yield "txl-val", val[: most or None]
    yield "cbc-unseen", cbc_unseen(data)[: most or None]


def cbc_unseen(data: Path, splits: Sequence[str] = ("val", "train")) -> list[Sample]:
    """Return the CBC fields that training never saw, with TXL's complete labels, sorted by name."""
    held = set(HELD_OUT.read_text().split())
    fields = [s for split in splits for s in read(DataSet(data / "txl", "yolo", split))[0]]
    return sorted((s for s in fields if s.name in held), key=lambda s: s.name)


def draw(seed: int, size: tuple[int, int] = (640, 480), mpp: float | None = None) -> Drawn:
    """Return a drawn field, as a laboratory's camera sees it unless said otherwise."""
    scene = Scene(*size, 0.11 + 0.02 * (seed % 8) if mpp is None else mpp, seed)
    cells = scene.cells(0, 0, scene.width, scene.height)
    whole = np.clip(cells.boxes, 0, [scene.width, scene.height] * 2).astype(np.float32)
    shown = ((whole[:, 2:] - whole[:, :2]) >= 4).all(1)
    sample = Sample(
        name=f"drawn-{seed}", source="drawn", encoded=encode(scene.render(0, 0, scene.width, scene.height)),
        size=(scene.width, scene.height), boxes=whole[shown], classes=cells.classes[shown],
        outlines=np.full((int(shown.sum()), 32), np.nan, np.float32), unsure=np.zeros((0, 4), np.float32),
        red_cell_px=RED_CELL_UM / scene.mpp,
    )  # fmt: skip
    return Drawn(sample, scene)


def cells_of(model: Model, engine: Engine, sample: Sample, scale: str) -> Detections | None:
    """Return a field's cells; None where its scale could not be measured."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "field.png"
        path.write_bytes(sample.encoded)
        mpp = RED_CELL_UM / sample.red_cell_px if scale == "labels" else None
        try:
            cut = cut_slide(SlideRef("field", path, sample.name, sample.name, mpp), model, Config(), lambda: engine)
        except ScaleError:
            return None
        sink = Kept()
        try:
            job = Job(cut.slide, cut.plan, model.calibrate(cut.seen), tuple(range(cut.plan.strips)), sink)
            for _ in process([job], model, engine):
                pass
        finally:
            cut.slide.close()
    cells = Detections.concat(sink.cells)
    return cells.take(np.flatnonzero(cells.flags & OWNED))


def judge(model: Model, engine: Engine, title: str, samples: Sequence[Sample], scale: str) -> dict[str, Any]:
    """Return one row: average precision, F1 and count errors at the thresholds of a run."""
    start = time.perf_counter()
    found = [cells_of(model, engine, s, scale) for s in samples]
    seconds = time.perf_counter() - start
    cells = [c if c is not None else Detections.empty() for c in found]
    truth = ([s.boxes for s in samples], [s.classes for s in samples])
    seen = ([c.boxes for c in cells], [c.classes for c in cells], [c.scores for c in cells])
    ap = detection_ap(*truth, *seen, len(CLASSES))
    cuts = np.array(thresholds(model), np.float32)
    reported = [c.take(np.flatnonzero(c.scores >= cuts[c.classes])) for c in cells]
    verdict = verdicts(
        fields_truth(*truth),
        fields_found([c.boxes for c in reported], [c.classes for c in reported], [c.scores for c in reported]),
        len(CLASSES),
    ).at([0.0])
    row: dict[str, Any] = {
        "model": model.spec.name, "version": model.spec.version, "digest": model.spec.digest[:12],
        "engine": engine.name, "precision": engine.precision, "set": title, "scale": scale, "fields": len(samples),
        "unmeasured": sum(c is None for c in found), "ap50": figure(ap.ap50), "ap": figure(ap.ap),
    }  # fmt: skip
    for k, name in enumerate(CLASSES):
        row[f"{name}_ap50"] = figure(ap.ap50_per_class[k])
        row[f"{name}_f1"] = figure(verdict.f1[k, 0])
        row[f"{name}_true"] = int(verdict.tp[k, 0] + verdict.fn[k, 0])
        row[f"{name}_found"] = int(verdict.tp[k, 0] + verdict.fp[k, 0])
    many = [(int((c.classes == 0).sum()), int((s.classes == 0).sum())) for c, s in zip(reported, samples, strict=True)]
    errors = [(a - b) / b for a, b in many if b]
    row |= {"rbc_mape": figure(np.mean(np.abs(errors))), "rbc_bias": figure(np.mean(errors))}
    return row | {"mask_iou_median": "", "ms_per_field": round(1000 * seconds / len(samples), 1)}


def mask_iou(model: Model, engine: Engine, drawn: Sequence[Drawn]) -> float:
    """Return the median mask IoU of cells that match a drawn one, against the part of it that the field shows."""
    ious: list[float] = []
    for each in drawn:
        cells = cells_of(model, engine, each.sample, "labels")
        assert cells is not None
        truth = each.scene.cells(0, 0, each.scene.width, each.scene.height)
        pictures = [picture(cells, i, each.scene) for i in range(len(cells))]
        for j in range(len(truth)):
            whole = np.zeros((each.scene.height, each.scene.width), bool)
            x, y, *_ = truth.boxes[j].tolist()
            mask = truth.mask(j)[max(0, -y) :, max(0, -x) :]
            part = whole[max(0, y) :, max(0, x) :][: mask.shape[0], : mask.shape[1]]
            part |= mask[: part.shape[0], : part.shape[1]]
            if whole.sum() < 30:
                continue
            best = max(((p & whole).sum() / (p | whole).sum() for p in pictures), default=0.0)
            if best >= 0.5:
                ious.append(float(best))
    return figure(np.median(ious))


def picture(cells: Detections, i: int, scene: Scene) -> NDArray[np.bool_]:
    """Return one cell's mask in its field."""
    x, y, w, h = cells.windows[i].tolist()
    out = np.zeros((scene.height, scene.width), bool)
    out[y : y + h, x : x + w] = cells.mask(i)
    return out


def figure(value: Any) -> float:
    return round(float(value), 4)


if __name__ == "__main__":
    main()
