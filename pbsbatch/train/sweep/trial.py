"""One trial, in whichever process: teach a classifier and write down how good it is on the calibration split.

Laws. The hold-out is never looked at: what was chosen by it could not be judged by it. A trial that was broken off
goes on from its checkpoint; what stands in result.json is done.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from pbsbatch.disk import make_folder, output_errors, write_atomic
from pbsbatch.errors import UsageError
from pbsbatch.train.classifier.pictures import Split
from pbsbatch.train.classifier.settings import AUGMENTED, Settings

__all__ = ["RESULT", "Do", "read_result", "run_trial"]

RESULT = "result.json"
Do = Callable[[Settings, Path, Path], dict[str, Any]]
"""What a task does: settings, data, the trial's folder -> its result."""


def run_trial(settings: Settings, data: Path, folder: Path) -> dict[str, Any]:
    """Teach, judge and write the result; return it."""
    import torch

    from pbsbatch.models.taxonomy import chances_of
    from pbsbatch.nets.architectures import parameters
    from pbsbatch.train.classifier.finish import best_net
    from pbsbatch.train.classifier.judge import judge
    from pbsbatch.train.classifier.look import crops_of, look
    from pbsbatch.train.classifier.loop import begin, teach
    from pbsbatch.train.classifier.train import in_steps, placed_weights

    torch.set_num_threads(1)
    device, settings = torch.device("cpu"), placed_weights(settings, data)
    with output_errors(folder):
        make_folder(folder)
    splits, skipped = _splits(_data_of(settings), data)
    run = begin(settings, folder, device, resume=True)
    if settings.epochs:
        run.settings = in_steps(settings, len(splits["train"].cells))
    for _ in teach(run, splits["train"], splits["calibration"], folder):
        pass
    net, step = best_net(settings, folder, device)
    logits, _ = look(net, crops_of(settings, splits["calibration"].cells))
    report = judge(chances_of(logits), splits["calibration"].types)
    result = {
        "balanced_accuracy": report.balanced_accuracy, "accuracy": report.accuracy, "log_loss": report.log_loss,
        "cells": report.cells, "step": step, "steps": run.step, "seconds": round(run.seconds, 1),
        "parameters": parameters(run.net), "skipped": skipped,
    }  # fmt: skip
    with output_errors(folder):
        write_atomic(folder / RESULT, [json.dumps(result, indent=1).encode()])
    return result


def read_result(folder: Path) -> dict[str, Any] | None:
    """Return what a finished trial wrote, None where there is none."""
    try:
        told = json.loads((folder / RESULT).read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UsageError("it is no result of a trial", path=folder / RESULT, cure="Remove it") from error
    return dict(told)


def _data_of(settings: Settings) -> Settings:
    """Return settings that name the data and its splits alone: trials that differ in others share one reading."""
    dealt = Settings(settings.pictures, shares=settings.shares, split_seed=settings.split_seed)
    if settings.split != AUGMENTED:
        return replace(dealt, split=settings.split)
    return replace(dealt, split=AUGMENTED, augment=settings.augment, copies=settings.copies, seed=settings.seed)


@lru_cache(1)
def _splits(data: Settings, root: Path) -> tuple[dict[str, Split], list[str]]:
    from pbsbatch.train.classifier.pictures import load

    skipped: list[str] = []
    splits, _ = load(data, root, lambda path, why: skipped.append(f"{path.relative_to(root)} ({why})"))
    return splits, skipped
