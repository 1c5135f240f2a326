"""Adapting to another laboratory: every method of `models adapt` on shifts of known labels, on real fields of another
laboratory without labels, and the adaptation study's table.

Laws. What judges taught and chose nothing. A method sees what its user would have: no cell of the source but for the
method that needs them, whose guard then measures by them; labels are drawn by chance, as many of each type. What was
done is kept in --output, row by row, so that a run that was broken off goes on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.studies.laboratories import Parts, Shift, few_of, parts_of
from pbsbatch.models.load import load_classifier
from pbsbatch.models.taxonomy import chances_of
from pbsbatch.nets.classifier import ClassifierNet
from pbsbatch.train.adapt.glasses import Glasses, best_glasses
from pbsbatch.train.adapt.guard import Guarded, by_agreement, by_source, guarded
from pbsbatch.train.adapt.methods import METHODS, adapted
from pbsbatch.train.adapt.task import Model, Task, opened
from pbsbatch.train.classifier.judge import Report, judge
from pbsbatch.train.classifier.look import look
from pbsbatch.train.classifier.pictures import Cell, Split
from pbsbatch.train.classifier.report import f1_of

__all__ = ["COLUMNS", "NONE", "Case", "Kept", "adaptation", "figures_of"]

Rows = list[dict[str, Any]]
COLUMNS = (
    "setting", "part", "target", "network", "labels", "cells", "home_before", "home_whole", "home_after", "away_before",
    "away_whole", "away_after", "home_f1", "away_f1", "way", "told_apart", "agreement", "unsure", "cpu_seconds",
)  # fmt: skip
NONE = "as it is"
WITH_SOURCE = ", with --source"
SHIPPED = "differential"


@dataclass(frozen=True)
class Case:
    """A classifier, a target, what holds it back, and what judges it."""

    model: Model
    cells: Sequence[Cell]  # of the target, without labels
    known: Split
    source: Split
    guard: Split
    home: Split
    away: Split | None  # cells of the target that are judged; None: nobody knows what they are
    glasses: Glasses
    seed: int
    steps: int

    def adapted(self, method: str) -> tuple[ClassifierNet, Guarded, float]:
        """Return what a method made, the whole way, what the guard keeps of it, and CPU seconds."""
        start = time.process_time()
        method, beside, _ = method.partition(WITH_SOURCE)
        source = self.source if METHODS[method].needs_source or beside else None
        task = Task(self.model, self.cells, self.known, source, self.seed, self.steps)
        net = adapted(method, task, self.glasses)
        everything = [*self.cells, *self.known.cells]
        measure = (
            by_agreement(self.model, everything, self.glasses) if source is None else by_source(self.model, self.guard)
        )
        return net, guarded(self.model, net, measure), time.process_time() - start

    def judged(self, net: ClassifierNet, split: Split) -> Report:
        """Return how good a network is on some cells."""
        return judge(chances_of(look(net, self.model.crops(split.cells))[0]), split.types)

    def row(self, whole: ClassifierNet, guard: Guarded, spent: float) -> dict[str, Any]:
        """Return what is gained and lost."""
        row: dict[str, Any] = {"cells": len(self.cells) + len(self.known.cells)}
        for place, split in (("home", self.home), ("away", self.away)):
            if split is not None:
                row |= figures_of(place, *(self.judged(n, split) for n in (self.model.net, whole, guard.net)))
        return row | {"way": guard.share, "cpu_seconds": round(spent)}


def figures_of(place: str, before: Report, whole: Report, after: Report) -> dict[str, float]:
    """Return the columns of one place."""
    return {
        f"{place}_before": round(before.balanced_accuracy, 3), f"{place}_whole": round(whole.balanced_accuracy, 3),
        f"{place}_after": round(after.balanced_accuracy, 3), f"{place}_f1": round(mean_f1(after), 3),
    }  # fmt: skip


def mean_f1(report: Report) -> float:
    """Return the mean of the types' F1."""
    rows = [f1_of(row.precision, row.recall) or 0.0 for row in report.types.values() if row.cells]
    return sum(rows) / len(rows)


@dataclass(frozen=True)
class Kept:
    """Rows that were made, in a file if there is one. Law: a row of other settings is made anew."""

    path: Path | None
    settings: str = ""  # all of them that decide

    def row(self, key: str, make: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """Return a row by its key, made now if it was not."""
        if self.path is not None and self.path.exists():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                stored = json.loads(line)
                if (stored["key"], stored["settings"]) == (key, self.settings):
                    return dict(stored["row"])
        row = dict(make())
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as handle:
                handle.write(json.dumps({"key": key, "row": row, "settings": self.settings}) + "\n")
        return row


def adaptation(settings: Mapping[str, Any], data: Path, _: str) -> Rows:
    """Return the rows of all parts."""
    from benchmarks.studies import adaptation_fields, adaptation_protocol

    torch.set_num_threads(1)
    output: Path | None = settings.get("output")
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
    asked = json.dumps({k: v for k, v in settings.items() if k != "output"}, sort_keys=True)
    kept = Kept(None if output is None else output / "rows.jsonl", asked)
    parts = parts_of(settings, data)
    model = opened(load_classifier(SHIPPED).folder)
    rows = [
        *_shifts(settings, model, parts, kept),
        *adaptation_fields.fields(settings, model, parts, data, kept, output),
        *adaptation_protocol.protocol(settings, parts, kept),
    ]
    return [dict.fromkeys(COLUMNS, "") | {"setting": settings["setting"]} | row for row in rows]


def _row(case: Case, method: str) -> dict[str, Any]:
    return case.row(*case.adapted(method))


def _shifts(settings: Mapping[str, Any], model: Model, parts: Parts, kept: Kept) -> Iterator[dict[str, Any]]:
    """Yield a row for each shift, number of labels and method, and the means over shifts."""
    rows = []
    for table in settings["shifts"]:
        shift = Shift(**table)
        learn, away = shift.of(parts.learn), shift.of(parts.judge)
        seed, steps = settings["seed"], settings["steps"]
        glasses = best_glasses(model, learn.cells, seed)
        for each in settings["labels"]:
            known = few_of(learn, each, seed)
            case = Case(model, *known, parts.one, parts.guard, parts.judge, away, glasses, seed, steps)
            for method in settings["methods"]:
                row = kept.row(f"{shift.name}/{each}/{method}", partial(_row, case, method))
                rows.append({"part": "shifts", "target": shift.name, "network": method, "labels": each, **row})
    yield from rows
    for each in settings["labels"]:
        for method in settings["methods"]:
            same = [row for row in rows if (row["network"], row["labels"]) == (method, each)]
            columns = [c for c in COLUMNS if c in same[0] and c.startswith(("home", "away"))]
            means = {c: round(sum(row[c] for row in same) / len(same), 3) for c in columns}
            yield {"part": "shifts", "target": "mean of them", "network": method, "labels": each, **means}
