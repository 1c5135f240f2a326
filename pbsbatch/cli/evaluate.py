"""`pbsbatch evaluate`: how good a run is, held against labelled truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pbsbatch.evaluate.figures import Figures
    from pbsbatch.evaluate.labels import Labels


def evaluate(
    results: Annotated[Path, typer.Argument(help="A run's OUT, or a COCO data set with scores.", metavar="RESULTS")],
    truth: Annotated[Path, typer.Option("--truth", help="Labelled truth: a COCO file, or a folder of VOC or YOLO.")],
    *,
    file_format: Annotated[str, typer.Option("--format", help="Of the truth: coco, voc or yolo.")] = "coco",
    split: Annotated[str, typer.Option("--split", help="Of the truth, as train or val.")] = "",
    iou: Annotated[float, typer.Option(help="Least overlap of a hit.", min=0.01, max=1.0)] = 0.5,
    class_map: Annotated[
        list[str] | None, typer.Option("--map", help="FOUND=TRUE: which class is which; repeat for several.")
    ] = None,
    form: Annotated[str, typer.Option("--as", help="table, json, csv, markdown or latex.")] = "table",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write there instead of printing.")] = None,
    bootstrap: Annotated[
        int, typer.Option(help="Rounds of drawing images anew for 95 % intervals; 0: none.", min=0, max=100_000)
    ] = 1000,
) -> None:
    """Hold a run's cells against labelled truth: precision, recall, F1, average precision, counting errors.

    AP is COCO's over what the run kept: cells below the model's thresholds are not there. `all` counts every class;
    its AP is the mean over classes.

    Examples:

      pbsbatch evaluate results --truth slides/truth.json

      pbsbatch evaluate results --truth labels/ --format yolo --split val --as markdown
    """
    from pbsbatch.disk import output_errors, write_atomic
    from pbsbatch.errors import UsageError
    from pbsbatch.evaluate.figures import figures, intervals
    from pbsbatch.evaluate.labels import compared, labels_from_coco, labels_from_run
    from pbsbatch.evaluate.render import FORMATS, render
    from pbsbatch.results import open_run

    if form not in ("table", *FORMATS):
        raise UsageError(f"--as must be one of table, {', '.join(FORMATS)}, not {form!r}")
    mapping = dict(_pair(text) for text in class_map or ())
    wanted = labels_from_coco(truth, scored=False) if file_format == "coco" else _labelled(truth, file_format, split)
    got = labels_from_coco(results, scored=True) if results.is_file() else labels_from_run(open_run(results))
    both = compared(wanted, got, mapping)
    found = figures(both, iou)
    if form == "table" and output is None:
        _show(found, intervals(both, iou, bootstrap) if bootstrap and len(both.images) > 1 else {})
        return
    text = render(found, "json" if form == "table" else form)
    if output is None:
        print(text, end="")
        return
    with output_errors(output):
        write_atomic(output, [text.encode()])


def _pair(text: str) -> tuple[str, str]:
    from pbsbatch.errors import UsageError

    found, sign, true = text.partition("=")
    if not sign or not found or not true:
        raise UsageError(f"--map is FOUND=TRUE, not {text!r}", cure="For example --map cell=RBC")
    return found, true


def _labelled(path: Path, file_format: str, split: str) -> Labels:
    import numpy as np

    from pbsbatch.datasets.readers import DataSet, read
    from pbsbatch.datasets.samples import CLASSES
    from pbsbatch.evaluate.labels import Labelled, Labels

    samples, _ = read(DataSet(path, file_format, split), skip_bad=True)
    return Labels(
        CLASSES,
        tuple(Labelled(s.name, s.boxes.astype(np.float64), s.classes.astype(np.int64)) for s in samples),
    )


def _show(found: Figures, ranges: dict[str, dict[str, tuple[float, float]]]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from pbsbatch.cli.console import console, some
    from pbsbatch.evaluate.render import COLUMNS, cells

    out = console()
    table = Table(box=None, header_style="bold", pad_edge=False)
    for i, title in enumerate(COLUMNS.values()):
        table.add_column(title, justify="left" if i == 0 else "right", no_wrap=True)
    for row in found.rows:
        values = [escape(text) for text in cells(row, list(COLUMNS))]
        for place, name in enumerate(COLUMNS):
            low, high = ranges.get(row.name, {}).get(name, (float("nan"), float("nan")))
            if low == low:  # noqa: PLR0124 - not NaN
                values[place] += f" [dim]{low:.3f}-{high:.3f}[/]"
        table.add_row(*values)
    out.print(table)
    out.print(
        f"{some(found.images, 'image')} at an IoU of {found.iou:g}"
        + (" · 95 % intervals over images" if ranges else "")
    )
    for note in found.notes:
        out.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)
