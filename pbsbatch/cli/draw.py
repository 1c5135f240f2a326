"""`pbsbatch draw`: a slide with the cells that were found in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pbsbatch.geometry import Box


def draw(
    out: Annotated[Path, typer.Argument(help="The folder of a run's results.", metavar="OUT")],
    slide: Annotated[str, typer.Option("--slide", help="Which slide, by id or name.")],
    *,
    region: Annotated[str | None, typer.Option(help="x,y,width,height in level-0 pixels.")] = None,
    tiles: Annotated[
        int | None, typer.Option(help="Draw so many regions, those with the most white cells. \\[default: 1]")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the pictures; made if missing.")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Replace pictures that stand there.")] = False,
) -> None:
    """Draw regions of a slide with outlines, names, a scale bar and a legend, as PNG files.

    Where a classifier named a cell, the detector's word stands above it and the classifier's below; after a run with
    --second-opinion what the first said stands above, and the second's word below.

    Examples:

      pbsbatch draw results --slide a-1b2c3d4e --tiles 4 --output pictures

      pbsbatch draw results --slide a.svs --region 12000,8000,1500,1000
    """
    import cv2

    from pbsbatch.cli.console import console
    from pbsbatch.disk import output_errors, write_atomic
    from pbsbatch.errors import UsageError
    from pbsbatch.report.drawing import busiest
    from pbsbatch.report.drawing import draw as drawn
    from pbsbatch.results import open_run, originals

    if region is not None and tiles is not None:
        raise UsageError("--region and --tiles exclude each other")
    run = open_run(out)
    chosen = run.slide(slide)
    boxes = [_box(region)] if region is not None else busiest(chosen.store, tiles or 1)
    try:
        found = originals(run).get(chosen.id)
    except UsageError:
        found = None
    show = console()
    for box in boxes:
        target = output / f"{chosen.id}-{box.x}-{box.y}.png"
        if target.exists() and not force:
            raise UsageError("something stands there already", path=target, cure="Give another --output, or --force")
        drawing = drawn(chosen, box, found)
        with output_errors(output):
            output.mkdir(parents=True, exist_ok=True)
            write_atomic(target, [cv2.imencode(".png", drawing.pixels[..., ::-1])[1].tobytes()])
        counts = ", ".join(f"{count} {name}" for name, count in drawing.counts.items())
        preview = " [yellow](the slide is gone: drawn on its preview)[/]" if drawing.from_preview else ""
        show.print(f"{target}: {counts}{preview}", soft_wrap=True)


def _box(text: str) -> Box:
    from pbsbatch.errors import UsageError
    from pbsbatch.geometry import Box

    parts = text.split(",")
    if len(parts) != 4 or not all(p.strip().isdecimal() for p in parts):
        raise UsageError(
            f"--region is x,y,width,height in pixels, not {text!r}", cure="For example 12000,8000,1500,1000"
        )
    x, y, w, h = (int(p) for p in parts)
    return Box(x, y, w, h)
