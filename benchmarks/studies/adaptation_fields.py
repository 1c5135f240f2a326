"""The study of adaptation on real fields of another laboratory: white cells that nobody named.

Laws. How far source and target are told apart is the balanced accuracy of a line drawn between their features, by five
folds: .5 is not at all. Agreement is with the other methods, never with the classifier as it is. Contact sheets of what
each network calls them go into the output folder alone: real pictures stay out of the project.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.studies.adaptation import NONE, SHIPPED, Case, Kept
from benchmarks.studies.laboratories import Parts
from benchmarks.white_cells import of_fields, sheet
from pbsbatch import models
from pbsbatch.models.taxonomy import TYPES, chances_of, of_types
from pbsbatch.train.adapt.finish import calibrated
from pbsbatch.train.adapt.glasses import best_glasses
from pbsbatch.train.adapt.strangers import strangers
from pbsbatch.train.adapt.target import AROUND
from pbsbatch.train.adapt.task import Model, Task
from pbsbatch.train.classifier.finish import Calibrated
from pbsbatch.train.classifier.look import look
from pbsbatch.train.classifier.pictures import Cell, Split

__all__ = ["fields", "told_apart"]

F64 = NDArray[np.float64]
FOLDS, RIDGE = 5, 1.0
PER_SHEET = 96


def fields(
    settings: Mapping[str, Any], model: Model, parts: Parts, data: Path, kept: Kept, output: Path | None
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Yield a row for each method, and one for the classifier as it is."""
    laboratory, seed = settings["laboratory"], settings["seed"]
    cells = cells_of(data, laboratory, model)[: settings.get("most_of_fields")]
    glasses = best_glasses(model, cells, seed)
    none, _ = strangers(model, cells, glasses)
    seen = [cell for cell, is_none in zip(cells, none.tolist(), strict=True) if not is_none]
    case = Case(
        model, seen, Split([]), parts.one, parts.guard, parts.judge, None, glasses, seed, settings["steps"]
    )  # fmt: skip
    rows = {
        name: kept.row(f"{laboratory}/{name}", partial(_row, case, name, laboratory, output))
        for name in (NONE, *settings["methods"])
    }
    calls = {name: np.array(row.pop("called")) for name, row in rows.items()}
    for name, row in rows.items():
        others = [calls[other] for other in calls if other not in (name, NONE)]
        agreement = round(float(np.mean([(calls[name] == other).mean() for other in others])), 3)
        yield {"part": "fields", "target": laboratory, "network": name, "labels": 0, **row, "agreement": agreement}


def cells_of(data: Path, laboratory: str, model: Model) -> list[Cell]:
    """Return a laboratory's white cells with what is around them."""
    classifier = models.load_classifier(SHIPPED)
    side = 2 * round(model.facts.crop_px * AROUND / 2)
    found = dict(of_fields(classifier, data, side))[laboratory]
    return [Cell(f"{laboratory}-{n}", "", crop, model.facts.crop_mpp) for n, crop in enumerate(found)]


def _row(case: Case, name: str, laboratory: str, output: Path | None) -> dict[str, Any]:
    """Adapt, and see what becomes of the cells."""
    model, facts = case.model, case.model.facts
    net, row = model.net, {"cells": len(case.cells)}
    ready = Calibrated(1.0, facts.sure_from, facts.strange_from, model.ordinary)
    if name != NONE:
        made = case.adapted(name)
        net, row = made[1].net, case.row(*made)
        ready = calibrated(Task(model, case.cells, case.known, None, case.seed, case.steps), net)
    crops = model.crops(case.cells)
    logits, features = look(net, crops)
    called = of_types(chances_of(logits)).argmax(1)
    if output is not None:
        write_sheets(np.stack(crops), called, of_types(chances_of(logits)).max(1), output / f"{laboratory}-{name}")
    _, at_home = look(net, model.crops(case.home.cells))
    return row | {
        "told_apart": round(told_apart(at_home, features), 3),
        "unsure": round(float(ready.names(logits, features).unsure.mean()), 3), "called": called.tolist(),
    }  # fmt: skip


def told_apart(one: F64, other: F64) -> float:
    """Return the balanced accuracy of a line between two laboratories' features, on features that did not draw it."""
    features = np.concatenate([one, other])
    features = np.hstack([(features - features.mean(0)) / (features.std(0) + 1e-9), np.ones((len(features), 1))])
    whose = np.repeat([-1.0, 1.0], [len(one), len(other)])
    weight = np.repeat([1 / len(one), 1 / len(other)], [len(one), len(other)])
    fold = np.random.default_rng(1).permutation(len(whose)) % FOLDS
    told = np.empty(len(whose))
    for n in range(FOLDS):
        x, y, w = features[fold != n], whose[fold != n], weight[fold != n] * len(whose)
        line = np.linalg.solve(x.T @ (x * w[:, None]) + RIDGE * np.eye(x.shape[1]), x.T @ (w * y))
        told[fold == n] = features[fold == n] @ line
    right = (told > 0) == (whose > 0)
    return float(np.mean([right[whose < 0].mean(), right[whose > 0].mean()]))


def write_sheets(crops: NDArray[np.uint8], called: NDArray[np.intp], sure: F64, folder: Path) -> None:
    """Write a contact sheet for each type that is called, the doubtful cells first."""
    folder.mkdir(parents=True, exist_ok=True)
    for t in np.unique(called).tolist():
        chosen = np.flatnonzero(called == t)
        order = chosen[np.argsort(sure[chosen], kind="stable")]
        shown = order[np.linspace(0, len(order) - 1, min(PER_SHEET, len(order))).astype(int)]
        cv2.imwrite(str(folder / f"{TYPES[t]}.png"), sheet(crops[shown])[..., ::-1])
