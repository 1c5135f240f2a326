"""A classifier's training from pictures to files: what a command calls.

Law: the same settings and pictures give the same files, with or without a break.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch

from pbsbatch.disk import make_folder, output_errors, write_atomic
from pbsbatch.nets.export import export_weights
from pbsbatch.train.classifier.duplicates import Groups
from pbsbatch.train.classifier.export import export_classifier
from pbsbatch.train.classifier.finish import Finished, finish
from pbsbatch.train.classifier.loop import Event, begin, teach
from pbsbatch.train.classifier.metrics import ClassifierMetrics
from pbsbatch.train.classifier.pictures import load
from pbsbatch.train.classifier.settings import Settings
from pbsbatch.train.metrics import METRICS

__all__ = ["ONNX", "REPORT", "WEIGHTS", "train"]

ONNX, WEIGHTS, REPORT = "model.onnx", "weights.safetensors", "report.json"


def train(
    settings: Settings, data: Path, output: Path, device: torch.device, *, resume: bool = False,
    on_event: Callable[[Event], None] = lambda event: None, stop: Callable[[], bool] = lambda: False,
) -> Finished | None:  # fmt: skip
    """Teach, calibrate, judge and write; None if it was stopped before the end."""
    with output_errors(output):
        make_folder(output)
    run = begin(settings, output, device, resume=resume)
    splits, groups = load(settings, data)
    metrics = ClassifierMetrics(output / METRICS, run.step)
    for event in teach(run, splits["train"], splits["calibration"], output, lambda _: stop()):
        metrics.on_event(event)
        on_event(event)
    if run.share < 1:
        return None
    done = finish(settings, output, splits, device)
    _write(settings, output, done, groups)
    return done


def _write(settings: Settings, output: Path, done: Finished, groups: Groups) -> None:
    """Write the network for engines, its weights, and what is known of it."""
    facts = {
        "name": settings.name, "version": settings.version, "licence": settings.licence,
        "crop_mpp": settings.crop_mpp, "crop_px": settings.crop_px, "settings": settings.table(),
        "pictures": groups.summary(), **done.metrics(),
    }  # fmt: skip
    with output_errors(output):
        write_atomic(output / ONNX, [export_classifier(done.net, done.calibrated)])
        write_atomic(output / WEIGHTS, [export_weights(done.net)])
        write_atomic(output / REPORT, [json.dumps(facts, indent=1, allow_nan=False).encode()])
