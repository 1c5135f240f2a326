"""Make an adapted network a model folder: its chances, when to be unsure, what is strange now.

Laws. Without labels nothing tells how often a network is right, so that nothing here makes it surer than the source
was: the temperature may rise, by how little its calls outlast training's views of the same cells, and never fall, and
the chance from which on it is sure stays the source's. What is ordinary is what the target's cells are, and the
source's of each type that the target has few of: a type that nobody has seen there yet is not strange for that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbsbatch.models.folder import ClassifierFolder, write_classifier
from pbsbatch.models.taxonomy import TYPES, chances_of, of_types
from pbsbatch.nets.classifier import ClassifierNet
from pbsbatch.nets.export import export_weights
from pbsbatch.train.adapt.task import Model, Task
from pbsbatch.train.classifier.export import calibrated_net, export_classifier
from pbsbatch.train.classifier.finish import ORDINARY, Calibrated, temperature_of
from pbsbatch.train.classifier.look import look
from pbsbatch.train.classifier.strange import Strangeness

__all__ = ["calibrated", "ordinary_of", "write"]

F64 = NDArray[np.float64]

VIEWS = 1200
"""Crops as training makes them that say what is ordinary, and how far calls outlast them."""
LIKE = 20
"""What the source says of a type's mean weighs as much as so many cells, and of the spread as so many per type."""


def calibrated(task: Task, net: ClassifierNet) -> Calibrated:
    """Return what turns an adapted network's output into names."""
    model = task.model
    cells = [*task.cells, *task.known.cells]
    logits, features = look(net, model.crops(cells))
    types = of_types(chances_of(logits)).argmax(1)
    types[len(task.cells) :] = task.known.types if len(task.known.cells) else types[len(task.cells) :]
    ordinary = ordinary_of(model, features, types)
    cutter = model.cutter(cells, np.full(len(cells), 1 / len(cells)))
    made = [cutter.cut(task.seed * 101 + 7, number) for number in range(VIEWS)]
    viewed, seen = look(net, [crop for crop, _ in made])
    temperature = max(1.0, temperature_of(viewed, types[[which for _, which in made]]))
    strange_from = float(np.quantile(ordinary.of(seen), ORDINARY, method="higher"))
    return Calibrated(temperature, model.facts.sure_from, strange_from, ordinary)


def ordinary_of(model: Model, features: F64, types: NDArray[np.int64]) -> Strangeness:
    """Return what is ordinary after adapting: the target's cells by their types, and the source's as a few more."""
    back = np.linalg.inv(model.ordinary.whiten)
    source = model.ordinary.means @ back
    within = np.linalg.inv(model.ordinary.whiten @ model.ordinary.whiten.T)
    means, rest = [], []
    for t in range(len(TYPES)):
        mine = features[types == t]
        if len(source) == len(TYPES):
            means.append((mine.sum(0) + LIKE * source[t]) / (len(mine) + LIKE))
        elif len(mine):
            means.append(mine.mean(0))
        if len(mine):
            rest.append(mine - mine.mean(0))
    off, like = np.concatenate(rest), LIKE * len(means)
    covariance = (off.T @ off + like * within) / (len(off) + like)
    values, vectors = np.linalg.eigh(covariance)
    whiten = vectors / np.sqrt(np.maximum(values, 1e-12))
    return Strangeness(np.stack(means) @ whiten, whiten)


def write(
    path: Path, folder: ClassifierFolder, net: ClassifierNet, ready: Calibrated, about: Mapping[str, Any]
) -> ClassifierFolder:  # fmt: skip
    """Write an adapted classifier's folder. It says what it was made from, and no more of the target than a count."""
    facts = folder.facts
    told = replace(
        facts, name=f"{facts.name}-adapted", sure_from=ready.sure_from, strange_from=ready.strange_from,
        training_data=(*facts.training_data, (f"{about['cells']:,} cells of the laboratory it is for", "its own")),
        metrics={"adapted": {"from": f"{facts.name} {facts.version}", "digest": folder.digest, **about}},
    )  # fmt: skip
    return write_classifier(
        path, told, onnx=export_classifier(net, ready), weights=export_weights(calibrated_net(net, ready))
    )
