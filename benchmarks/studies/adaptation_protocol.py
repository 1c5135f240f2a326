"""The adaptation study's table, by its protocol: taught on A and tested on A and B, on B, on both, adapted both ways.

The study's smears are not at hand: A are pictures of pbc, B other pictures of pbc under a made stain, scale and lens.
Networks are small, taught alike from nothing by the study's switches, and as long on two laboratories as on one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.studies.adaptation import Case, Kept, figures_of
from benchmarks.studies.laboratories import Parts, Shift, unnamed
from pbsbatch.models.classifier_facts import ClassifierFacts
from pbsbatch.models.taxonomy import KINDS, chances_of
from pbsbatch.nets.classifier import ClassifierNet
from pbsbatch.train.adapt.glasses import best_glasses
from pbsbatch.train.adapt.task import Model
from pbsbatch.train.batches import MEAN, STD
from pbsbatch.train.classifier.export import calibrated_net
from pbsbatch.train.classifier.finish import best_net, calibrate
from pbsbatch.train.classifier.judge import judge
from pbsbatch.train.classifier.look import crops_of, look
from pbsbatch.train.classifier.loop import begin, teach
from pbsbatch.train.classifier.pictures import Split
from pbsbatch.train.classifier.settings import Settings, read_settings
from pbsbatch.train.classifier.strange import learn

__all__ = ["protocol"]


@dataclass(frozen=True, eq=False)
class Laboratory:
    """Cells of one laboratory, or of two together."""

    train: Split
    guard: Split


def protocol(settings: Mapping[str, Any], parts: Parts, kept: Kept) -> Iterator[dict[str, Any]]:
    """Yield a row for each network: home is A, away is B."""
    asked = settings["protocol"]
    shift = next(Shift(**table) for table in settings["shifts"] if table["name"] == asked["shift"])
    course = course_of(asked["course"])
    a, b = Laboratory(parts.one, parts.guard), Laboratory(shift.of(parts.other), shift.of(parts.guard))
    both = Laboratory(*(Split([*x.cells, *y.cells]) for x, y in ((a.train, b.train), (a.guard, b.guard))))
    tests = (parts.judge, shift.of(parts.judge))
    model = cache(partial(_taught, course))
    rows: dict[str, Callable[[], dict[str, Any]]] = {
        f"taught on {name}": partial(_judged, model, laboratory, tests)
        for name, laboratory in (("A", a), ("B", b), ("A and B", both))
    }
    for method in asked["methods"]:
        rows[f"A adapted to B, {method}"] = partial(_adapted, model, method, (a, b), tests, settings)
        rows[f"B adapted to A, {method}"] = partial(_adapted, model, method, (b, a), tests[::-1], settings)
    for name, make in rows.items():
        row = kept.row(f"protocol/{name}", make)
        if name.startswith("B adapted"):
            row = {_swapped(column): value for column, value in row.items()}
        yield {"part": "protocol", "target": f"A: pbc, B: {shift.name}", "network": name, "labels": 0, **row}


def course_of(table: Mapping[str, Any]) -> Settings:
    """Return how networks are taught."""
    with resources.as_file(resources.files("pbsbatch.train") / "configs") as folder:
        return read_settings(folder / "classifier.toml", {**table, "loaders": 0, "minutes": 0.0})


def _taught(settings: Settings, laboratory: Laboratory) -> Model:
    """Teach a network, and return it as one that can be adapted."""
    with TemporaryDirectory(prefix="pbsbatch-study-") as folder:
        run = begin(settings, Path(folder), torch.device("cpu"), resume=False)
        for _ in teach(run, laboratory.train, laboratory.guard, Path(folder)):
            pass
        net, _step = best_net(settings, Path(folder), torch.device("cpu"))
    _, features = look(net, crops_of(settings, laboratory.train.cells))
    guard = laboratory.guard
    ready = calibrate(
        *look(net, crops_of(settings, guard.cells)), guard.types, learn(features, laboratory.train.types)
    )  # fmt: skip
    facts = ClassifierFacts(
        name="taught", version="1", kinds=KINDS, crop_mpp=settings.crop_mpp, crop_px=settings.crop_px,
        channels=settings.size.channels, blocks=settings.size.blocks, mean=MEAN, std=STD, sure_from=ready.sure_from,
        strange_from=ready.strange_from, licence="none",
    )  # fmt: skip
    whole = calibrated_net(net, ready).net
    assert isinstance(whole, ClassifierNet)
    return Model(whole.eval(), ready.strangeness, facts)


def _judged(model: Callable[[Laboratory], Model], laboratory: Laboratory, tests: Sequence[Split]) -> dict[str, Any]:
    asis, row = model(laboratory), {"cells": len(laboratory.train.cells)}
    for place, split in zip(("home", "away"), tests, strict=True):
        report = judge(chances_of(asis.look(asis.crops(split.cells))[0]), split.types)
        figures = figures_of(place, report, report, report)
        row |= {column: figures[column] for column in (f"{place}_after", f"{place}_f1")}
    return row


def _adapted(
    model: Callable[[Laboratory], Model], method: str, way: Sequence[Laboratory], tests: Sequence[Split],
    settings: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """Return what comes of a network of the first laboratory that is adapted to the second."""
    source, target = way
    cells, seed = unnamed(target.train.cells), settings["seed"]
    glasses = best_glasses(model(source), cells, seed)
    case = Case(
        model(source), cells, Split([]), source.train, source.guard, tests[0], tests[1], glasses, seed,
        settings["protocol"]["adapt_steps"],
    )  # fmt: skip
    return case.row(*case.adapted(method))


def _swapped(column: str) -> str:
    place, _, rest = column.partition("_")
    return {"home": f"away_{rest}", "away": f"home_{rest}"}.get(place, column)
