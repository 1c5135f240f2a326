"""What to compose: size, layout, scales, rules. Law: spec, data set and number make one composite, bit for bit."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pbsbatch.errors import UsageError

__all__ = ["BACKGROUNDS", "EDGES", "UNITS", "ComposeSpec", "parse_grid", "parse_scales"]

UNITS = ("fields", "cells")
BACKGROUNDS = ("matched", "blank")
EDGES = ("clip", "drop")
MOST_SCALE = 20.0
MOST_GRID = 2000


@dataclass(frozen=True, slots=True)
class ComposeSpec:
    """How composites are made; shares and scales are bounded, see `check`."""

    width: int = 1920
    height: int = 1440
    seed: int = 0
    units: str = "fields"  # what is placed: whole fields, or single cells that stand alone in theirs
    grid: tuple[int, int] | None = None  # columns and rows of slots, one piece in each; None: places at random
    scales: tuple[float, ...] = (0.5, 1.0, 1.5)
    between: bool = False  # scales are the two ends of a range, not a choice
    diameter: float = math.nan  # of a red cell at scale 1; NaN: as large as the data has it, in a grid as fits
    overlap: bool = False  # may a later piece cover an earlier one
    background: str = (
        "matched"  # glass of one field, to which each piece is tinted; or blank: white, pieces as they are
    )
    balance: bool = False  # draw classes equally often
    fill: float = 0.6  # share of the canvas that pieces placed at random take at most
    mosaic: float = 0.0  # share of composites that are four pieces which meet in a point
    mixup: float = 0.0  # share of composites that are two, seen through each other
    edge: str = "clip"  # a cell cut by an edge: its box is cut, or it is no cell
    keep: float = 0.3  # a cell of which less can be seen is none

    def __post_init__(self) -> None:
        if not (1 <= self.width <= 500_000 and 1 <= self.height <= 500_000):
            raise UsageError(f"a canvas of {self.width}x{self.height} px", cure="Each side may have 1 to 500000 pixels")
        for name, known in (("units", UNITS), ("background", BACKGROUNDS), ("edge", EDGES)):
            if getattr(self, name) not in known:
                raise UsageError(f"{name} is {getattr(self, name)!r}", cure=f"Choose one of {', '.join(known)}")
        for name in ("fill", "mosaic", "mixup", "keep"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} is {getattr(self, name)}", cure="Give a share between 0 and 1")
        if not self.scales or not all(0 < s <= MOST_SCALE for s in self.scales):
            raise UsageError(f"scales are {self.scales}", cure=f"Give numbers above 0, at most {MOST_SCALE:g}")
        if self.between and (len(self.scales) != 2 or self.scales[0] >= self.scales[1]):
            raise UsageError(f"a range of scales {self.scales}", cure="Write it like 0.5-1.5")
        if self.grid is not None and not all(1 <= n <= MOST_GRID for n in self.grid):
            raise UsageError(f"a grid of {self.grid[0]}x{self.grid[1]}", cure=f"Give 1 to {MOST_GRID} each way")
        if self.grid is not None and (self.width < self.grid[0] or self.height < self.grid[1]):
            raise UsageError("the grid is finer than the canvas", cure="Make the canvas larger")
        if self.diameter <= 0:
            raise UsageError(f"red cells of {self.diameter} px", cure="Give a diameter above 0")

    @property
    def one_scale(self) -> bool:
        """Say whether a red cell has one size everywhere, so that the canvas has a scale in um."""
        return math.isfinite(self.diameter) and not self.between and len(set(self.scales)) == 1


def parse_scales(text: str) -> tuple[tuple[float, ...], bool]:
    """Return scales and whether they are a range, from text such as 0.5,1,1.5 or 0.5-1.5."""
    between = "-" in text
    try:
        scales = tuple(float(word) for word in text.split("-" if between else ","))
    except ValueError as error:
        raise UsageError(f"--scale {text!r} is no list of numbers", cure="Write 0.5,1,1.5 or 0.5-1.5") from error
    return scales, between


def parse_grid(text: str) -> tuple[int, int] | None:
    """Return columns and rows from text such as 3 or 3x2; none from an empty one."""
    if not text:
        return None
    columns, x, rows = text.lower().partition("x")
    if not (columns.isascii() and columns.isdigit() and (not x or (rows.isascii() and rows.isdigit()))):
        raise UsageError(f"--grid {text!r} is no grid", cure="Write it like 3 or 3x2")
    return int(columns), int(rows if x else columns)
