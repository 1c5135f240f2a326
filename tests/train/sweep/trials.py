"""Trials that are not: what a sweep does with results, failures and deaths, without a network."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

from pbsbatch.errors import UsageError
from pbsbatch.train.classifier.settings import Settings
from pbsbatch.train.sweep.trial import RESULT


def fake_trial(settings: Settings, data: Path, folder: Path) -> dict[str, Any]:
    """Be best at a learning rate of 1e-3 and a batch of 16; fail, or die, where the data folder says so."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"began-{len(list(folder.iterdir()))}").touch()
    if (data / "fail").exists() and settings.batch == 8:
        raise UsageError("eight is too few")
    if (data / "die").exists() and settings.batch == 8:
        os.kill(os.getpid(), signal.SIGKILL)
    off = abs(settings.batch - 16) / 100 + abs(settings.learning_rate - 1e-3)
    result = {
        "balanced_accuracy": 0.9 - off, "accuracy": 0.8, "log_loss": 0.5 + off, "cells": 9, "step": 5, "steps": 6,
        "seconds": 1.5, "parameters": 100, "skipped": [],
    }  # fmt: skip
    (folder / RESULT).write_text(json.dumps(result))
    return result
