"""Write the cells of a folder of pictures as crops: the body of `pbsbatch data crop`.

Laws. Classes stay: a picture's crops lie in a folder of the name of its own. A cell that the picture's border cuts is
no crop, for its middle is unknown; it is counted. Every picture has a row in crops.csv, also one that gave nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pbsbatch.datasets.crop.choose import choose
from pbsbatch.datasets.crop.cut import Frame, cut
from pbsbatch.datasets.crop.stained import Rule, find
from pbsbatch.datasets.made import Made, clear_ours, outside, table_bytes
from pbsbatch.datasets.pictures import Picture, each, pictures_below, pixels_of
from pbsbatch.datasets.readers.problems import Problem
from pbsbatch.datasets.samples import encode
from pbsbatch.disk import make_folder, output_errors, write_atomic
from pbsbatch.synth.archive import Tick, may_write

__all__ = ["TABLE", "Tally", "crop_archive"]

TABLE = "crops.csv"
COLUMNS = ("picture", "class", "crop", "x0", "y0", "x1", "y1", "crop_x", "crop_y", "crop_px", "cell_px", "left_out")
OURS = re.compile(r".+\.cell(-\d+)?\.png|crops\.csv")
CUT, NONE = "cut by the picture's border", "no cell"


@dataclass(slots=True)
class Tally:
    """What came of a folder."""

    pictures: int = 0
    crops: int = 0
    cut_off: int = 0  # cells at a picture's border
    empty: int = 0  # pictures without a whole cell
    cell_px: float = math.nan  # what cells of fields were taken to measure
    problems: list[str] = field(default_factory=list)


def crop_archive(
    root: Path, output: Path, rule: Rule, frame: Frame, *, pick: str = "auto", force: bool = False, workers: int = 1,
    tick: Tick = lambda name, done, of: None,
) -> Tally:  # fmt: skip
    """Write NAME.cell.png for each cell, or NAME.cell-2.png of several, and crops.csv; say what they are.

    pick auto: of pictures in class folders the cell in their middle, of others every cell.
    """
    pictures = pictures_below(root)
    outside(output, root)
    may_write(output, force=force)
    tally = Tally(pictures=len(pictures))
    choice, made_in = choose(pictures, rule, pick), Made(output)
    tally.cell_px = choice.measured

    def cropped(picture: Picture) -> list[tuple[Any, ...]]:
        return list(_crops(picture, made_in, choice.of(picture), frame))

    with output_errors(output):
        make_folder(output)
        clear_ours(output, OURS)
        rows: list[tuple[Any, ...]] = []
        for done, (picture, made) in enumerate(each(pictures, cropped, workers), 1):
            tick(root.name or str(root), done, len(pictures))
            if isinstance(made, Problem):
                tally.problems.append(str(made))
                rows.append((picture.told, picture.kind, *[""] * 9, made.what))
                continue
            crops = sum(bool(row[2]) for row in made)
            tally.crops += crops
            tally.cut_off += sum(row[-1] == CUT for row in made)
            tally.empty += not crops
            rows += made
        write_atomic(output / TABLE, [table_bytes(COLUMNS, rows)])
    return tally


def _crops(picture: Picture, output: Made, rule: Rule, frame: Frame) -> Iterator[tuple[Any, ...]]:
    """Write a picture's crops and yield a row for each cell, or one that says that there is none."""
    image = pixels_of(picture)
    found = find(image, rule)
    told, number = (picture.told, picture.kind), 0
    cell = round(found.cell_px, 1) if math.isfinite(found.cell_px) else ""
    for box, whole in zip(found.boxes, found.whole.tolist(), strict=True):
        if not whole:
            yield *told, "", *box.tolist(), "", "", "", cell, CUT
            continue
        number += 1
        x, y, side = frame.around(box)
        name = f"{picture.name}.cell{'' if number == 1 else f'-{number}'}.png"
        output.write(name, encode(np.ascontiguousarray(cut(image, x, y, side))))
        yield *told, name, *box.tolist(), x, y, side, cell, ""
    if not len(found.boxes):
        yield *told, "", *[""] * 7, cell, NONE
