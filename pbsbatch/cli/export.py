"""`pbsbatch export`: results for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    out: Annotated[Path, typer.Argument(help="The folder of a run's results.", metavar="OUT")],
    file_format: Annotated[
        str,
        typer.Option("--format", "-f", help="coco, geojson, cvat, json, csv, parquet, anndata, spatialdata or crops."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write; a folder where there are many.")],
    *,
    slide: Annotated[list[str] | None, typer.Option(help="Only this slide, by id or name; repeat for several.")] = None,
    kind: Annotated[
        list[str] | None, typer.Option("--class", help="crops: of which classes; repeat for several. \\[default: WBC]")
    ] = None,
    as_run: Annotated[
        bool, typer.Option("--as-run", help="Cells as the run found them, without what people corrected since.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace what stands at --output.")] = False,
) -> None:
    """Write the cells of a run for other programs, as people corrected them (`pbsbatch data import-labels`).

    coco      a COCO data set: boxes, scores, polygons

    geojson   detections that QuPath opens, one file per slide

    cvat      CVAT for images 1.1: polygons to correct there

    json      per image its masks: class, score, box, vertices

    csv, parquet   a row for each cell

    anndata, spatialdata   the same for the scverse, with label images in the latter; each needs its package

    crops     pictures of white cells in folders of their type

    Examples:

      pbsbatch export results --format coco --output cells.json

      pbsbatch export results --format geojson --slide a-1b2c3d4e --output a.geojson
    """
    from rich.markup import escape
    from rich.progress import Progress

    from pbsbatch.cli.console import console, some
    from pbsbatch.export import export as write
    from pbsbatch.results import open_run

    run = open_run(out)
    slides = None if slide is None else [run.slide(name) for name in slide]
    total = sum(s.store.info.cells for s in (run if slides is None else slides))
    show = console()
    with Progress(console=show, transient=True, disable=not show.is_terminal) as progress:
        task = progress.add_task("exporting", total=None if file_format == "crops" else total)
        done = write(
            run, file_format, output, slides=slides, force=force, as_run=as_run, classes=tuple(kind or ("WBC",)),
            tick=lambda cells: progress.advance(task, cells),
        )  # fmt: skip
    if not run.finished:
        show.print("[yellow]note:[/] this run has not finished: only its finished slides are here")
    show.print(f"{some(done.cells, 'cell')} of {some(done.slides, 'slide')}: {escape(str(done.path))}", soft_wrap=True)
    if done.corrected:
        show.print(f"{some(done.corrected, 'cell')} as corrected by hand; --as-run gives them as they were found")
    if done.covered:
        show.print(f"[yellow]note:[/] {some(done.covered, 'cell')} lie wholly under others: their box is their outline")
