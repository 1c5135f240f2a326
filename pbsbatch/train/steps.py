"""What every training shares: the optimiser, the learning rate's course, and what a resumed run may change."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from pbsbatch.errors import UsageError

__all__ = ["Course", "optimiser", "rate_of", "refuse_other"]

LAST_RATE = 0.01
"""The learning rate ends at so much of what it was."""
FREE_TO_CHANGE = ("steps", "minutes", "validate_every", "loaders", "int8_tiles")
"""Settings that a resumed run may change: they decide how long, not what."""


class Course(Protocol):
    """The settings that decide a training's course."""

    @property
    def learning_rate(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def warm_up(self) -> int: ...
    def table(self) -> dict[str, Any]: ...


def optimiser(net: nn.Module, course: Course) -> torch.optim.AdamW:
    """Return the optimiser; biases and norms do not decay."""
    learns = [p for p in net.parameters() if p.requires_grad]
    weights, others = ([p for p in learns if (p.ndim > 1) == wide] for wide in (True, False))
    groups = [{"params": weights, "weight_decay": course.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=course.learning_rate, fused=True)


def rate_of(course: Course, step: int, share: float) -> float:
    """Return the learning rate of a step at a share of the run: up in a line, down along a cosine."""
    warm = min(1.0, (step + 1) / max(1, course.warm_up))
    wave = 0.5 * (1 + math.cos(math.pi * share))
    return course.learning_rate * warm * (LAST_RATE + (1 - LAST_RATE) * wave)


def refuse_other(was: dict[str, Any], course: Course, file: Path) -> None:
    """Refuse to go on with settings that would make it another run."""
    now = json.loads(json.dumps(course.table()))
    for name in now:
        if name not in FREE_TO_CHANGE and was.get(name) != now[name]:
            raise UsageError(
                f"the run there was begun with another {name}", path=file,
                cure="Give the settings it was begun with, or choose another --output",
            )  # fmt: skip
