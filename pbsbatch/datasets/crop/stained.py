"""Find stained cells: hue and saturation, dilation, peaks of the distance, watershed; on a grid as cells allow it.

A white cell is told by its stain, which no red cell has; what was found grows by a little, so that the lobes of a
nucleus hang together and some cytoplasm is held. Laws. All lengths are shares of a cell's diameter: a picture twice as
large gives boxes twice as large. A box is right to about a pixel of the coarse grid, of which a cell has GRID_PX.
The same steps one by one at full size, by OpenCV and scikit-image, find the same cells (tests/datasets/crop)
and take far longer (benchmarks/crop.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pbsbatch_kernels.flood import flood
from pbsbatch_kernels.peaks import local_maxima
from pbsbatch_kernels.regions import extents
from pbsbatch_kernels.stained import hue_saturation, otsu, within

__all__ = ["CENTRE", "PICKS", "Found", "Rule", "cell_diameter", "disc", "find", "in_the_middle", "stain"]

Image = NDArray[np.uint8]
Mask = NDArray[np.uint8]

ALL, CENTRE = "all", "centre"
PICKS = (ALL, CENTRE)
"""Every cell of a field; the biggest in the middle of a picture of one cell."""
GRID_PX = 20
"""Pixels of the coarse grid across a cell: with 16 boxes differ twice as much from those of full size."""
LOOK_PX = 64
"""Pixels of the grid on which a cell's size is measured, along the picture's shorter side."""
COARSEST = 255
FINER = 8
"""Steps of height to a pixel of distance."""
WHOLE = 1.15
"""A cell's diameter over that of its stain, as one disc: nuclei fill about three quarters of white cells."""
MIDDLE = 0.25
"""The middle of a picture reaches so far from its centre, in shares of its sides."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What counts as a cell. Hues are OpenCV's, 0 to 179; lengths are shares of a cell's diameter."""

    pick: str = ALL
    hue: tuple[int, int] = (115, 172)  # blue violet to magenta; red cells are beyond, at 175 to 20
    saturation: int = 70  # at least, and above what Otsu's threshold says of the picture
    cell_px: float = math.nan  # NaN: measured in the picture
    grow: float = 0.08
    apart: float = 0.7  # two peaks nearer than this are one cell
    deep: float = 0.12  # of the distance at a peak, at least
    least: float = 0.4  # diameter of the smallest cell


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The cells of a picture."""

    boxes: NDArray[np.int32]  # (N, 4) x0, y0, x1, y1, ends exclusive, in pixels of the picture
    whole: NDArray[np.bool_]  # (N,) False: the picture's border cuts it
    step: int  # pixels of the picture along one of the coarse grid
    cell_px: float  # diameter that lengths were shares of; NaN where nothing is stained
    flooded: NDArray[np.int32]  # the coarse grid, by peak
    number: NDArray[np.int32]  # of each peak: 1 + its cell, 0 where it is none

    @property
    def labels(self) -> NDArray[np.int32]:
        """Return the coarse grid by cell: 1 + its row in boxes, 0 for none."""
        return self.number[self.flooded]


def find(image: Image, rule: Rule) -> Found:
    """Return the cells of a picture (H, W, 3) RGB, in order of their peaks; with pick centre at most one."""
    cell, seen, mask = rule.cell_px, 0, None
    if not math.isfinite(cell):
        seen = _look_step(image)
        mask = stain(image, rule, seen)
        cell = _diameter(mask, seen, rule)
    if not math.isfinite(cell):
        none = np.zeros(1, np.int32)
        return Found(np.zeros((0, 4), np.int32), np.zeros(0, np.bool_), 1, cell, none[:, None], none)
    step = max(1, min(int(cell / GRID_PX), COARSEST))
    across = cell / step
    if mask is None or step != seen:
        mask = stain(image, rule, step)
    mask = np.asarray(cv2.dilate(mask, disc(rule.grow * across)), np.uint8)
    height = np.asarray(cv2.distanceTransform(mask, cv2.DIST_L2, 5), np.float32)
    peaks = local_maxima(height, max(1, round(rule.apart * across)), max(1.0, rule.deep * across))
    below = (FINER * (height.max(initial=0.0) - height)).astype(np.int32)
    labels = flood(below, peaks, mask)
    grid = extents(labels, len(peaks) + 1)[1:]
    keep = grid[:, 4] >= math.pi / 4 * (rule.least * across) ** 2
    if rule.pick == CENTRE:
        keep = in_the_middle(grid, labels.shape, keep)
    return _found(grid, labels, keep, image.shape[:2], step, cell)


def stain(image: Image, rule: Rule, step: int = 1) -> Mask:
    """Return the mask (0, 1) of stained pixels on a grid of every step-th pixel."""
    hue, saturation, histogram = hue_saturation(image, step, rule.saturation)
    return within(hue, saturation, *rule.hue, max(otsu(histogram), rule.saturation - 1))


def disc(radius: float) -> Mask:
    """Return what to dilate or erode by."""
    r = max(1, round(radius))
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * r + 1, 2 * r + 1)), np.uint8)


def cell_diameter(image: Image, rule: Rule) -> float:
    """Return the diameter of a cell by what is stained; NaN where nothing is.

    Of a picture of one cell: the stain in its middle half as one disc. Of a field: its largest piece of stain.
    """
    step = _look_step(image)
    return _diameter(stain(image, rule, step), step, rule)


def _look_step(image: Image) -> int:
    shorter: int = min(image.shape[:2])
    return max(1, min(shorter // LOOK_PX, COARSEST))


def _diameter(mask: Mask, step: int, rule: Rule) -> float:
    if rule.pick == CENTRE:
        margin = [round(MIDDLE * side) for side in mask.shape]
        area = int(mask[margin[0] : mask.shape[0] - margin[0], margin[1] : mask.shape[1] - margin[1]].sum())
    else:
        closed = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, disc(1))
        _, _, pieces, _ = cv2.connectedComponentsWithStats(closed, connectivity=4)
        area = int(pieces[1:, cv2.CC_STAT_AREA].max(initial=0))
    return WHOLE * step * math.sqrt(4 * area / math.pi) if area else math.nan


def in_the_middle(grid: NDArray[np.int32], shape: tuple[int, ...], keep: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a choice of the biggest piece that lies in the middle, or of none. grid: as extents has it.

    Law: a piece lies in the middle if its box holds the picture's centre; where none does, if its box's centre is near.
    """
    high, wide = shape
    centre = np.array([wide, high]) / 2
    there = keep & (grid[:, :2] <= centre).all(1) & (grid[:, 2:4] >= centre).all(1)
    if not there.any():
        there = keep & (np.abs((grid[:, :2] + grid[:, 2:4]) / 2 - centre) <= MIDDLE * centre * 2).all(1)
    chosen = np.zeros(len(grid), np.bool_)
    if there.any():
        chosen[np.where(there, grid[:, 4], -1).argmax()] = True
    return chosen


def _found(
    grid: NDArray[np.int32], labels: NDArray[np.int32], keep: NDArray[np.bool_], size: tuple[int, ...], step: int,
    cell: float,
) -> Found:  # fmt: skip
    """Return the kept cells, numbered anew, in pixels of the picture."""
    number = np.zeros(len(grid) + 1, np.int32)
    number[1:][keep] = np.arange(1, int(keep.sum()) + 1)
    high, wide = size
    boxes = np.minimum(grid[keep, :4] * step, np.array([wide, high, wide, high], np.int32)).astype(np.int32)
    whole = np.asarray((boxes[:, :2] > 0).all(1) & (boxes[:, 2:] < (wide, high)).all(1), np.bool_)
    return Found(boxes, whole, step, cell, labels, number)
