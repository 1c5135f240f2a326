"""The ways to adapt, by name. What is best benchmarks/studies/adaptation.toml measures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pbsbatch.nets.classifier import ClassifierNet
from pbsbatch.train.adapt.adversarial import adversarial
from pbsbatch.train.adapt.glasses import Glasses, best_glasses
from pbsbatch.train.adapt.head import with_known
from pbsbatch.train.adapt.selftrain import self_trained
from pbsbatch.train.adapt.statistics import aligned, with_statistics
from pbsbatch.train.adapt.task import Task

__all__ = ["DEFAULT", "METHODS", "Method", "adapted"]


@dataclass(frozen=True, slots=True)
class Method:
    """One way to adapt."""

    what: str
    teach: Callable[[Task, Glasses], ClassifierNet]
    needs_source: bool = False


def _statistics(task: Task, _: Glasses) -> ClassifierNet:
    return with_known(task.model, with_statistics(task), task.known, task.seed)


def _alignment(task: Task, _: Glasses) -> ClassifierNet:
    return with_known(task.model, aligned(task), task.known, task.seed)


def _stain(task: Task, _: Glasses) -> ClassifierNet:
    cells = [*task.cells, *task.known.cells]
    return self_trained(task, best_glasses(task.model, cells, task.seed, (1.0,)))


METHODS: Mapping[str, Method] = {
    "self-training": Method("taught by its surest calls, through glasses of colour and size", self_trained),
    "plain-self-training": Method("taught by its surest calls, without glasses", lambda task, _: self_trained(task)),
    "stain": Method("taught by its surest calls, through glasses of colour alone", _stain),
    "statistics": Method("batch norms take the target's means and variances (AdaBN)", _statistics),
    "alignment": Method("features take the source's mean and covariance (CORAL)", _alignment),
    "adversarial": Method("gradient reversal against telling source and target apart (DANN)",
                          lambda task, _: adversarial(task), needs_source=True),
}  # fmt: skip
DEFAULT = "self-training"


def adapted(method: str, task: Task, glasses: Glasses) -> ClassifierNet:
    """Return the network that a method makes."""
    return METHODS[method].teach(task, glasses)
