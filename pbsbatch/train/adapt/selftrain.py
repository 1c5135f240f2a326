"""Self-training: what the classifier is surest of among the target's cells teaches it the rest, in rounds.

Laws. Chosen are the surest of each type it calls, the same share of all of them, and taught are all types as often:
the usual type of a smear would otherwise drown the rare ones. Cells that a person labelled are taught as labelled,
in every round. In the first round the classifier looks through glasses (adapt.glasses); what is taught are the crops
as they are, so that in the end it needs none. Taught beside them, so that the source is not forgotten, are its own
cells where there are some, and the same cells through the glasses, which make them look like the source's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pbsbatch.errors import UsageError
from pbsbatch.models.taxonomy import TYPES, chances_of, of_types
from pbsbatch.nets.classifier import ClassifierNet
from pbsbatch.train.adapt.glasses import PLAIN, Glasses
from pbsbatch.train.adapt.task import Model, Task
from pbsbatch.train.adapt.teach import teach
from pbsbatch.train.batches import normalised
from pbsbatch.train.classifier.batches import batches
from pbsbatch.train.classifier.look import look
from pbsbatch.train.classifier.loss import label_loss
from pbsbatch.train.classifier.pictures import Cell, Split

__all__ = ["Chosen", "Course", "chosen", "self_trained"]

F64 = NDArray[np.float64]

SHARES = (0.6, 0.8)
"""Of the cells called each type, so many teach in each round: the surest."""
LEAST_CHANCE = 0.5
SMOOTHING, FINE = 0.05, 0.3
KNOWN_SHARE = 0.4
"""Of what is taught, where a person labelled some."""
SOURCE_SHARE = 0.4
"""Of what is taught, where cells of the source are at hand."""
SEEN_SHARE = 0.4
"""Of what is taught, the cells as they look through the glasses."""


@dataclass(frozen=True, slots=True)
class Course:
    """How fast, and how far afield."""

    batch: int = 32
    rate: float = 5e-4
    strength: float = 0.5  # how far crops are dressed in the colours of yet other laboratories
    norms: bool = False  # whether batch norms move


@dataclass(frozen=True, slots=True)
class Chosen:
    """Cells to teach by: which, as what types, and how often each is drawn."""

    which: NDArray[np.intp]
    types: NDArray[np.int64]
    weights: F64  # sum 1


def chosen(chances: F64, share: float) -> Chosen:
    """Return the surest share of each type that is called, each type drawn as often as every other."""
    called, sure = chances.argmax(1), chances.max(1)
    rows = [np.zeros(0, np.intp)]
    for t in np.unique(called):
        mine = np.flatnonzero((called == t) & (sure >= LEAST_CHANCE))
        rows.append(mine[np.argsort(-sure[mine], kind="stable")][: int(np.ceil(share * len(mine)))])
    which = np.sort(np.concatenate(rows))
    types = called[which]
    counts = np.bincount(types, minlength=len(TYPES))
    weights = 1.0 / counts[types]
    return Chosen(which, np.asarray(types, np.int64), np.asarray(weights / max(weights.sum(), 1e-9), np.float64))


def self_trained(task: Task, glasses: Glasses = PLAIN, course: Course = Course()) -> ClassifierNet:
    """Return the network taught by itself on the target, in rounds."""
    net, model = task.model.copy(), task.model
    for number, share in enumerate(SHARES):
        told = _told(net.eval(), task, glasses if number == 0 else PLAIN, share)
        cells, kinds, weights = _with_known(task, told)
        if glasses != PLAIN:
            cells = [*cells, *(glasses.seen(cell) for cell in cells)]
            kinds = np.concatenate([kinds, kinds])
            weights = np.concatenate([(1 - SEEN_SHARE) * weights, SEEN_SHARE * weights])
        if task.source is not None and task.source.cells:
            home = task.source
            cells, kinds = [*cells, *home.cells], np.concatenate([kinds, home.kinds])
            weights = np.concatenate([(1 - SOURCE_SHARE) * weights, SOURCE_SHARE * home.weights(1.0)])
        net = _round(net, model, cells, kinds, weights, task.seed * 101 + number, task.steps, course)
    return net


def _told(net: ClassifierNet, task: Task, glasses: Glasses, share: float) -> Chosen:
    """Return what a network is surest of. Raises UsageError where that is nothing and no label is known."""
    if not task.cells:
        return chosen(np.zeros((0, len(TYPES))), share)
    told = chosen(of_types(chances_of(look(net, glasses.crops(task.cells, task.model))[0])), share)
    if not len(told.which) and not len(task.known.cells):
        raise UsageError(
            f"none of {len(task.cells)} cells is called anything with a chance of {LEAST_CHANCE}",
            cure="Label a few cells of each type (--labels), and look whether these pictures show white cells",
        )  # fmt: skip
    return told


def _with_known(task: Task, told: Chosen) -> tuple[Sequence[Cell], NDArray[np.bool_], F64]:
    """Return cells, what each may be, and how often it is drawn: the chosen and the known ones."""
    named = Split([_called(task.cells[i], t) for i, t in zip(told.which.tolist(), told.types.tolist(), strict=True)])
    if not len(task.known.cells):
        return named.cells, named.kinds, told.weights
    weights = np.concatenate([(1 - KNOWN_SHARE) * told.weights, KNOWN_SHARE * task.known.weights(1.0)])
    weights /= weights.sum()  # nothing may have been chosen
    return [*named.cells, *task.known.cells], np.concatenate([named.kinds, task.known.kinds]), weights


def _called(cell: Cell, kind: int) -> Cell:
    return Cell(cell.name, TYPES[kind], cell.pixels, cell.mpp)


def _round(
    net: ClassifierNet, model: Model, cells: Sequence[Cell], kinds: NDArray[np.bool_], weights: F64, seed: int,
    steps: int, course: Course,
) -> ClassifierNet:  # fmt: skip
    feed = batches(model.cutter(cells, weights, course.strength), kinds, seed, course.batch)

    def loss(_: int) -> Tensor:
        batch = next(feed)
        return label_loss(net(normalised(batch.pixels))[0], batch.kinds, SMOOTHING, FINE)

    return teach(net, loss, steps, course.rate, norms=course.norms).requires_grad_(True)
