"""The optimisers that a classifier may be taught by, and the course of its learning rate."""

from __future__ import annotations

import torch
from torch import nn

from pbsbatch.train.classifier.settings import Settings
from pbsbatch.train.steps import optimiser, rate_of

__all__ = ["optimiser_of", "rate"]

MOMENTUM = 0.9


def optimiser_of(net: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """Return the optimiser of what may learn. Weights decay with adamw alone, as in the studies."""
    if settings.optimiser == "adamw":
        return optimiser(net, settings)
    learns = [p for p in net.parameters() if p.requires_grad]
    if settings.optimiser == "adam":
        return torch.optim.Adam(learns, lr=settings.learning_rate)
    if settings.optimiser == "adadelta":
        return torch.optim.Adadelta(learns, lr=settings.learning_rate)
    return torch.optim.SGD(learns, lr=settings.learning_rate, momentum=MOMENTUM, nesterov=True)


def rate(settings: Settings, step: int, share: float) -> float:
    """Return the learning rate of a step at a share of the run."""
    if settings.schedule == "cosine":
        return rate_of(settings, step, share)
    return settings.learning_rate * min(1.0, (step + 1) / max(1, settings.warm_up))
