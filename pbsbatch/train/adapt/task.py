"""What is to be adapted, and to what: a network, a laboratory's cells, what is known of some, and the source if given.

Law: a cell is known or not; what is known is never overruled by what a network says.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pbsbatch.engines.torch import served
from pbsbatch.errors import ModelError
from pbsbatch.models.classifier_facts import ClassifierFacts
from pbsbatch.models.folder import ClassifierFolder
from pbsbatch.nets.classifier import CalibratedNet, ClassifierNet
from pbsbatch.train.classifier.crops import Cutter, eased, plain
from pbsbatch.train.classifier.look import look
from pbsbatch.train.classifier.pictures import Cell, Split
from pbsbatch.train.classifier.strange import Strangeness

__all__ = ["STEPS", "Model", "Task", "opened"]

Image = NDArray[np.uint8]
F64 = NDArray[np.float64]
STEPS = 150
"""Steps of a round: two minutes on one core for the shipped classifier."""
NEVER = 1e5
"""Features of no cell are so large: a mean beyond is of a type that was not taught."""


@dataclass(frozen=True, slots=True)
class Model:
    """A classifier as it is adapted: its network, what it calls ordinary, and the crops it sees."""

    net: ClassifierNet  # its logits are calibrated
    ordinary: Strangeness
    facts: ClassifierFacts

    def crops(self, cells: Sequence[Cell]) -> list[Image]:
        """Return the cells as a run would show them."""
        return [plain(cell, self.facts.crop_px, self.facts.crop_mpp) for cell in cells]

    def cutter(self, cells: Sequence[Cell], weights: F64, strength: float = 1.0) -> Cutter:
        """Return what makes the crops of training."""
        mpp = self.facts.crop_mpp
        return Cutter(eased(cells, mpp), weights, self.facts.crop_px, mpp, strength)

    def copy(self) -> ClassifierNet:
        """Return a network that may be changed."""
        return deepcopy(self.net).requires_grad_(True)

    def look(self, crops: Sequence[Image]) -> tuple[F64, F64]:
        """Return logits and features."""
        return look(self.net, crops)


@dataclass(frozen=True, slots=True)
class Task:
    """What a method is given."""

    model: Model
    cells: Sequence[Cell]  # of the target; their labels are not looked at
    known: Split  # some more of the target, with labels
    source: Split | None = None
    seed: int = 1
    steps: int = STEPS  # of training in each of two rounds, or twice as many in one


def opened(folder: ClassifierFolder) -> Model:
    """Return the classifier of a folder."""
    whole = served(folder).net
    if not isinstance(whole, CalibratedNet):
        raise TypeError(f"{type(whole).__name__} is no classifier that can be adapted")
    if not isinstance(whole.net, ClassifierNet):
        raise ModelError(
            f"it is a {folder.facts.arch}: only networks of the shipped kind can be adapted", path=folder.path,
            cure="Train one with `pbsbatch models train classifier --arch small`",
        )  # fmt: skip
    means = whole.means.double().numpy()
    there = np.abs(means).max(1) < NEVER
    return Model(whole.net.eval(), Strangeness(means[there], whole.whiten.double().numpy()), folder.facts)
