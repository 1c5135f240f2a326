"""Two-stage detectors as two studies taught them: whole or with a frozen body, unfiltered or at the study's thresholds.

Laws. A run whose pretrained file is not at hand is a row marked "not reproduced", and no network is in a row but one
that was taught. What begins from nothing is taught on drawn smears first: its body is what frozen runs keep. Cells are
those of a run's own path; average precision is COCO's and, beside it, the trapezoid's, on fields that taught nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from benchmarks.accuracy import cells_of, draw, figure
from benchmarks.studies.drawn_masks import found_masks, true_masks
from benchmarks.studies.small_nets import SMALL
from pbsbatch import engines
from pbsbatch.datasets.readers import DataSet, read
from pbsbatch.datasets.samples import CLASSES, Sample
from pbsbatch.detections import Detections
from pbsbatch.errors import UsageError
from pbsbatch.evaluate import detection_ap, evaluate, fields_found, fields_truth, verdicts
from pbsbatch.evaluate.pr import trapezoid
from pbsbatch.models.presets import point_of
from pbsbatch.models.rcnn import RcnnModel
from pbsbatch.nets.rcnn import ARCHS
from pbsbatch.nets.rcnn_export import export_rcnn
from pbsbatch.synth import Scene
from pbsbatch.train.detector import Data
from pbsbatch.train.fields import Loaded, loaded, outlined
from pbsbatch.train.rcnn.data import facts_for
from pbsbatch.train.rcnn.loop import Judged, teach
from pbsbatch.train.rcnn.run import RcnnRun, begin
from pbsbatch.train.rcnn.settings import RcnnSettings, settings_from_table
from pbsbatch.train.rcnn.weights import find_weights
from pbsbatch.train.synthetic import synthetic_samples

__all__ = ["two_stage"]

Rows = list[dict[str, Any]]
NOT = "not reproduced"
BODY = "body.safetensors"
SCORES = np.linspace(0, 1, 11)


@dataclass(frozen=True)
class Split:
    """Fields to learn from, to be judged by while learning, and to be tested on; scenes are of drawn tests."""

    train: Sequence[Sample]
    val: Sequence[Sample]
    test: Sequence[Sample]
    scenes: Sequence[Scene] = ()


def two_stage(settings: Mapping[str, Any], data: Path, model_name: str) -> Rows:
    """Return two rows for each run of the settings: unfiltered, and at the thresholds of its preset."""
    ARCHS.update(SMALL)
    splits: dict[str, Split] = {}
    rows: Rows = []
    with TemporaryDirectory() as folder:
        for number, one in enumerate(settings["runs"]):
            try:
                start = _start(one, data, Path(folder))
            except UsageError:  # the file is not there
                rows += [_row(one, how, {}) for how in ("unfiltered", "filtered")]
                continue
            if one["set"] not in splits:
                splits[one["set"]] = _split(one["set"], settings, data)
            rows += _taught(one, settings, splits[one["set"]], start, Path(folder) / f"run-{number}")
    return rows


def _start(one: Mapping[str, Any], data: Path, folder: Path) -> Path | None:
    """Return the file that a run begins from."""
    if one["start"] == "nothing":
        return None
    if one["start"] == "drawn smears":
        return folder / BODY
    if one["set"] == "smear-10":
        raise UsageError("its fields are not at hand")
    return find_weights(one["start"], one["arch"], data)


def _split(name: str, settings: Mapping[str, Any], data: Path) -> Split:
    """Return a set's fields: 80, 10 and 10 of a hundred, dealt out by one seed."""
    if name == "drawn":
        size, px, count = settings["drawn_px"], settings["red_cell_px"], settings["drawn_fields"]
        samples = list(synthetic_samples(count + settings["drawn_tests"], settings["seed"], size, px))
        tests = [draw(s, (size, size), 7.2 / px) for s in range(900, 900 + settings["drawn_tests"])]
        return Split(samples[:count], samples[count:], [t.sample for t in tests], [t.scene for t in tests])
    fields, _ = read(DataSet(data / "cbc" / "Training", "voc", source="cbc", complete=False))
    fields = fields[: settings["fields"] or None]
    order = np.random.default_rng(settings["seed"]).permutation(len(fields))
    tenth = max(1, len(fields) // 10)
    parts = order[2 * tenth :], order[:tenth], order[tenth : 2 * tenth]
    return Split(*([fields[i] for i in sorted(part.tolist())] for part in parts))


def _taught(one: Mapping[str, Any], settings: Mapping[str, Any], split: Split, start: Path | None, out: Path) -> Rows:
    """Teach one network and return its rows; its body is left beside it for runs that begin from one."""
    asked = _settings(one, settings)
    fields = [outlined(_at_scale(s, asked)) for s in split.train]
    data = Data(fields, np.full(len(fields), 1 / len(fields)), [_at_scale(s, asked) for s in split.val])
    masks = ARCHS[asked.arch].masks
    out.mkdir()
    torch.set_num_threads(1)
    facts = facts_for(asked, fields, masks)
    run = begin(asked, facts, len(fields), out, torch.device("cpu"), resume=False, start=start)
    before = time.process_time()
    judged = [event for event in teach(run, data, out) if isinstance(event, Judged)]
    minutes = (time.process_time() - before) / 60
    assert judged and run.step == run.steps, "only a network that was taught is in a row"
    body = run.ema.net.backbone.body.state_dict()
    save_file({name: t.contiguous() for name, t in body.items()}, out.parent / BODY)
    about = {"steps": run.step, "training_cpu_min": round(minutes, 2)}
    return [_row(one, how, about | said) for how, said in _judged(one, run, split, out)]


def _settings(one: Mapping[str, Any], settings: Mapping[str, Any]) -> RcnnSettings:
    own = {k: v for k, v in one.items() if k not in ("set", "start", "filter")}
    table = {"path": one["set"], "name": one["set"]}
    scale = {"work_mpp": 7.2 / settings["red_cell_px"], "input_px": settings["tile_px"]}
    usual = {"data": [table], "validation": [table], "loaders": 0, "validate_every": 10**6, "cross_iou": 1.0}
    return settings_from_table({**usual, **scale, **settings["training"], **own}, Path("two-stage.toml"))


def _at_scale(sample: Sample, asked: RcnnSettings) -> Loaded:
    return loaded(sample, asked.red_cell_px / sample.red_cell_px)


def _judged(one: Mapping[str, Any], run: RcnnRun, split: Split, out: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what the network finds in the tests, as it is and at the preset's thresholds and NMS."""
    whole = RcnnModel(export_rcnn(run.ema.net.eval(), run.facts, out / "model"))
    point = point_of(one["filter"])
    strict = whole.at(point.thresholds(whole.spec.classes), point.nms_iou)
    for how, model in (("unfiltered", whole), ("filtered", strict)):
        engine = engines.load(model, "openvino", precision="fp32")
        cells = [cells_of(model, engine, sample, "labels") or Detections.empty() for sample in split.test]
        engine.close()
        yield how, _figures(model, split, cells)


def _figures(model: RcnnModel, split: Split, cells: Sequence[Detections]) -> dict[str, Any]:
    kinds = np.array([CLASSES.index(name) for name in model.spec.classes])
    true = [s.boxes for s in split.test], [s.classes for s in split.test]
    seen = [c.boxes for c in cells], [kinds[c.classes] for c in cells], [c.scores for c in cells]
    ap = detection_ap(*true, *seen, len(CLASSES))
    hits = verdicts(fields_truth(*true), fields_found(*seen), len(CLASSES))
    under = [trapezoid(hits, k) for k in range(len(CLASSES))]
    said: dict[str, Any] = {
        "fields": len(split.test), "map50": figure(ap.ap50), "map50_trapezoid": figure(np.nanmean(under)),
        "map": figure(ap.ap),
    }  # fmt: skip
    scores, classes = (np.concatenate(part) for part in (seen[2], seen[1]))
    for k, name in enumerate(CLASSES):
        said[f"{name}_ap50"], said[f"{name}_ap50_trapezoid"] = figure(ap.ap50_per_class[k]), figure(under[k])
        said[f"{name}_scores"] = " ".join(map(str, np.histogram(scores[classes == k], SCORES)[0].tolist()))
    if split.scenes and model.folder.facts.masks:
        pair = true_masks(split.scenes), found_masks(split.scenes, cells, kinds)
        fit = evaluate(*pair, CLASSES, measure="masks")
        said |= {"mask_map50": figure(fit.ap50), "mask_map": figure(fit.ap())}
    return said


def _row(one: Mapping[str, Any], how: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with every column; what is not known of a run that was not made says so."""
    per_class = [f"{name}_{what}" for name in CLASSES for what in ("ap50", "ap50_trapezoid", "scores")]
    figures = ("fields", "steps", "training_cpu_min", "map50", "map50_trapezoid", "map", *per_class)
    blank = "" if said else NOT
    return {
        "set": one["set"], "arch": one["arch"], "start": one["start"], "freeze": one.get("freeze", "none"),
        "filter": how, **{name: said.get(name, blank) for name in (*figures, "mask_map50", "mask_map")},
    }  # fmt: skip
