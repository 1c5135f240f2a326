"""metrics.jsonl: one line for every so many steps and one for every judgement.

Law: a resumed run's file reads like an undisturbed one's: lines from after the checkpoint are cut off. The first line
after a break stands for the steps since the break.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pbsbatch.disk import output_errors, write_atomic
from pbsbatch.errors import UsageError

__all__ = ["CLASSIFIER_MEANS", "METRICS", "Metrics", "read_metrics"]

METRICS = "metrics.jsonl"
EVERY = 50
"""Steps that one line stands for."""
MEANS, CLASSIFIER_MEANS = ("total", "score", "box", "outline"), ("total",)
"""The losses of a detector and of a classifier."""


class Metrics:
    """Write events to a file as they come."""

    def __init__(self, path: Path, step: int, means: tuple[str, ...] = MEANS, every: int = EVERY) -> None:
        """Go on after `step`; 0 begins anew. The losses in `means` are averaged over the `every` steps of a line."""
        self.path, self.means, self.every = path, means, every
        kept = [row for row in read_metrics(path) if row["step"] <= step] if step and path.exists() else []
        with output_errors(path):
            write_atomic(path, [_line(row) for row in kept])
        self.losses: list[Any] = []

    def on_event(self, event: Any) -> None:
        """Take note of one event: a dataclass, of a judgement if it has a report, else of a step."""
        if hasattr(event, "report"):
            self._write({"kind": "judged", **asdict(event)})
            return
        self.losses.append(event)
        if event.step % self.every == 0:
            self._write({"kind": "taught", **_summed(self.losses, self.means)})
            self.losses.clear()

    def _write(self, row: dict[str, Any]) -> None:
        with output_errors(self.path), self.path.open("ab") as file:
            file.write(_line(row))


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a metrics file; a last line that a crash cut off is left out."""
    lines = path.read_bytes().split(b"\n")[:-1]
    try:
        return [json.loads(line) for line in lines]
    except json.JSONDecodeError as error:
        raise UsageError(f"it holds a line that is no JSON: {error}", path=path, cure="Remove it") from error


def _summed(events: list[Any], losses: tuple[str, ...]) -> dict[str, Any]:
    """Return the mean losses of some steps, and where the last one stands."""
    means = {name: sum(getattr(e, name) for e in events) / len(events) for name in losses}
    return {**asdict(events[-1]), "images": sum(e.images for e in events), **means}


def _line(row: dict[str, Any]) -> bytes:
    return json.dumps(_rounded(row), allow_nan=False).encode() + b"\n"


def _rounded(value: Any) -> Any:
    """Return floats with six digits: more of them say nothing."""
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    return float(f"{value:.6g}") if isinstance(value, float) else value
