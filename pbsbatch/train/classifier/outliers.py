"""Crops of what no label names, to see how much of it a classifier notices.

Law: each set says in its name how it was made. None of them is a blast, a smudge cell or an artefact of a scanner:
they are what can be made from data at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from pbsbatch.datasets.samples import WHITE
from pbsbatch.train.classifier.crops import plain
from pbsbatch.train.classifier.pictures import Cell
from pbsbatch.train.classifier.settings import Settings
from pbsbatch.train.synthetic import RED_CELL_UM, synthetic_samples

__all__ = ["OUTLIERS", "outliers"]

Image = NDArray[np.uint8]
FIELD_PX = 512
CORNER = 1 / 3
"""Of a picture's side: so much of each corner is free of the cell in its middle."""


def outliers(settings: Settings, cells: Sequence[Cell], count: int, seed: int) -> dict[str, list[Image]]:
    """Return some crops of each kind, made from cells that were not taught on."""
    return {name: make(settings, cells, count, np.random.default_rng(seed)) for name, make in OUTLIERS.items()}


def _drawn(settings: Settings, cells: Sequence[Cell], count: int, rng: np.random.Generator) -> list[Image]:
    found: list[Image] = []
    fields = synthetic_samples(count, int(rng.integers(2**31)), FIELD_PX, RED_CELL_UM / settings.crop_mpp)
    while len(found) < count:
        sample = next(fields)
        half = settings.crop_px // 2
        around = np.pad(sample.image, [(half, half), (half, half), (0, 0)], mode="symmetric")
        for box in sample.boxes[sample.classes == WHITE]:
            x, y = round(float(box[0] + box[2]) / 2), round(float(box[1] + box[3]) / 2)
            found.append(np.ascontiguousarray(around[y : y + settings.crop_px, x : x + settings.crop_px]))
    return found[:count]


def _red_cells(settings: Settings, cells: Sequence[Cell], count: int, rng: np.random.Generator) -> list[Image]:
    def one(cell: Cell) -> Image:
        height, width = (round(length * CORNER) for length in cell.pixels.shape[:2])
        corner = cell.pixels[:height, :width]
        whole = np.pad(corner, [(height, height), (width, width), (0, 0)], mode="symmetric")
        return plain(Cell(cell.name, cell.label, whole, cell.mpp), settings.crop_px, settings.crop_mpp)

    return [one(cells[i]) for i in rng.choice(len(cells), count)]


def _halves(settings: Settings, cells: Sequence[Cell], count: int, rng: np.random.Generator) -> list[Image]:
    made: list[Image] = []
    while len(made) < count:
        a, b = (cells[i] for i in rng.choice(len(cells), 2))
        if a.label != b.label:
            top, bottom = (plain(cell, settings.crop_px, settings.crop_mpp) for cell in (a, b))
            made.append(np.concatenate([top[: len(top) // 2], bottom[len(top) // 2 :]]))
    return made


def _smeared(settings: Settings, cells: Sequence[Cell], count: int, rng: np.random.Generator) -> list[Image]:
    def one(cell: Cell) -> Image:
        near = plain(cell, settings.crop_px, settings.crop_mpp)
        height, width = near.shape[:2]
        stretched = cv2.resize(near, (round(2.2 * width), height), interpolation=cv2.INTER_LINEAR)
        left = (stretched.shape[1] - width) // 2
        kernel = np.full((1, 25), 1 / 25, np.float32)
        return np.ascontiguousarray(cv2.filter2D(stretched, -1, kernel)[:, left : left + width], np.uint8)

    return [one(cells[i]) for i in rng.choice(len(cells), count)]


OUTLIERS: Mapping[str, Callable[[Settings, Sequence[Cell], int, np.random.Generator], list[Image]]] = {
    "drawn white cells": _drawn,
    "red cells alone (a picture's corner, mirrored)": _red_cells,
    "halves of two cells": _halves,
    "cells stretched 2.2 times and smeared over 5 um": _smeared,
}
"""How each set is made, by its name."""
