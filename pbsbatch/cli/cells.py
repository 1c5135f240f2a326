"""What `pbsbatch data crop` and `data masks` are both asked, and say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Cell", "Force", "Pick", "Pictures", "one_of", "tell_size"]

Pictures = Annotated[
    Path, typer.Argument(help="A folder of pictures, or of folders of pictures, one for each class.", metavar="DIR")
]
Pick = Annotated[
    str,
    typer.Option(help="all: every cell; centre: the biggest in the middle; auto: centre in class folders, else all."),
]
Cell = Annotated[
    float, typer.Option("--cell", help="Pixels across a white cell; 0: measured in the pictures.", min=0.0)
]
Force = Annotated[bool, typer.Option("--force", help="Write into a folder in use; replaces what was made before.")]


def one_of(option: str, value: str, known: Sequence[str]) -> None:
    """Refuse a word that is not known."""
    from pbsbatch.errors import UsageError

    if value not in known:
        raise UsageError(f"{option} {value!r} is unknown", cure=f"Choose one of {', '.join(known)}")


def tell_size(cell_px: float) -> None:
    """Say how large the cells of fields were taken to be, where that was measured."""
    if math.isfinite(cell_px):
        typer.echo(f"note: cells of fields measure {cell_px:.0f} px; --cell PX says it better", err=True)
