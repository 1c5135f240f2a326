"""`pbsbatch data`: make and look at data sets."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pbsbatch.cli.bars import notes, with_bars
from pbsbatch.cli.crop import crop
from pbsbatch.cli.import_labels import import_labels
from pbsbatch.cli.masks import masks
from pbsbatch.cli.prose import Prose

if TYPE_CHECKING:
    from pbsbatch.datasets.readers import DataSet
    from pbsbatch.synth.archive import ArchiveSpec

__all__ = ["app", "compose", "explore", "synth"]

app = typer.Typer(cls=Prose, help="Make and look at data sets.", no_args_is_help=True)

app.command("import-labels")(import_labels)
app.command("crop")(crop)
app.command("masks")(masks)


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


@app.command(epilog="Example: pbsbatch data compose --data fields --output mixed --images 20 --scale 0.5,1,1.5")
def compose(
    data: Annotated[Path, typer.Option(help="Labelled fields: YOLO, VOC, COCO, or a folder per class.")],
    output: Annotated[Path, typer.Option(help="Folder for the composites and their truth; made if missing.")],
    *,
    split: Annotated[str, typer.Option(help="Of the data, as train; default: all splits.")] = "",
    images: Annotated[int, typer.Option(help="How many composites.")] = 10,
    size: Annotated[str, typer.Option(help="Width and height of each in pixels.")] = "1920x1440",
    seed: Annotated[int, typer.Option(help="The same seed composes the same files.")] = 0,
    place: Annotated[str, typer.Option(help="fields, or cells: single ones that stand alone in theirs.")] = "fields",
    grid: Annotated[str, typer.Option(help="Stitch one piece into each slot of a grid: 3, or 3x2.")] = "",
    scale: Annotated[str, typer.Option(help="Scales to choose from (0.5,1,1.5) or a range (0.5-1.5).")] = "0.5,1,1.5",
    diameter: Annotated[
        float, typer.Option(help="Pixels of a red cell at scale 1; 0: as the data has it, in a grid as fits.", min=0.0)
    ] = 0.0,
    data_diameter: Annotated[
        float, typer.Option(help="Pixels of a red cell in the data, where no labels tell.", min=0.0)
    ] = 0.0,
    overlap: Annotated[bool, typer.Option("--overlap/--no-overlap", help="Let pieces cover each other.")] = False,
    background: Annotated[
        str, typer.Option(help="matched: all pieces on one field's glass; blank: white.")
    ] = "matched",
    balance: Annotated[bool, typer.Option("--balance", help="Draw every class equally often.")] = False,
    fill: Annotated[float, typer.Option(help="Share of the canvas that pieces take at most.")] = 0.6,
    mosaic: Annotated[float, typer.Option(help="Share of composites of four pieces that meet in a point.")] = 0.0,
    mixup: Annotated[float, typer.Option(help="Share of composites that are two, seen through each other.")] = 0.0,
    edge: Annotated[str, typer.Option(help="A cell cut by an edge has its box cut (clip) or is none (drop).")] = "clip",
    keep: Annotated[float, typer.Option(help="Least share of a cell that must be seen for it to count.")] = 0.3,
    file: Annotated[str, typer.Option(help="png, jpeg, or tiff: a pyramid of any size at constant memory.")] = "png",
    force: Annotated[bool, typer.Option(help="Write into a folder in use; replaces earlier composites.")] = False,
) -> None:
    """Compose labelled fields into new images of mixed magnification, with truth.

    Writes truth.json (COCO; cells cut too far are crowds), cells.csv (class, magnification and box of each cell) and
    parts.csv (what lies where).
    """
    from pbsbatch.cli.console import some
    from pbsbatch.datasets.compose import ComposeSpec, compose_archive, load_source, parse_grid, parse_scales
    from pbsbatch.synth.archive import parse_size

    width, height = parse_size(size)
    scales, between = parse_scales(scale)
    spec = ComposeSpec(
        width, height, seed, place, parse_grid(grid), scales, between, diameter or float("nan"), overlap, background,
        balance, fill, mosaic, mixup, edge, keep,
    )  # fmt: skip
    source = load_source(_data_sets(data, split, data_diameter))
    workers = len(os.sched_getaffinity(0))
    tally = with_bars(
        lambda tick: compose_archive(
            spec, source, output, images=images, file_format=file, force=force, workers=workers, tick=tick
        )
    )
    notes(source.left_out)
    cells = ", ".join(f"{n:,} {name}" for name, n in tally.cells.most_common()) or "no cells"
    typer.echo(f"{some(tally.images, 'composite')} with {cells} in {output} ({tally.crowds:,} cut or covered too far)")


@app.command(epilog="Example: pbsbatch data explore fields --page fields.html")
def explore(
    data: Annotated[Path, typer.Argument(help="Labelled fields: YOLO, VOC, COCO, or a folder per class.")],
    *,
    split: Annotated[str, typer.Option(help="Of the data, as train; default: all splits.")] = "",
    page: Annotated[Path | None, typer.Option(help="Also write a page with charts and a contact sheet.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Look through a labelled data set before training: classes, sizes, what is unmarked, doubled or leaked.

    Images that look unlabelled hold stained cells outside of all boxes; images of two splits that are one, or show the
    same place shifted, would let a test see what training saw.
    """
    import json

    from pbsbatch.datasets import explore as look
    from pbsbatch.disk import output_errors, write_atomic

    found = look.explore(data, split)
    typer.echo(json.dumps(found.table(), indent=1) if as_json else look.text_of(found), nl=as_json)
    if page is not None:
        with output_errors(page):
            write_atomic(page, [look.page_of(found).encode()])


def _data_sets(root: Path, split: str, diameter: float = 0.0) -> Sequence[DataSet]:
    from dataclasses import replace

    from pbsbatch.datasets.readers import DataError, recognise

    found = [d for d in recognise(root) if not split or d.split == split]
    if not found:
        there = ", ".join(d.split for d in recognise(root) if d.split) or "none"
        raise DataError(f"no split {split!r}", path=root, cure=f"There are: {there}")
    return [replace(d, red_cell_px=diameter) if diameter else d for d in found]


def _with_progress(spec: ArchiveSpec) -> int:
    """Draw with a bar on a terminal, silently elsewhere; return the number of cells."""
    from pbsbatch.synth.archive import draw_archive

    return with_bars(lambda tick: draw_archive(spec, tick))
