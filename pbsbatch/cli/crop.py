"""`pbsbatch data crop`: single cells out of pictures."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Annotated

import typer

from pbsbatch.cli.bars import notes, with_bars
from pbsbatch.cli.cells import Cell, Force, Pick, Pictures, one_of, tell_size

__all__ = ["crop"]


def crop(
    pictures: Pictures,
    output: Annotated[Path, typer.Option(help="Folder for the crops; made if missing.")],
    *,
    pick: Pick = "auto",
    cell: Cell = 0.0,
    side: Annotated[
        int, typer.Option(help="Pixels of a crop's side; 0: the cell's longer side and a margin.", min=0, max=4096)
    ] = 0,
    margin: Annotated[
        float, typer.Option(help="Around the cell on either side, in shares of its longer one.", min=0.0, max=4.0)
    ] = 0.15,
    hue: Annotated[str, typer.Option(help="Hues of stained cells, 0 to 179, both ends included.")] = "115-172",
    saturation: Annotated[
        int, typer.Option(help="Least saturation of stain; Otsu's threshold raises it.", min=1, max=255)
    ] = 70,
    force: Force = False,
) -> None:
    """Cut white cells out of fields or single-cell pictures, each in the middle of its crop.

    Finds stain by hue and saturation, lets it grow a little, parts cells that touch (peaks of the distance, watershed)
    and writes NAME.cell.png for each, under its class, and crops.csv: every cell's box, and what gave no crop and why.

    Example:

      pbsbatch data crop pictures --output cells --side 128
    """
    from pbsbatch.cli.console import some
    from pbsbatch.datasets.crop import PICKS, Frame, Rule, crop_archive

    one_of("--pick", pick, ("auto", *PICKS))
    rule = Rule(hue=_hues(hue), saturation=saturation, cell_px=cell or math.nan)
    workers = len(os.sched_getaffinity(0))
    tally = with_bars(
        lambda tick: crop_archive(
            pictures, output, rule, Frame(side, margin), pick=pick, force=force, workers=workers, tick=tick
        )
    )
    notes(tally.problems)
    tell_size(tally.cell_px)
    told = [f"{some(tally.crops, 'cell')} from {some(tally.pictures, 'picture')} in {output}"]
    told += [f"{some(tally.empty, 'picture')} without one"] if tally.empty else []
    told += [f"{some(tally.cut_off, 'cell')} cut by a border"] if tally.cut_off else []
    told += [f"{some(len(tally.problems), 'picture')} could not be read"] if tally.problems else []
    typer.echo("; ".join(told))
    if not tally.crops:
        raise typer.Exit(1)


def _hues(text: str) -> tuple[int, int]:
    """Return the two ends of a range such as 115-172. Law: 170-10 goes round through red."""
    from pbsbatch.errors import UsageError

    low, dash, high = text.partition("-")
    ends = [int(part) if part.isascii() and part.isdigit() else -1 for part in (low.strip(), high.strip())]
    if not dash or not all(0 <= end < 180 for end in ends):
        raise UsageError(f"--hue {text!r} is no range of hues", cure="Write it like 115-172, of 0 to 179")
    return ends[0], ends[1]
