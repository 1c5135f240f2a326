"""Keep an adapted network from forgetting the laboratory that it comes from.

Laws. The network that is kept lies on the straight way from the source's weights to the adapted ones, as far along as
the source's own domain allows: there it is worse by a point at most, by what can be measured. With cells of the
source that is its balanced accuracy on those held out; without, how far the two agree on the target's cells through
the glasses that make them look like the source's, of those that the source is sure of and that no label calls
otherwise: there it is right to disagree. Which of the two it was is said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pbsbatch.models.taxonomy import chances_of, name_cells, of_types
from pbsbatch.nets.classifier import ClassifierNet
from pbsbatch.train.adapt.glasses import Glasses
from pbsbatch.train.adapt.task import Model
from pbsbatch.train.classifier.look import look
from pbsbatch.train.classifier.pictures import Cell, Split

__all__ = ["MOST_WORSE", "Guarded", "Measure", "between", "by_agreement", "by_source", "guarded"]

MOST_WORSE = 0.01
RARE = 20
"""Types of fewer cells count together in an agreement: one cell of a type that came once would undo all."""
SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)


@dataclass(frozen=True, slots=True)
class Measure:
    """How good a network is on the source's own domain, from 0 to 1."""

    what: str  # it is that is measured
    cells: int
    of: Callable[[ClassifierNet], float]


@dataclass(frozen=True, slots=True)
class Guarded:
    """The network that is kept."""

    net: ClassifierNet
    share: float  # of the way to the adapted one
    what: str
    cells: int
    before: float
    adapted: float  # the whole way
    kept: float


def guarded(model: Model, net: ClassifierNet, measure: Measure) -> Guarded:
    """Return the adapted network, or as much of it as does not forget."""
    before = measure.of(model.net)
    adapted = None
    for share in SHARES:
        there = between(model.net, net, share)
        now = measure.of(there)
        adapted = now if adapted is None else adapted
        if now >= before - MOST_WORSE:
            return Guarded(there, share, measure.what, measure.cells, before, adapted, now)
    assert adapted is not None
    return Guarded(deepcopy(model.net), 0.0, measure.what, measure.cells, before, adapted, before)


@torch.no_grad()
def between(one: ClassifierNet, other: ClassifierNet, share: float) -> ClassifierNet:
    """Return the network that lies so far on the way from one to the other, batch norms and all."""
    out = deepcopy(one)
    for mine, theirs in zip(out.state_dict().values(), other.state_dict().values(), strict=True):
        if mine.dtype.is_floating_point:
            mine.lerp_(theirs, share)
    return out.eval()


def by_source(model: Model, held: Split) -> Measure:
    """Return what measures by cells of the source that taught nothing."""
    crops, types = model.crops(held.cells), held.types
    return Measure(
        "balanced accuracy on held-out cells of the source", len(crops),
        lambda net: balanced(look(net, crops)[0], types),
    )  # fmt: skip


def by_agreement(model: Model, cells: Sequence[Cell], glasses: Glasses) -> Measure:
    """Return what measures by the target's own cells, dressed as the source's."""
    crops = glasses.crops(cells, model)
    logits, features = model.look(crops)
    facts = model.facts
    said = name_cells(
        chances_of(logits), model.ordinary.of(features), sure_from=facts.sure_from, strange_from=facts.strange_from
    )
    labelled = np.flatnonzero([bool(cell.label) for cell in cells])
    wrong = labelled[Split([cells[i] for i in labelled.tolist()]).types != said.types[labelled]]
    sure = np.setdiff1d(np.flatnonzero(~said.unsure), wrong)
    asked, types = [crops[i] for i in sure.tolist()], said.types[sure]
    return Measure(
        "agreement with the source on target cells that look like its own", len(asked),
        lambda net: balanced(look(net, asked)[0], types, RARE) if len(asked) else 1.0,
    )  # fmt: skip


def balanced(logits: NDArray[np.float64], types: NDArray[np.int64], rare: int = 1) -> float:
    """Return the mean over types of the share that is called so; types of fewer cells than `rare` count as one."""
    right = of_types(chances_of(logits)).argmax(1) == types
    groups = np.where(np.bincount(types)[types] < rare, -1, types)
    return float(np.mean([right[groups == g].mean() for g in np.unique(groups)]))
