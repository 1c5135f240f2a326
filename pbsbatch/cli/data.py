"""`pbsbatch data`: make and look at data sets."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pbsbatch.cli.import_labels import import_labels

if TYPE_CHECKING:
    from rich.progress import TaskID

    from pbsbatch.synth.archive import ArchiveSpec

__all__ = ["app", "synth"]

app = typer.Typer(help="Make and look at data sets.", no_args_is_help=True)


app.command("import-labels")(import_labels)


@app.callback()
def _data() -> None:
    """Make and look at data sets."""


@app.command(epilog="Example: pbsbatch data synth --output demo --slides 3 --size 8192x8192 --mpp 0.25 --seed 1")
def synth(
    output: Annotated[Path, typer.Option(help="Folder for the slides and truth.json; made if missing.")],
    *,
    slides: Annotated[int, typer.Option(help="How many slides.")] = 4,
    size: Annotated[str, typer.Option(help="Width and height of each slide in pixels, like 4096x4096.")] = "4096x4096",
    mpp: Annotated[float, typer.Option(help="Micrometres per pixel.")] = 0.25,
    seed: Annotated[int, typer.Option(help="The same seed draws the same slides.")] = 0,
    file_format: Annotated[
        str, typer.Option("--format", help="tiff (pyramid), jpeg or png (one field), or mixed: these in turn.")
    ] = "tiff",
    profile: Annotated[
        str,
        typer.Option(help="slide: thick part, monolayer, feathered edge; field: monolayer only; auto: by size (4 mm)."),
    ] = "auto",
    white_per_1000: Annotated[
        float | None, typer.Option(help="White cells per 1000 red cells; default: 2 on a slide, 40 in a field.")
    ] = None,
    labels: Annotated[bool, typer.Option(help="Also write exact label images to labels/NAME.labels.tif.")] = False,
    outlines: Annotated[bool, typer.Option(help="Write each cell's outline to truth.json; boxes always are.")] = True,
    broken: Annotated[bool, typer.Option(help="Add broken.tif, a slide whose file was cut off.")] = False,
    force: Annotated[bool, typer.Option(help="Write into a folder in use; replaces an earlier drawing.")] = False,
    workers: Annotated[int, typer.Option(help="Threads; the files do not depend on it. 0: one per core.")] = 0,
) -> None:
    """Draw virtual blood smears with exact truth: every cell's place, type, box and outline."""
    from pbsbatch.synth.archive import ArchiveSpec, parse_size

    width, height = parse_size(size)
    spec = ArchiveSpec(
        output=output, slides=slides, width=width, height=height, mpp=mpp, seed=seed, format=file_format,
        profile=profile, white_per_1000=white_per_1000, labels=labels, outlines=outlines, broken=broken, force=force,
        workers=workers or len(os.sched_getaffinity(0)),
    )  # fmt: skip
    count = _with_progress(spec)
    typer.echo(f"{slides} {'slide' if slides == 1 else 'slides'} with {count:,} cells in {output}")


def _with_progress(spec: ArchiveSpec) -> int:
    """Draw with a bar on a terminal, silently elsewhere; return the number of cells."""
    from pbsbatch.synth.archive import draw_archive

    if not sys.stderr.isatty():
        return draw_archive(spec)
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        tasks: dict[str, TaskID] = {}

        def tick(name: str, done: int, of: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=of)
            bar.update(tasks[name], completed=done, total=of)

        return draw_archive(spec, tick)
