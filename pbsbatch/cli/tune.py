"""`pbsbatch tune`: the thresholds at which a run would do best on labelled truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pbsbatch.cli.evaluate import Border, ClassMap, Format, Incomplete, Regions, Split, Truth

if TYPE_CHECKING:
    from pbsbatch.evaluate.tune import Tuned


def tune(
    out: Annotated[Path, typer.Argument(help="The folder of a run's results.", metavar="OUT")],
    truth: Truth,
    *,
    goal: Annotated[str, typer.Option("--for", help="f1, map or count: what is to be best.")] = "f1",
    file_format: Format = "coco",
    split: Split = "",
    iou: Annotated[float, typer.Option(help="Least overlap of a hit.", min=0.01, max=1.0)] = 0.5,
    class_map: ClassMap = None,
    border: Border = "keep",
    incomplete: Incomplete = None,
    ignore: Regions = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The config that is written.", dir_okay=False)] = Path(
        "tuned.toml"
    ),
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw the curves there, as .svg or .png.", dir_okay=False)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a config that stands there.")] = False,
) -> None:
    """Find the score thresholds, and the overlap of suppression, that do best, and write a config for `run --config`.

    Thresholds are swept exactly over what the run found. Where the run kept its candidates, thresholds may fall and
    the overlap is sought too; nothing is run again.

    Examples:

      pbsbatch run --input slides/ --output results --keep-candidates

      pbsbatch tune results --truth slides/truth.json --output tuned.toml --plot tuned.svg

      pbsbatch run --input archive/ --config tuned.toml
    """
    from pbsbatch.cli.evaluate import pairs, policy, write
    from pbsbatch.errors import UsageError
    from pbsbatch.evaluate.labels import Labels, labels_from_run
    from pbsbatch.evaluate.offered import offered
    from pbsbatch.evaluate.sweep import GOALS
    from pbsbatch.evaluate.together import Compared, compared
    from pbsbatch.evaluate.truth import read_truth
    from pbsbatch.evaluate.tune import config_text, tune
    from pbsbatch.evaluate.tune_plot import drawn_tuning
    from pbsbatch.results import open_run

    if goal not in GOALS:
        raise UsageError(f"--for must be one of {', '.join(GOALS)}, not {goal!r}")
    if plot is not None and plot.suffix not in (".svg", ".png"):
        raise UsageError(f"--plot ends in .svg or .png, not {plot.name!r}")
    if output.exists() and not force:
        raise UsageError("something stands there already", path=output, cure="Give another --output, or --force")
    if truth is None:
        raise UsageError("--truth is missing", cure="Give the labelled truth of the run's slides")
    wanted = read_truth(truth, file_format, split)
    if wanted.points:
        raise UsageError("thresholds are tuned on boxes, points have none", path=truth)
    mapping, rules = pairs(class_map), policy(border, incomplete, ignore)

    def hold(found: Labels) -> Compared:
        return compared(wanted, found, mapping, rules)

    run = open_run(out)
    tuned = tune(labels_from_run(run), hold, goal, iou, offered(run))
    if not tuned.thresholds:
        raise UsageError("no class of the truth was found at all: nothing can be tuned", path=out)
    images = tuned.before.images
    model = run.facts.get("config", {}).get("model")
    write(output, config_text(tuned, model, f" over {images} image{'s' * (images != 1)}"))
    if plot is not None:
        write(plot, drawn_tuning(tuned, plot.suffix[1:]))
    _show(tuned, output)


def _show(tuned: Tuned, output: Path) -> None:
    from rich.markup import escape
    from rich.table import Table

    from pbsbatch.cli.console import console

    show = console()
    table = Table(box=None, header_style="bold", pad_edge=False)
    heads = ("", "threshold", "F1 before", "after", "AP50 before", "after", "count MAE before", "after")
    for i, title in enumerate(heads):
        table.add_column(title, justify="left" if i == 0 else "right", no_wrap=True)
    for was, now in zip(tuned.before.rows, tuned.promised.rows, strict=True):
        threshold = tuned.sweeps[was.name].threshold if was.name in tuned.sweeps else None
        values = [f"{v:.4f}" for name in ("f1", "ap50", "count_mae") for v in (getattr(was, name), getattr(now, name))]
        table.add_row(escape(was.name), "" if threshold is None else f"{threshold:.4f}", *values)
    show.print(table)
    if tuned.nms_iou is not None:
        show.print(f"overlap of suppression (nms_iou): {tuned.nms_iou:g}")
    for note in tuned.notes:
        show.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)
    show.print(f"config:  {output}   (pbsbatch run --config {output})", soft_wrap=True)
