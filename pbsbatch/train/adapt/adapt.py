"""Adapt a classifier from a target to a model folder: what the command calls.

Laws. A network that has forgotten where it comes from is not written (adapt.guard). What was left out, what is
missing, and what could not be measured are said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pbsbatch.errors import UsageError
from pbsbatch.models.folder import ClassifierFolder
from pbsbatch.models.taxonomy import TYPES, chances_of, of_types
from pbsbatch.train.adapt.finish import calibrated, write
from pbsbatch.train.adapt.glasses import Glasses, best_glasses
from pbsbatch.train.adapt.guard import Guarded, by_agreement, by_source, guarded
from pbsbatch.train.adapt.methods import METHODS, adapted
from pbsbatch.train.adapt.strangers import strangers
from pbsbatch.train.adapt.target import Target
from pbsbatch.train.adapt.task import STEPS, Model, Task, opened
from pbsbatch.train.classifier.finish import Calibrated
from pbsbatch.train.classifier.look import look
from pbsbatch.train.classifier.pictures import Cell, Split

__all__ = ["LEAST", "Outcome", "Source", "adapt"]

LEAST = 30
"""Cells that can be adapted to."""
MOST_UNLIKE = 0.5
"""Share of a target's pictures that the classifier finds strange, beyond which they may show something else."""
FEW = 5
"""A type that so few cells are called is taught by them badly."""


@dataclass(frozen=True, slots=True)
class Source:
    """Cells of the laboratory that the classifier comes from: to learn from, and held out."""

    train: Split
    held: Split


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of it."""

    folder: ClassifierFolder
    method: str
    cells: int
    labelled: int
    glasses: Glasses
    guard: Guarded
    before: dict[str, int]  # the target's cells by what the source finds likeliest
    after: dict[str, int]
    changed: float  # share of the target's cells that are called otherwise
    unsure: tuple[float, float]  # share of them, before and after
    left_out: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())


def adapt(
    folder: ClassifierFolder, target: Target, output: Path, *, method: str, source: Source | None = None, seed: int = 1,
    steps: int = STEPS, say: Callable[[str], None] = lambda text: None,
) -> Outcome:  # fmt: skip
    """Adapt a folder's classifier and write another folder. Raises UsageError where nothing can be learned."""
    _refuse(method, source, output)
    model = opened(folder)
    _refuse_few(target)
    say("looking for the glasses through which the classifier knows these cells best")
    glasses = best_glasses(model, target.cells, seed)
    none, unlike = strangers(model, target.cells, glasses)
    cells = [cell for cell, is_none in zip(target.cells, none.tolist(), strict=True) if not is_none]
    left_out = (*target.left_out, *_named(target.cells, none.tolist()))
    _refuse_few(Target(tuple(cells), left_out))
    known = Split([cell for cell in cells if cell.label])
    task = Task(model, [c for c in cells if not c.label], known, None if source is None else source.train, seed, steps)
    notes = (*_doubts(unlike, target), *_notes(model, task, glasses))
    say(f"{method}: {METHODS[method].what}")
    net = adapted(method, task, glasses)
    say("holding it against where it comes from")
    measure = by_agreement(model, cells, glasses) if source is None else by_source(model, source.held)
    kept = guarded(model, net, measure)
    ready = calibrated(task, kept.net)
    crops = model.crops(cells)
    source_ready = Calibrated(1.0, folder.facts.sure_from, folder.facts.strange_from, model.ordinary)
    was, now = source_ready.names(*model.look(crops)), ready.names(*look(kept.net, crops))
    about = {
        "method": method, "cells": len(cells), "labelled": len(known.cells), "zoom": glasses.zoom,
        "other_colours": glasses.was is not None, "guard": kept.what, "guard_cells": kept.cells,
        "guard_before": round(kept.before, 4), "guard_after": round(kept.kept, 4), "way": kept.share,
    }  # fmt: skip
    made = write(output, folder, kept.net, ready, about)
    return Outcome(
        made, method, len(cells), len(known.cells), glasses, kept, _counts(was.types), _counts(now.types),
        float((was.types != now.types).mean()), (float(was.unsure.mean()), float(now.unsure.mean())), left_out, notes,
    )  # fmt: skip


def _refuse(method: str, source: Source | None, output: Path) -> None:
    if method not in METHODS:
        raise UsageError(f"there is no method {method!r}", cure=f"Methods: {', '.join(METHODS)}")
    if METHODS[method].needs_source and source is None:
        raise UsageError(f"the method {method} needs cells of the source", cure="Give --source, or another --method")
    if output.exists():
        raise UsageError("something stands there already", path=output, cure="Choose another --output")


def _refuse_few(target: Target) -> None:
    if len(target.cells) < LEAST:
        why = f"; {len(target.left_out)} were left out, first {target.left_out[0]}" if target.left_out else ""
        raise UsageError(
            f"{len(target.cells)} cells are too few to adapt to{why}",
            cure=f"Give at least {LEAST}; several hundred from several slides are better",
        )  # fmt: skip


def _named(cells: Sequence[Cell], none: Sequence[bool]) -> list[str]:
    return [f"{c.name}: no cell, or unlike any type" for c, is_none in zip(cells, none, strict=True) if is_none]


def _doubts(unlike: float, target: Target) -> list[str]:
    """Return whether the target may be none: a laboratory may look strange, but so do pictures of no white cells."""
    if unlike <= MOST_UNLIKE:
        return []
    return [
        f"{100 * unlike:.0f} % of {len(target.cells)} pictures are unlike any cell that the classifier knows, through "
        "glasses too: look whether they show a white cell each, in the middle, at the scale that is said"
    ]


def _notes(model: Model, task: Task, glasses: Glasses) -> list[str]:
    """Return what is missing. Raises UsageError where only one type is there."""
    cells = [*task.cells, *task.known.cells]
    logits, _ = model.look(glasses.crops(cells, model))
    counts = np.bincount(of_types(chances_of(logits)).argmax(1), minlength=len(TYPES))
    if (counts > 0).sum() < 2:
        raise UsageError(
            f"all {len(cells)} cells are called {TYPES[int(counts.argmax())]}: one type tells nothing about the others",
            cure="Give cells of whole slides, not of one type, and look whether each picture shows a white cell",
        )  # fmt: skip
    few = [f"{TYPES[t]} {counts[t]}" for t in range(len(TYPES)) if counts[t] < FEW]
    notes = [f"few or no cells to adapt by: {', '.join(few)}; these types stay nearly as they were"] if few else []
    if task.known.cells:
        missing = sorted(set(range(len(TYPES))) - set(task.known.types.tolist()))
        if missing:
            notes.append(f"no label for {', '.join(TYPES[t] for t in missing)}")
    return notes


def _counts(types: NDArray[np.int64]) -> dict[str, int]:
    counts = np.bincount(types, minlength=len(TYPES)).tolist()
    return {name: n for name, n in zip(TYPES, counts, strict=True) if n}
