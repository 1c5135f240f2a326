"""What a sweep tries: every combination of its lists, or some drawn at random, each as checked settings.

Laws. A trial is known by what its settings decide, not by its place: a list that grows keeps the trials that were
done. Everything is checked before anything is trained.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pbsbatch.errors import UsageError
from pbsbatch.train.classifier.presets import preset_of
from pbsbatch.train.classifier.settings import Settings, settings_from_table
from pbsbatch.train.tables import make, one_of, read_table, within

__all__ = ["SCORES", "Search", "Sweep", "Trial", "merged", "read_sweep"]

SCORES = {"balanced_accuracy": 1, "accuracy": 1, "log_loss": -1}
"""What may be searched for, on the calibration split, and whether more of it is better."""
MOST_TRIALS, MOST_COMBINATIONS = 1000, 10**6
DECIDES_NOTHING = ("name", "version", "licence", "loaders", "int8_crops")
"""Settings that are no part of what a trial is."""


@dataclass(frozen=True, slots=True)
class Search:
    """How to search: the [search] table but its lists."""

    strategy: str = one_of(("grid", "random"), "grid")
    trials: int = within(1, MOST_TRIALS, 16)  # of random
    seed: int = within(0, 2**31, 1)
    score: str = one_of(tuple(SCORES), "balanced_accuracy")
    preset: str = ""  # a study's settings, over those of the file


@dataclass(frozen=True, slots=True)
class Trial:
    """One attempt."""

    id: str
    values: Mapping[str, Any]  # of the lists' names
    settings: Settings


@dataclass(frozen=True, slots=True)
class Sweep:
    """All that is to be tried, and what it is made of."""

    search: Search
    base: Mapping[str, Any]  # settings as a table, without the lists
    over: Mapping[str, tuple[Any, ...]]
    trials: tuple[Trial, ...]


def read_sweep(path: Path) -> Sweep:
    """Return the sweep of a TOML file: settings of a classifier, [search] and, in [search.over], lists by setting."""
    table = read_table(path)
    told = table.pop("search", None)
    if not isinstance(told, dict) or not isinstance(told.get("over"), dict) or not told["over"]:
        cure = 'Add for example [search.over] with learning_rate = [1e-3, 1e-4] and arch = ["crp-2", "crp-3"]'
        raise UsageError("it has no lists to search over", path=path, cure=cure)
    over = {name: _values(name, values, path) for name, values in told.pop("over").items()}
    search: Search = make(Search, told, path)
    base = {**table, **(preset_of(search.preset) if search.preset else {}), "loaders": 0}
    chosen = list(_combinations(search, over, path))
    trials = {trial.id: trial for trial in (_trial(base, dict(zip(over, v, strict=True)), path) for v in chosen)}
    return Sweep(search, base, over, tuple(trials.values()))


def merged(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with a trial's values over them; "network.blocks" is blocks in the table network."""
    out = dict(base)
    for name, value in values.items():
        table, dot, own = name.rpartition(".")
        if dot:
            inner = out.get(table, {})
            out[table] = {**(inner if isinstance(inner, Mapping) else {}), own: value}
        else:
            out[name] = value
    return out


def _values(name: str, values: object, path: Path) -> tuple[Any, ...]:
    if not isinstance(values, list) or not values:
        raise UsageError(f"search.over.{name} must be a list of values to try, not {values!r}", path=path)
    return tuple(tuple(v) if isinstance(v, list) else v for v in values)


def _combinations(search: Search, over: Mapping[str, Sequence[Any]], path: Path) -> list[tuple[Any, ...]]:
    """Return the values of each trial: all combinations, or as many different ones as are asked for."""
    count = math.prod(len(values) for values in over.values())
    if count > MOST_COMBINATIONS:
        raise UsageError(
            f"{count:,} combinations are more than {MOST_COMBINATIONS:,}", path=path, cure="Shorten the lists"
        )
    if search.strategy == "random" and search.trials < count:
        rng = np.random.default_rng(search.seed)
        where = (
            rng.choice(count, search.trials, replace=False) if count <= 10**6 else rng.integers(0, count, search.trials)
        )
        places = [np.unravel_index(int(i), [len(v) for v in over.values()]) for i in where]
        return [tuple(v[int(i)] for v, i in zip(over.values(), at, strict=True)) for at in places]
    if count > MOST_TRIALS:
        cure = f'Shorten the lists, or set strategy = "random" and trials to {MOST_TRIALS} at most'
        raise UsageError(f"{count:,} combinations are more than {MOST_TRIALS:,}", path=path, cure=cure)
    return list(itertools.product(*over.values()))


def _trial(base: Mapping[str, Any], values: Mapping[str, Any], path: Path) -> Trial:
    settings = settings_from_table(merged(base, values), path)
    decides = {k: v for k, v in settings.table().items() if k not in DECIDES_NOTHING}
    known = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:12]
    return Trial(known, values, replace(settings, name=f"{settings.name}-{known}"))
