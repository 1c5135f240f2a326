"""`pbsbatch report`: the page to read in the morning, made again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(out: Annotated[Path, typer.Argument(help="The folder of a run's results.", metavar="OUT")]) -> None:
    """Write OUT/report.html and a page for each slide again. A run does it by itself.

    The pages need no network and no other file: they open from a file share. Crops of white cells are cut from the
    slides; where these are gone, a page goes without.

    Example:  pbsbatch report results
    """
    from rich.markup import escape
    from rich.progress import Progress

    from pbsbatch.cli.console import console
    from pbsbatch.errors import UsageError
    from pbsbatch.report import write_report
    from pbsbatch.results import open_run, originals
    from pbsbatch.run.manifest import renew

    run, show = open_run(out), console()
    try:
        found = originals(run)
    except UsageError as error:
        show.print(f"[yellow]note:[/] {escape(error.what)}: pages show no crops", soft_wrap=True)
        found = {}
    with Progress(console=show, transient=True, disable=not show.is_terminal) as progress:
        task = progress.add_task("writing pages", total=len(run) or None)
        path = write_report(out, found, tick=lambda name: progress.advance(task))
    renew(out)
    show.print(f"{escape(str(path))}", soft_wrap=True)
