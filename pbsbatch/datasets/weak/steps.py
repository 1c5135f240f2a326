"""What a method of weak masks returns, and what methods share.

Laws. A method is a function of the picture and its settings. Its labels number the cells 1 to N in the picture's own
pixels, 0 where there is none; its stages are what it did on the way, to be looked at.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from pbsbatch.datasets.crop.stained import CENTRE, Rule, cell_diameter, in_the_middle, stain
from pbsbatch_kernels.regions import extents

__all__ = ["Labels", "Mask", "Method", "Plane", "Steps", "View", "chosen", "enlarged", "filled", "nothing", "reduced"]

Image = NDArray[np.uint8]
Labels = NDArray[np.int32]
Mask = NDArray[np.uint8]
Plane = NDArray[np.float32]

HOLE = 0.6
"""Diameter, in cells, below which what a mask encloses belongs to it."""
LEAST = 0.3
"""Diameter, in cells, of the smallest piece that is a cell."""
STAINED = 0.05
"""Share of a white cell that is stained as nuclei are, at least."""


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """What came of a picture."""

    labels: Labels
    stages: tuple[tuple[str, NDArray[Any]], ...] = ()  # name and picture: RGB, or a plane of any type and scale


class Method(Protocol):
    """A way to weak masks."""

    def __call__(self, image: Image) -> Steps:
        """Return what came of a picture (H, W, 3) RGB."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A picture on the grid that a method works on."""

    pixels: Image
    cell: float  # diameter of a white cell in pixels of this grid
    size: tuple[int, int]  # width and height of the picture


def reduced(image: Image, rule: Rule, across: int) -> View | None:
    """Return a picture so small that a cell is about `across` pixels wide; None where nothing is stained."""
    cell = rule.cell_px if math.isfinite(rule.cell_px) else cell_diameter(image, rule)
    if not math.isfinite(cell):
        return None
    high, wide = image.shape[:2]
    step = max(1, int(cell / across))
    small = (max(1, round(wide / step)), max(1, round(high / step)))
    pixels = image if step == 1 else np.asarray(cv2.resize(image, small, interpolation=cv2.INTER_AREA), np.uint8)
    return View(pixels, cell * small[0] / wide, (wide, high))


def enlarged(labels: Labels, size: tuple[int, int]) -> Labels:
    """Return labels in the picture's pixels."""
    if labels.shape == size[::-1]:
        return labels
    return np.asarray(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST), np.int32)


def nothing(image: Image) -> Steps:
    """Return that a picture holds no cell."""
    return Steps(np.zeros(image.shape[:2], np.int32), (("picture", image),))


def filled(mask: Mask, cell: float) -> Mask:
    """Return a mask without its small holes: pale centres, not the glass between cells."""
    _, holes, pieces, _ = cv2.connectedComponentsWithStats(1 - mask, connectivity=4)
    small = pieces[:, cv2.CC_STAT_AREA] < math.pi / 4 * (HOLE * cell) ** 2
    small[0] = False
    return np.asarray(mask | small[holes], np.uint8)


def chosen(labels: Labels, view: View, rule: Rule) -> Labels:
    """Return the labels of white cells alone, numbered anew: large enough, stained, and as the rule picks them."""
    count = int(labels.max(initial=0))
    grid = extents(labels, count + 1)[1:]
    area = np.maximum(grid[:, 4], 1)
    stained = np.bincount(labels[stain(view.pixels, rule) > 0], minlength=count + 1)[1:]
    keep = (grid[:, 4] >= math.pi / 4 * (LEAST * view.cell) ** 2) & (stained >= STAINED * area)
    if rule.pick == CENTRE:
        keep = in_the_middle(grid, labels.shape, keep)
    number = np.zeros(count + 1, np.int32)
    number[1:][keep] = np.arange(1, int(keep.sum()) + 1)
    return np.asarray(number[labels], np.int32)
