"""Write weak masks of a folder of pictures: the body of `pbsbatch data masks`.

Laws. A mask has its picture's size; its pixels are the numbers of cells, 0 where there is none, in 8 bits or, of more
than 255 cells, in 16. Classes stay: masks lie in a folder of the name of their picture's. Every picture has a row in
masks.csv. A picture whose truth is missing or does not fit is named and has a mask all the same.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pbsbatch.datasets.crop.choose import choose
from pbsbatch.datasets.crop.stained import Rule
from pbsbatch.datasets.made import Made, clear_ours, outside, table_bytes
from pbsbatch.datasets.pictures import Picture, each, pictures_below, pixels_of
from pbsbatch.datasets.readers.problems import Problem, RecordError
from pbsbatch.datasets.weak.score import overlap, read_truth
from pbsbatch.datasets.weak.sheet import draw_sheet
from pbsbatch.datasets.weak.steps import Method, Steps
from pbsbatch.disk import make_folder, output_errors, write_atomic
from pbsbatch.synth.archive import Tick, may_write

__all__ = ["Tally", "mask_archive"]

COLUMNS = ("picture", "class", "mask", "cells", "share", "iou", "left_out")
OURS = re.compile(r".+\.mask\.png|masks\.csv")
MOST_SHOWN = 24
"""Pictures on a sheet, spread over the folder."""
NONE = "no cell"


@dataclass(slots=True)
class Tally:
    """What came of a folder."""

    pictures: int = 0
    masks: int = 0
    cells: int = 0
    empty: int = 0
    cell_px: float = math.nan  # what cells of fields were taken to measure
    scores: list[float] = field(default_factory=list)  # of the pictures whose truth is known
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Made:
    mask: str
    cells: int
    share: float
    score: float
    flaw: str
    shown: tuple[Steps, NDArray[np.integer] | None] | None


def mask_archive(
    root: Path, output: Path, method: Callable[[Rule], Method], rule: Rule, *, pick: str = "auto",
    truth: Path | None = None, sheet: Path | None = None, force: bool = False, workers: int = 1,
    tick: Tick = lambda name, done, of: None,
) -> Tally:  # fmt: skip
    """Write NAME.mask.png for each picture and masks.csv, and a sheet of all steps where one is asked for."""
    pictures = pictures_below(root)
    outside(output, root)
    may_write(output, force=force)
    choice, made_in = choose(pictures, rule, pick), Made(output)
    on_sheet = set(pictures[:: -(-len(pictures) // MOST_SHOWN)]) if sheet is not None else set()

    def masked(picture: Picture) -> _Made:
        steps = method(choice.of(picture))(pixels_of(picture))
        known, flaw = _truth(truth, picture, steps)
        count = int(steps.labels.max(initial=0))
        name = f"{picture.name}.mask.png" if count else ""
        if count:
            made_in.write(name, _png(steps.labels))
        score = math.nan if known is None else overlap(steps.labels, known)
        shown = (steps, known) if picture in on_sheet else None
        return _Made(name, count, float((steps.labels > 0).mean()), score, flaw, shown)

    tally = Tally(pictures=len(pictures), cell_px=choice.measured)
    rows: list[tuple[object, ...]] = []
    drawn: list[tuple[str, Steps, NDArray[np.integer] | None]] = []
    with output_errors(output):
        make_folder(output)
        clear_ours(output, OURS)
        for done, (picture, made) in enumerate(each(pictures, masked, workers), 1):
            tick(root.name or str(root), done, len(pictures))
            rows.append(_row(picture, made, tally))
            if isinstance(made, _Made) and made.shown is not None:
                drawn.append((picture.told, *made.shown))
        write_atomic(output / "masks.csv", [table_bytes(COLUMNS, rows)])
    if sheet is not None and drawn:
        with output_errors(sheet):
            write_atomic(sheet, [_encoded(np.ascontiguousarray(draw_sheet(drawn)[..., ::-1]))])
    return tally


def _truth(folder: Path | None, picture: Picture, steps: Steps) -> tuple[NDArray[np.integer] | None, str]:
    """Return a picture's truth, or None and what is wrong with it."""
    if folder is None:
        return None, ""
    try:
        return read_truth(folder, picture, steps.labels.shape[::-1]), ""
    except RecordError as error:
        return None, str(Problem(Path(picture.told), error.record, error.what, error.cure))


def _row(picture: Picture, made: _Made | Problem, tally: Tally) -> tuple[object, ...]:
    """Count what came of a picture and return its row."""
    if isinstance(made, Problem):
        tally.problems.append(str(made))
        return picture.told, picture.kind, "", "", "", "", made.what
    tally.masks += bool(made.cells)
    tally.cells += made.cells
    tally.empty += not made.cells
    if made.flaw:
        tally.problems.append(made.flaw)
    score: object = ""
    if math.isfinite(made.score):
        tally.scores.append(made.score)
        score = round(made.score, 4)
    said = "" if made.cells else NONE
    return picture.told, picture.kind, made.mask, made.cells, round(made.share, 4), score, said


def _png(labels: NDArray[np.int32]) -> bytes:
    return _encoded(labels.astype(np.uint8) if labels.max(initial=0) < 256 else labels.astype(np.uint16))


def _encoded(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    done, file = cv2.imencode(".png", pixels)
    assert done
    return bytes(file.data)
