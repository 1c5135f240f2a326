"""Progress on a terminal and notes on stderr, as the commands that make data share them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import typer

if TYPE_CHECKING:
    from rich.progress import TaskID

    from pbsbatch.synth.archive import Tick

__all__ = ["notes", "with_bars"]

T = TypeVar("T")

MOST_NOTES = 5


def notes(problems: Sequence[str]) -> None:
    """Tell what was wrong with records, on stderr, the first of them in full."""
    for problem in problems[:MOST_NOTES]:
        typer.echo(f"note: {problem}", err=True)
    if len(problems) > MOST_NOTES:
        typer.echo(f"note: and {len(problems) - MOST_NOTES:,} more", err=True)


def with_bars(work: Callable[[Tick], T]) -> T:
    """Do work that tells its steps, with a bar for each file on a terminal."""
    if not sys.stderr.isatty():
        return work(lambda name, done, of: None)
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        tasks: dict[str, TaskID] = {}

        def tick(name: str, done: int, of: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=of)
            bar.update(tasks[name], completed=done, total=of)

        return work(tick)
