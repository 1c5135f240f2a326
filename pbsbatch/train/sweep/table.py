"""What a sweep found: its trials ranked, the best as settings to train in full, and the next sweep.

Law: the next step follows from the table alone. A number whose best value is the last of its list is searched beyond
it; one that lies between others is searched closer; of the rest the best value stays.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pbsbatch.errors import UsageError
from pbsbatch.train.classifier.settings import settings_from_table
from pbsbatch.train.sweep.plan import SCORES, Sweep, Trial, merged

__all__ = ["Next", "next_step", "ranked", "rows_of", "toml_of"]

Results = Mapping[str, Mapping[str, Any]]
LOGARITHMIC = ("learning_rate", "weight_decay", "batch", "steps", "epochs")
"""Settings whose ratios count, not their differences."""


@dataclass(frozen=True, slots=True)
class Next:
    """What to search over next, and why; nothing is left to search over where `over` is empty."""

    over: Mapping[str, tuple[Any, ...]]
    why: tuple[str, ...]


def ranked(sweep: Sweep, results: Results) -> list[Trial]:
    """Return the trials that are done, the best first; of equals the smaller network, then the first."""
    sign = -SCORES[sweep.search.score]
    done = [t for t in sweep.trials if t.id in results]
    return sorted(done, key=lambda t: (sign * results[t.id][sweep.search.score], results[t.id]["parameters"]))


def rows_of(sweep: Sweep, results: Results, failed: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the table: done trials, the best first, then those that failed, then those that wait."""
    figures = ("balanced_accuracy", "accuracy", "log_loss", "parameters", "step", "steps", "seconds", "skipped")
    order = ranked(sweep, results)
    rest = sorted((t for t in sweep.trials if t.id not in results), key=lambda t: t.id not in failed)
    return [
        {
            "rank": order.index(t) + 1 if t in order else "", "trial": t.id, **t.values,
            **{name: _figure(results[t.id][name]) if t.id in results else "" for name in figures},
            "error": failed.get(t.id, "" if t.id in results else "not done"),
        }
        for t in (*order, *rest)
    ]  # fmt: skip


def next_step(sweep: Sweep, best: Trial) -> Next:
    """Return the next sweep around the best trial."""
    over: dict[str, tuple[Any, ...]] = {}
    why = []
    for name, values in sweep.over.items():
        value = best.values[name]
        new, reason = _around(name, values, value)
        allowed = tuple(v for v in new if _allowed(sweep, {**best.values, name: v}))
        if len(allowed) > 1:
            over[name] = allowed
        elif new:
            reason = "the last that is allowed was best, stays"
        why.append(f"{name} {_plain(value)}: {reason}")
    return Next(over, tuple(why))


def toml_of(base: Mapping[str, Any], tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Return settings as TOML: plain values first, then tables, then lists of tables; more tables at the end."""
    plain = {k: v for k, v in base.items() if not isinstance(v, Mapping) and not _tables(v)}
    lines = _lines(plain)
    nested = {k: v for k, v in base.items() if isinstance(v, Mapping)}
    for name, table in {**nested, **tables}.items():
        lines += ["", f"[{name}]", *_lines(table)]
    for name, entries in base.items():
        for entry in entries if _tables(entries) else ():
            lines += ["", f"[[{name}]]", *_lines(entry)]
    return "\n".join(lines) + "\n"


def _allowed(sweep: Sweep, values: Mapping[str, Any]) -> bool:
    try:
        settings_from_table(merged(sweep.base, values), Path())
    except UsageError:
        return False
    return True


def _around(name: str, values: Sequence[Any], value: Any) -> tuple[tuple[Any, ...], str]:
    """Return values to try next about the best of a list, and why."""
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values) or len(set(values)) < 2:
        return (), "stays"
    order = sorted(set(values))
    at = order.index(value)
    if at in (0, len(order) - 1):
        beside = order[1] if at == 0 else order[-2]
        beyond = _step(name, beside, value)
        whole = all(isinstance(v, int) for v in values)
        made = tuple(dict.fromkeys(round(v) if whole else v for v in (value, *beyond)))
        made = tuple(v for v in made if v > 0 or v == value)
        return (
            made if len(made) > 1 else ()
        ), f"the {'least' if at == 0 else 'largest'} tried was best, look beyond it"
    closer = [_between(name, order[at], order[at + way]) for way in (-1, 1)]
    if all(isinstance(v, int) for v in values):
        closer = [round(v) for v in closer]
    made = tuple(dict.fromkeys((closer[0], value, closer[1])))
    return (made if len(made) > 1 else ()), "lies between others, look closer"


def _step(name: str, beside: float, value: float) -> tuple[float, float]:
    """Return two values that go on as the list did."""
    if name in LOGARITHMIC and min(beside, value) > 0:
        ratio = value / beside
        return float(f"{value * ratio:.4g}"), float(f"{value * ratio**2:.4g}")
    return float(f"{2 * value - beside:.4g}"), float(f"{3 * value - 2 * beside:.4g}")


def _between(name: str, one: float, other: float) -> float:
    middle = math.sqrt(one * other) if name in LOGARITHMIC and min(one, other) > 0 else (one + other) / 2
    return float(f"{middle:.4g}")


def _figure(value: Any) -> Any:
    """Return a list as its length: the pictures that were skipped have names."""
    return len(value) if isinstance(value, list) else value


def _tables(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(v, Mapping) for v in value)


def _lines(table: Mapping[str, Any]) -> list[str]:
    return [f"{_key(name)} = {_toml(value)}" for name, value in table.items()]


def _key(name: str) -> str:
    return name if name.replace("_", "").isalnum() else _toml(name)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        escaped = "".join(c if c.isprintable() and c not in '"\\' else f"\\u{ord(c):04x}" for c in value)
        return f'"{escaped}"'
    if isinstance(value, Mapping):
        return "{ " + ", ".join(_lines(value)) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return repr(value)


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
