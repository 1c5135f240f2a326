"""`pbsbatch evaluate`: how good a run is, held against labelled truth or against manual counts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pbsbatch.evaluate.figures import Figures
    from pbsbatch.evaluate.intervals import Intervals
    from pbsbatch.evaluate.tables import Table
    from pbsbatch.evaluate.together import Compared, Policy

Truth = Annotated[
    Path | None,
    typer.Option("--truth", help="Labelled truth: COCO, CVAT, CSV, or a folder of VOC or YOLO.", metavar="PATH"),
]
Format = Annotated[
    str, typer.Option("--format", help="Of the truth: coco, voc, yolo, cvat, points (CSV image,x,y,class).")
]
Split = Annotated[str, typer.Option("--split", help="Of the truth, as train or val.")]
ClassMap = Annotated[
    list[str] | None,
    typer.Option("--map", help="FOUND=TRUE: which class is which, FOUND=- leaves it out; repeat for several."),
]
Border = Annotated[str, typer.Option("--border", help="keep, or ignore: cells that the image's border may cut.")]
Incomplete = Annotated[
    list[str] | None,
    typer.Option("--incomplete", help="A class of which the truth lacks cells: more of it is not wrong. Repeat."),
]
Regions = Annotated[
    Path | None,
    typer.Option("--ignore", help="CSV image,x0,y0,x1,y1: regions that do not count.", dir_okay=False),
]


def evaluate(
    results: Annotated[Path, typer.Argument(help="A run's OUT, or COCO predictions with scores.", metavar="RESULTS")],
    truth: Truth = None,
    *,
    file_format: Format = "coco",
    split: Split = "",
    iou: Annotated[float, typer.Option(help="Least overlap of a hit.", min=0.01, max=1.0)] = 0.5,
    distance: Annotated[float, typer.Option(help="Of points: the largest distance of a hit, in px.", min=0.1)] = 15.0,
    matching: Annotated[
        str,
        typer.Option(help="coco: each truth once, best score first. best-iou: each prediction to its best truth."),
    ] = "coco",
    class_map: ClassMap = None,
    border: Border = "keep",
    incomplete: Incomplete = None,
    ignore: Regions = None,
    size_bins: Annotated[str, typer.Option("--size-bins", help="Bounds in um between bins of diameter.")] = "3,5,9,13",
    masks: Annotated[bool, typer.Option("--masks/--no-masks", help="Compare outlines if both have any.")] = True,
    reference: Annotated[
        Path | None,
        typer.Option("--reference", help="CSV of manual counts per sample, instead of --truth.", dir_okay=False),
    ] = None,
    form: Annotated[str, typer.Option("--as", help="rich, json, csv, markdown or latex.")] = "rich",
    table: Annotated[
        list[str] | None,
        typer.Option("--table", help="Only this table: classes, combined, counts, sizes, masks, confusion, "
                     "confusion-share or calibration. Repeat for several."),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write there instead of printing.")] = None,
    plots: Annotated[Path | None, typer.Option("--plots", help="Folder for the plots.", file_okay=False)] = None,
    plot_format: Annotated[str, typer.Option("--plot-format", help="svg or png.")] = "svg",
    page: Annotated[
        Path | None, typer.Option("--page", help="One HTML page: tables, plots, worst fields.", dir_okay=False)
    ] = None,
    bootstrap: Annotated[
        int, typer.Option(help="Rounds of drawing images anew for 95 % intervals; 0: none.", min=0, max=100_000)
    ] = 1000,
) -> None:  # fmt: skip
    """Hold a run's cells against labelled truth: precision, recall, F1, average precision, counting errors.

    AP is COCO's over what the run kept: cells below the model's thresholds are not there. `all` counts every class;
    its AP is the mean over classes.

    Examples:

      pbsbatch evaluate results --truth slides/truth.json

      pbsbatch evaluate results --truth labels/ --format yolo --split val --as markdown --page evaluation.html

      pbsbatch evaluate predictions.json --truth truth.json --matching best-iou --table combined

      pbsbatch evaluate results --reference manual.csv
    """
    from pbsbatch.errors import UsageError
    from pbsbatch.evaluate.figures import BEST_IOU, COCO, figures
    from pbsbatch.evaluate.hold import hold
    from pbsbatch.evaluate.intervals import intervals
    from pbsbatch.evaluate.render import FORMATS, render
    from pbsbatch.evaluate.tables import TABLES

    _one_of("--as", form, ("rich", *FORMATS))
    _one_of("--matching", matching, (COCO, BEST_IOU))
    _one_of("--plot-format", plot_format, ("svg", "png"))
    for name in table or ():
        _one_of("--table", name, TABLES)
    if (truth is None) == (reference is None):
        raise UsageError("give either --truth or --reference", cure="Labelled cells are --truth, counts --reference")
    if reference is not None:
        from pbsbatch.cli.reference import against_manual

        against_manual(results, reference, form, output, plots, plot_format)
        return
    assert truth is not None
    both = hold(
        results, truth, file_format, split=split, mapping=pairs(class_map), policy=policy(border, incomplete, ignore)
    )
    at = distance if both.points else iou
    found = figures(both, at, matching=matching, sizes=_bounds(size_bins), masks=masks)
    rounds = bootstrap if len(both.images) > 1 and (page is not None or (form == "rich" and output is None)) else 0
    ranges = intervals(both, at, rounds, matching=matching) if rounds else {}
    if plots is not None or page is not None:
        _pictures(both, found, ranges, plots, plot_format, page)
    if form == "rich" and output is None:
        _show(found, ranges, table or ("classes", "combined", "counts", "masks", "confusion-share"))
        return
    text = render(found, "json" if form == "rich" else form, table or ())
    if output is None:
        print(text, end="")
        return
    write(output, text)


def write(output: Path, content: str | bytes) -> None:
    """Write a file, wholly or not at all."""
    from pbsbatch.disk import output_errors, write_atomic

    with output_errors(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(output, [content.encode() if isinstance(content, str) else content])


def policy(border: str, incomplete: list[str] | None, ignore: Path | None) -> Policy:
    """Return what counts, from flags."""
    from pbsbatch.evaluate.points import read_regions
    from pbsbatch.evaluate.together import Policy

    _one_of("--border", border, ("keep", "ignore"))
    return Policy(border, tuple(incomplete or ()), {} if ignore is None else read_regions(ignore))


def pairs(texts: list[str] | None) -> dict[str, str]:
    """Read FOUND=TRUE."""
    from pbsbatch.errors import UsageError

    found = {}
    for text in texts or ():
        name, sign, true = text.partition("=")
        if not sign or not name or not true:
            raise UsageError(f"--map is FOUND=TRUE, not {text!r}", cure="For example --map cell=RBC")
        found[name] = true
    return found


def _one_of(flag: str, value: str, known: tuple[str, ...]) -> None:
    from pbsbatch.errors import UsageError

    if value not in known:
        raise UsageError(f"{flag} must be one of {', '.join(known)}, not {value!r}")


def _bounds(text: str) -> list[float]:
    from pbsbatch.errors import UsageError

    try:
        values = [float(v) for v in text.split(",") if v.strip()]
    except ValueError:
        values = [-1.0]
    if any(v <= 0 for v in values) or sorted({*values}) != values or len(values) > 20:
        raise UsageError(f"--size-bins are up to 20 rising numbers of um, not {text!r}", cure="For example 3,5,9,13")
    return values


def _pictures(
    both: Compared, found: Figures, ranges: Intervals, plots: Path | None, plot_format: str, page: Path | None
) -> None:
    """Write the plots and the page that are asked for."""
    from pbsbatch.cli.console import console
    from pbsbatch.evaluate.figures import BEST_IOU
    from pbsbatch.evaluate.plots import drawn

    show = console()
    if plots is not None:
        for name, data in drawn(both, found, plot_format).items():
            write(plots / f"{name}.{plot_format}", data)
        show.print(f"plots:   {plots}", soft_wrap=True)
    if page is not None:
        from pbsbatch.evaluate.best import best_verdicts
        from pbsbatch.evaluate.page import html_page
        from pbsbatch.evaluate.verdicts import verdicts
        from pbsbatch.evaluate.worst import worst

        n = len(both.classes)
        if found.matching == BEST_IOU:
            seen = best_verdicts(both.true, both.found, n, found.iou)
        else:
            seen = verdicts(both.true, both.found, n, found.iou, measure=both.measure)
        write(page, html_page(found, ranges, drawn(both, found, "svg"), worst(both, seen), {}))
        show.print(f"page:    {page}", soft_wrap=True)


def _show(found: Figures, ranges: Intervals, only: list[str] | tuple[str, ...]) -> None:
    from rich.markup import escape

    from pbsbatch.cli.console import console, some
    from pbsbatch.evaluate.tables import tables

    out = console()
    for table in tables(found):
        if table.key in only:
            out.print(f"\n[bold]{escape(table.title)}[/]")
            out.print(rich_table(table, ranges))
    which = f"at an IoU of {found.iou:g}" if found.measure == "boxes" else f"within {found.iou:g} px"
    rule = "" if found.matching == "coco" else " · each prediction to its best truth"
    out.print(
        f"\n{some(found.images, 'image')} {which}{rule}" + (" · [dim]95 % intervals over images[/]" if ranges else "")
    )
    for note in found.notes:
        out.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)


def rich_table(table: Table, ranges: Intervals) -> object:
    """Return a table for the console, with the intervals that belong to its figures."""
    from rich.markup import escape
    from rich.table import Table as Shown

    from pbsbatch.evaluate.render import lines_of

    shown = Shown(box=None, header_style="bold", pad_edge=False)
    for i, title in enumerate(table.heads):
        shown.add_column(escape(title), justify="left" if i == 0 else "right", no_wrap=True)
    known = ranges if table.is_of_classes else {}
    for row, line in zip(table.rows, lines_of(table), strict=True):
        values = [escape(text) for text in line]
        for place, key in enumerate(table.keys):
            low, high = known.get(str(row[0]), {}).get(key, (float("nan"), float("nan")))
            if low == low:  # noqa: PLR0124 - not NaN
                values[place] += f" [dim]{low + 0:.3f} {high + 0:.3f}[/]"
        shown.add_row(*values)
    return shown
