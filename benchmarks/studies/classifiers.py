"""Classifiers of many architectures taught alike on the shipped classifier's pictures, judged on those it held out.

Each network sees the same crops in the same order, as many as the settings say; judged are the weights that were best
on the calibration split. The shipped classifier, which saw far more, stands beside them. No duplicate of a taught
picture is among the judged ones.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from pbsbatch import models
from pbsbatch.engines.torch import served
from pbsbatch.models.taxonomy import chances_of
from pbsbatch.nets.architectures import parameters
from pbsbatch.train.classifier.finish import best_net
from pbsbatch.train.classifier.judge import Report, judge
from pbsbatch.train.classifier.look import crops_of, look
from pbsbatch.train.classifier.loop import begin, teach
from pbsbatch.train.classifier.pictures import Split, load
from pbsbatch.train.classifier.report import protocol_of
from pbsbatch.train.classifier.settings import Settings, read_settings

__all__ = ["classifiers", "thinned"]

SHIPPED = "differential"


def classifiers(settings: Mapping[str, Any], data: Path, _: str) -> list[dict[str, Any]]:
    """Return a row for each network."""
    torch.set_num_threads(1)
    with resources.as_file(resources.files("pbsbatch.train") / "configs") as folder:
        base = read_settings(folder / "classifier.toml", {**settings["course"], "loaders": 0, "minutes": 0.0})
    splits, _ = load(base, data)
    if settings.get("most_cells"):
        splits = {name: Split(thinned(split, settings["most_cells"])) for name, split in splits.items()}
    rows = [_taught(replace(base, arch=arch), splits) for arch in settings["archs"]]
    return [*rows, _shipped(base, splits["hold-out"])]


def thinned(split: Split, most: int) -> list[Any]:
    """Return so many cells of a split, of all types."""
    order = np.lexsort((np.arange(len(split.cells)), _nth(split.types)))
    return [split.cells[i] for i in order[:most]]


def _nth(types: Any) -> Any:
    """Return for each cell how many of its type came before it."""
    return np.array([int((types[:i] == t).sum()) for i, t in enumerate(types)])


def _taught(settings: Settings, splits: Mapping[str, Split]) -> dict[str, Any]:
    """Teach one network and judge it."""
    with TemporaryDirectory(prefix="pbsbatch-study-") as folder:
        start = time.process_time()
        run = begin(settings, Path(folder), torch.device("cpu"), resume=False)
        for _ in teach(run, splits["train"], splits["calibration"], Path(folder)):
            pass
        spent = time.process_time() - start
        net, _step = best_net(settings, Path(folder), torch.device("cpu"))
    logits, each = _logits(net, settings, splits["hold-out"])
    report = judge(chances_of(logits), splits["hold-out"].types)
    about = {"arch": settings.arch, "crops": settings.steps * settings.batch, "parameters": parameters(net)}
    return dict(_row(settings, about, report, each, round(spent)))


def _shipped(settings: Settings, held: Split) -> dict[str, Any]:
    net: Any = served(models.load_classifier(SHIPPED).folder).net
    logits, each = _logits(net.net, settings, held)
    report = judge(chances_of(logits), held.types)
    about = {"arch": f"small, as shipped ({SHIPPED})", "crops": 12000 * 32, "parameters": parameters(net.net)}
    return dict(_row(settings, about, report, each, ""))


def _logits(net: Any, settings: Settings, held: Split) -> tuple[Any, float]:
    crops = crops_of(settings, held.cells)
    start = time.process_time()
    logits, _ = look(net, crops)
    return logits, 1e3 * (time.process_time() - start) / len(crops)


def _row(
    settings: Settings, about: Mapping[str, Any], report: Report, each: float, spent: float | str
) -> Iterator[tuple[str, Any]]:
    """Yield what stands in a row."""
    rare = report.types.get("erythroblast")
    yield from about.items()
    yield from {
        "split": protocol_of(settings), "cells": report.cells, "accuracy": round(report.accuracy, 4),
        "balanced_accuracy": round(report.balanced_accuracy, 4),
        "erythroblast_precision": "" if rare is None or rare.precision is None else round(rare.precision, 4),
        "train_cpu_seconds": spent, "cpu_ms_per_cell": round(each, 2),
    }.items()  # fmt: skip
