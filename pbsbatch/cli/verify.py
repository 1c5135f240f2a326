"""`pbsbatch verify`: is everything still as the run left it?"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pbsbatch.cli.options import AsJson

if TYPE_CHECKING:
    from pbsbatch.run.verify import Verdict

LINES_SHOWN = 50


def verify(
    results: Annotated[Path, typer.Argument(metavar="OUT", help="The folder of results of a run.")],
    slides: Annotated[bool, typer.Option("--slides", help="Read the slides too, and compare their bytes.")] = False,
    key_file: Annotated[
        Path | None,
        typer.Option("--key-file", dir_okay=False, help="With --slides, the key of a run with --deidentify."),
    ] = None,
    json: AsJson = False,
) -> None:
    """Read every file of a run's results and hold it against the run's manifest: changed, missing, or not its own.

    Exit codes: 0 all is right; 1 something differs, and what is listed; 2 wrong usage, or no manifest.

    Examples:

      pbsbatch verify results

      pbsbatch verify results --slides --json

    Without pbsbatch:  cd results && sha256sum --check --quiet seals/*.sha256
    """
    import json as json_module
    import time

    from pbsbatch.run.verify import verify as check

    start = time.monotonic()
    with _Bars(show=not json) as bars:
        verdict = check(
            results, slides=slides, key_file=key_file, on_start=bars.begin, on_file=bars.file, on_bytes=bars.bytes
        )
    if json:
        print(json_module.dumps({"right": verdict.right, **asdict(verdict)}, indent=2))
    else:
        _show(verdict, time.monotonic() - start)
    if not verdict.right:
        raise typer.Exit(1)


class _Bars:
    """A bar for the files of the results and, where slides are read, one for their bytes; on a terminal alone."""

    def __init__(self, *, show: bool) -> None:
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        from pbsbatch.cli.console import console

        out = console()
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        self.progress = Progress(*columns, console=out, disable=not (show and out.is_terminal), transient=True)
        self.files = self.slides = self.progress.add_task("results", visible=False)

    def __enter__(self) -> _Bars:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def begin(self, files: int, size: int) -> None:
        """Take note of how much there is to do."""
        self.progress.update(self.files, total=files, visible=True)
        if size:
            self.slides = self.progress.add_task("slides", total=size)

    def file(self) -> None:
        """Take note of one file of the results."""
        self.progress.advance(self.files)

    def bytes(self, size: int) -> None:
        """Take note of some bytes of a slide."""
        self.progress.advance(self.slides, size)


def _show(verdict: Verdict, seconds: float) -> None:
    from rich.markup import escape

    from pbsbatch.cli.console import console, some
    from pbsbatch.errors import one_line

    out = console()
    for colour, what, names in (
        ("red", "changed", verdict.changed),
        ("red", "missing", verdict.missing),
        ("red", "extra", verdict.extra),
        ("yellow", "unknown", verdict.unknown),
    ):
        for name in names[:LINES_SHOWN]:
            out.print(f"[{colour}]{what}[/]  {escape(one_line(name))}", soft_wrap=True)
        if len(names) > LINES_SHOWN:
            out.print(f"[{colour}]{what}[/]  and {len(names) - LINES_SHOWN:,} more (--json lists all)", soft_wrap=True)
    if verdict.unknown:
        out.print("unknown: the manifest has no digest of it yet; run again, which keeps what is done", soft_wrap=True)
    read = some(verdict.files, "file") + (f" and {some(verdict.slides, 'slide')}" if verdict.slides else "")
    parts = [f"{len(n):,} {what}" for what, n in (("changed", verdict.changed), ("missing", verdict.missing),
                                                  ("extra", verdict.extra)) if n]  # fmt: skip
    said = "[green]all is right[/]" if verdict.right else f"[red]{', '.join(parts)}[/]"
    out.print(f"{read} read in {seconds:.1f} s: {said}", soft_wrap=True)
