"""Classifiers of many architectures taught alike on the shipped classifier's pictures, judged on those it held out.

Each network sees the same crops in the same order, as many as the settings say; judged are the weights that were best
on the calibration split. The shipped classifier, which saw far more, stands beside them. No duplicate of a taught
picture is among the judged ones.

Behind them stands what a split that leaks tells: one network taught on a few pictures, dealt out clean and as published
with augmented copies before the split, each judged as its split has it and on pictures that neither came near.
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
from pbsbatch.datasets.duplicates import group
from pbsbatch.engines.torch import served
from pbsbatch.models.taxonomy import chances_of
from pbsbatch.nets.architectures import parameters
from pbsbatch.train.classifier.finish import best_net
from pbsbatch.train.classifier.judge import Report, judge
from pbsbatch.train.classifier.look import crops_of, look
from pbsbatch.train.classifier.loop import begin, teach
from pbsbatch.train.classifier.pictures import Split, at_random, by_groups, load
from pbsbatch.train.classifier.report import protocol_of
from pbsbatch.train.classifier.settings import GROUPS, Settings, read_settings, settings_from_table

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
    rows.append(_shipped(base, splits["hold-out"]))
    return [*rows, *(row for how in settings.get("splits", []) for row in _split(base, how, splits))]


def _split(base: Settings, how: Mapping[str, Any], splits: Mapping[str, Split]) -> Iterator[dict[str, Any]]:
    """Yield a row of a network as its split judges it, and one as pictures do that it never came near."""
    asked = settings_from_table(base.table() | {k: v for k, v in how.items() if k != "cells"}, Path("splits"))
    few = thinned(splits["train"], how["cells"])
    dealt = at_random(asked, few) if asked.split != GROUPS else by_groups(asked, few, group([c.pixels for c in few]))
    own = {name: Split(part) for name, part in dealt.items()}
    net, spent = _net(asked, own)
    yield _row_of(asked, net, own["hold-out"], protocol_of(asked), spent)
    yield _row_of(asked, net, splits["hold-out"], f"{protocol_of(asked)}; on pictures far from it", "")


def thinned(split: Split, most: int) -> list[Any]:
    """Return so many cells of a split, of all types."""
    order = np.lexsort((np.arange(len(split.cells)), _nth(split.types)))
    return [split.cells[i] for i in order[:most]]


def _nth(types: Any) -> Any:
    """Return for each cell how many of its type came before it."""
    return np.array([int((types[:i] == t).sum()) for i, t in enumerate(types)])


def _taught(settings: Settings, splits: Mapping[str, Split]) -> dict[str, Any]:
    """Teach one network and judge it."""
    net, spent = _net(settings, splits)
    return _row_of(settings, net, splits["hold-out"], protocol_of(settings), spent)


def _net(settings: Settings, splits: Mapping[str, Split]) -> tuple[Any, int]:
    """Return a network that was taught, and the CPU seconds that it took."""
    with TemporaryDirectory(prefix="pbsbatch-study-") as folder:
        start = time.process_time()
        run = begin(settings, Path(folder), torch.device("cpu"), resume=False)
        for _ in teach(run, splits["train"], splits["calibration"], Path(folder)):
            pass
        spent = time.process_time() - start
        return best_net(settings, Path(folder), torch.device("cpu"))[0], round(spent)


def _row_of(settings: Settings, net: Any, held: Split, split: str, spent: float | str) -> dict[str, Any]:
    logits, each = _logits(net, settings, held)
    report = judge(chances_of(logits), held.types)
    about = {"arch": settings.arch, "crops": settings.steps * settings.batch, "parameters": parameters(net)}
    return dict(_row(about, report, each, split, spent))


def _shipped(settings: Settings, held: Split) -> dict[str, Any]:
    net: Any = served(models.load_classifier(SHIPPED).folder).net
    logits, each = _logits(net.net, settings, held)
    report = judge(chances_of(logits), held.types)
    about = {"arch": f"small, as shipped ({SHIPPED})", "crops": 12000 * 32, "parameters": parameters(net.net)}
    return dict(_row(about, report, each, protocol_of(settings), ""))


def _logits(net: Any, settings: Settings, held: Split) -> tuple[Any, float]:
    crops = crops_of(settings, held.cells)
    start = time.process_time()
    logits, _ = look(net, crops)
    return logits, 1e3 * (time.process_time() - start) / len(crops)


def _row(
    about: Mapping[str, Any], report: Report, each: float, split: str, spent: float | str
) -> Iterator[tuple[str, Any]]:
    """Yield what stands in a row."""
    rare = report.types.get("erythroblast")
    yield from about.items()
    yield from {
        "split": split, "cells": report.cells, "accuracy": round(report.accuracy, 4),
        "balanced_accuracy": round(report.balanced_accuracy, 4),
        "erythroblast_precision": "" if rare is None or rare.precision is None else round(rare.precision, 4),
        "train_cpu_seconds": spent, "cpu_ms_per_cell": round(each, 2),
    }.items()  # fmt: skip
