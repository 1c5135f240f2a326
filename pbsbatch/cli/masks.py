"""`pbsbatch data masks`: outlines that nobody drew."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pbsbatch.cli.bars import notes, with_bars
from pbsbatch.cli.cells import Cell, Force, Pick, Pictures, one_of, tell_size

if TYPE_CHECKING:
    from pbsbatch.datasets.crop import Rule
    from pbsbatch.datasets.weak import Method

__all__ = ["masks"]


def masks(
    pictures: Pictures,
    output: Annotated[Path, typer.Option(help="Folder for the masks; made if missing.")],
    *,
    method: Annotated[
        str, typer.Option(help="watershed (Otsu); blobs (LoG, DoG, DoH); gradcam (where a classifier looks).")
    ] = "watershed",
    pick: Pick = "auto",
    cell: Cell = 0.0,
    model: Annotated[str, typer.Option(help="gradcam: a classifier by name or folder.")] = "differential",
    layers: Annotated[
        str,
        typer.Option(
            help="gradcam: names, or numbers in the order they are run, as 3,4,7; default: the last with places."
        ),
    ] = "",
    mpp: Annotated[
        float,
        typer.Option(help="gradcam: um per pixel; 0: a picture's shorter side is the classifier's crop.", min=0.0),
    ] = 0.0,
    truth: Annotated[
        Path | None, typer.Option(help="Exact label images of the same names: how well each mask fits is told.")
    ] = None,
    steps: Annotated[Path | None, typer.Option(help="Also draw all steps of some pictures into this PNG.")] = None,
    force: Force = False,
) -> None:
    """Make weak masks of white cells: outlines that nobody drew, to teach with or to correct.

    Writes NAME.mask.png for each picture (pixels are cell numbers, 0 where there is none) and masks.csv. gradcam is
    for pictures of one cell each; the others take fields too. Look at --steps before you teach with them.

    Example:

      pbsbatch data masks cells --method watershed --output masks --steps steps.png
    """
    from pbsbatch.cli.console import some
    from pbsbatch.datasets.crop import PICKS, Rule
    from pbsbatch.datasets.weak import mask_archive

    one_of("--pick", pick, ("auto", *PICKS))
    one_of("--method", method, ("watershed", "blobs", "gradcam"))
    _sheet(steps, pictures)
    make = _gradcam(model, layers, mpp, pick) if method == "gradcam" else _threshold(method)
    workers = 1 if method == "gradcam" else len(os.sched_getaffinity(0))
    tally = with_bars(
        lambda tick: mask_archive(
            pictures, output, make, Rule(cell_px=cell or math.nan), pick="centre" if method == "gradcam" else pick,
            truth=truth, sheet=steps, force=force, workers=workers, tick=tick,
        )
    )  # fmt: skip
    notes(tally.problems)
    tell_size(tally.cell_px)
    told = [
        f"{some(tally.cells, 'cell')} in {some(tally.masks, 'mask')} of {some(tally.pictures, 'picture')} in {output}"
    ]
    told += [f"{some(tally.empty, 'picture')} without one"] if tally.empty else []
    told += [f"{some(len(tally.problems), 'picture')} could not be read or judged"] if tally.problems else []
    if tally.scores:
        mean = sum(tally.scores) / len(tally.scores)
        told.append(f"overlap with the truth (IoU) {mean:.3f} in {some(len(tally.scores), 'picture')}")
    typer.echo("; ".join(told))
    if not tally.masks:
        raise typer.Exit(1)


def _sheet(steps: Path | None, pictures: Path) -> None:
    """Refuse to draw steps over a picture, or where there is no folder."""
    from pbsbatch.errors import UsageError

    if steps is None:
        return
    if steps.suffix.lower() != ".png":
        raise UsageError("--steps draws a PNG", path=steps, cure="Let its name end in .png")
    if not steps.parent.is_dir() or steps.is_dir() or steps.resolve().is_relative_to(pictures.resolve()):
        raise UsageError(
            "--steps cannot be drawn there", path=steps, cure="Name a file in a folder beside the pictures"
        )


def _threshold(method: str) -> Callable[[Rule], Method]:
    from pbsbatch.datasets.weak import Blobs, Watershed

    return Blobs if method == "blobs" else Watershed


def _gradcam(model: str, layers: str, mpp: float, pick: str) -> Callable[[Rule], Method]:
    """Return the method of a classifier; what it needs is torch."""
    from pbsbatch.cli.train import need
    from pbsbatch.errors import UsageError

    if pick == "all":
        raise UsageError("gradcam finds the one cell that is named", cure="Use --pick centre, on pictures of one cell")
    need()
    from pbsbatch.train.classifier.gradcam import GradCam, layers_of, looker_of

    looker = looker_of(model)
    chosen = layers_of(looker, layers)
    typer.echo(f"note: layers {', '.join(chosen)}", err=True)
    return lambda rule: GradCam(looker, chosen, mpp or math.nan)
