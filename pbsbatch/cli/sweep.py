"""`pbsbatch models sweep`: search for a classifier's settings, on all cores or a Dask cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["sweep_settings"]

SHOWN, NAMED = 20, 5
"""Trials in the table on the terminal, and skipped pictures that are named."""


def sweep_settings(
    config: Annotated[
        Path,
        typer.Argument(
            metavar="CONFIG",
            help="A TOML file: a classifier's settings, and in \\[search.over] lists of values by setting.",
        ),
    ],
    data: Annotated[Path, typer.Option(help="Folder that the data sets of the settings lie in.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the trials, the table and what is next.")],
    *,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Trials at once, one core each. \\[default: one per core]")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler that you trust, instead of workers of one's own.")
    ] = None,
) -> None:
    """Train a classifier with many settings and say which are best, by the calibration split.

    A trial that is done is not done again: the same command goes on, also with longer lists. Written are table.csv,
    best.toml (train it with `models train classifier --config`) and next.toml (the sweep to do next). Exit codes:
    0 done; 1 some trials failed; 2 wrong usage or data; 130 interrupted.
    """
    from rich.table import Table

    from pbsbatch.cli.console import console, some
    from pbsbatch.cli.train import INTERRUPTED, need, stopped_by_signals
    from pbsbatch.errors import UsageError

    need()
    from pbsbatch.train.sweep.plan import Trial, read_sweep
    from pbsbatch.train.sweep.run import BEST, NEXT, TABLE, Outcome, sweep
    from pbsbatch.train.sweep.table import ranked

    if not data.is_dir():
        raise UsageError("no such folder", path=data, cure="Give the folder of the data sets with --data")
    asked = read_sweep(config)
    out = console()
    score = asked.search.score

    def say(trial: Trial, outcome: Outcome) -> None:
        told = outcome.results.get(trial.id)
        what = outcome.failed[trial.id] if told is None else f"{score} {told[score]:.4f}"
        values = ", ".join(f"{name} {value}" for name, value in trial.values.items())
        ended = len(outcome.results) + len(outcome.failed)
        out.print(f"{ended} of {len(asked.trials)} · {values} · {what}", markup=False, soft_wrap=True)

    out.print(f"{some(len(asked.trials), 'trial')} over {', '.join(asked.over)}", markup=False, soft_wrap=True)
    with stopped_by_signals() as stopped:
        outcome = sweep(asked, data, output, workers=workers, scheduler=scheduler, on_end=say, stop=stopped)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("", *asked.over, "balanced", "accuracy", "log loss", "weights", "seconds"):
        table.add_column(title, justify="right", no_wrap=True)
    for place, trial in enumerate(ranked(asked, outcome.results)[:SHOWN], 1):
        result = outcome.results[trial.id]
        figures = (f"{result[name]:.4f}" for name in ("balanced_accuracy", "accuracy", "log_loss"))
        values = map(str, trial.values.values())
        table.add_row(str(place), *values, *figures, f"{result['parameters']:,}", f"{result['seconds']:.0f}")
    out.print(table)
    about = [f"{some(outcome.kept, 'trial')} done before"] if outcome.kept else []
    about += [f"{some(len(outcome.failed), 'trial')} failed"] if outcome.failed else []
    out.print(", ".join([*about, f"all in {output / TABLE}"]), markup=False, soft_wrap=True)
    skipped = sorted({name for result in outcome.results.values() for name in result["skipped"]})
    if skipped:
        more = " ..." if len(skipped) > NAMED else ""
        out.print(
            f"{some(len(skipped), 'picture')} skipped: {', '.join(skipped[:NAMED])}{more}", markup=False, soft_wrap=True
        )
    if outcome.best is not None and outcome.next is not None:
        out.print(f"best: {output / BEST}", markup=False, soft_wrap=True)
        closing = f"next: {output / NEXT}" if outcome.next.over else "nothing left to search closer: train the best"
        out.print(f"{closing} ({'; '.join(outcome.next.why)})", markup=False, soft_wrap=True)
    if outcome.stopped:
        out.print("stopped: go on with the same command", markup=False)
        raise typer.Exit(INTERRUPTED)
    raise typer.Exit(1 if outcome.failed else 0)
