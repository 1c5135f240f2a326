"""Domain-adversarial training (Ganin 2016): features that name the source's cells and do not tell whose cells they are.

Laws. A batch is half of the source and half of the target, types of the source as often as each other; the weight of
the reversed gradient rises from 0 along the schedule that was published. Of the target nothing is learned but whose
the cells are, and the labels of those that a person named. Crops are changed by the switches of the adaptation study,
both laboratories' alike: in the colours of yet others (train.classifier.crops) nobody could tell whose they are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pbsbatch.errors import UsageError
from pbsbatch.nets.classifier import ClassifierNet
from pbsbatch.train.adapt.task import Model, Task
from pbsbatch.train.adapt.teach import teach
from pbsbatch.train.batches import normalised
from pbsbatch.train.classifier.augment_study import vector_of
from pbsbatch.train.classifier.batches import batches
from pbsbatch.train.classifier.crops import StudyCutter
from pbsbatch.train.classifier.loss import label_loss
from pbsbatch.train.classifier.pictures import Split

__all__ = ["Adversary", "Course", "adversarial", "weight_of"]

SMOOTHING, FINE, HIDDEN = 0.05, 0.3, 64
SWITCHES = "adaptation"


@dataclass(frozen=True, slots=True)
class Course:
    """How fast."""

    half: int = 16  # of a batch
    rate: float = 5e-4
    most: float = 1.0  # weight of the reversed gradient at the end


class _Reverse(torch.autograd.Function):
    """The identity, whose gradient is turned around."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: float) -> Tensor:
        ctx.weight = weight
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return -ctx.weight * grads[0], None


class Adversary(nn.Module):
    """Tells whose cells features are of; what teaches it unteaches them."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(features, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))

    def forward(self, features: Tensor, weight: float) -> Tensor:
        """Return a logit (N,) for each cell."""
        return self.net(_Reverse.apply(features, weight))[:, 0]  # type: ignore[no-any-return]


def weight_of(share: float) -> float:
    """Return the weight of the reversed gradient at a share of the run: 0 at first, nearly 1 at the end."""
    return 2 / (1 + math.exp(-10 * share)) - 1


def adversarial(task: Task, course: Course = Course()) -> ClassifierNet:
    """Return the network taught by the source's labels and against telling source and target apart."""
    if task.source is None:
        raise UsageError(
            "adversarial training needs cells of the source", cure="Give --source, or a --method that needs none"
        )
    torch.manual_seed(task.seed)
    steps = 2 * task.steps
    net, model = task.model.copy(), task.model
    adversary = Adversary(net.kinds.in_features)
    known, all_of = task.known, Split([*task.cells, *task.known.cells])
    seed = task.seed * 101
    source = batches(_changed(model, task.source, 1.0), task.source.kinds, seed, course.half)
    nothing = np.ones((len(all_of.cells), net.kinds.out_features), np.bool_)
    target = batches(_changed(model, all_of, 0.0), nothing, seed + 1, course.half)
    named = batches(_changed(model, known, 1.0), known.kinds, seed + 2, course.half) if len(known.cells) else None
    whose = torch.cat([torch.zeros(course.half), torch.ones(course.half)])

    def loss(step: int) -> Tensor:
        ours, theirs = next(source), next(target)
        parts = [ours.pixels, theirs.pixels]
        kinds = ours.kinds
        if named is not None:
            more = next(named)
            parts.append(more.pixels)
            kinds = torch.cat([kinds, more.kinds])
        features = net.features(normalised(torch.cat(parts)))
        both = features[: 2 * course.half]
        taught = torch.cat([features[: course.half], features[2 * course.half :]])
        told = adversary(both, course.most * weight_of(step / steps))
        confused = nn.functional.binary_cross_entropy_with_logits(told, whose)
        return label_loss(net.kinds(net.drop(taught)), kinds, SMOOTHING, FINE) + confused

    return teach(net, loss, steps, course.rate, norms=True, more=adversary)


def _changed(model: Model, split: Split, balance: float) -> StudyCutter:
    """Return what makes the crops of cells."""
    weights = split.weights(balance) if balance else None
    return StudyCutter(model.crops(split.cells), vector_of((SWITCHES,)), weights)
