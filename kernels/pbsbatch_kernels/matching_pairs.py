"""Find the truths that a detection fits: a grid for many truths, a plain loop for few, and the measure of a pair."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pbsbatch_kernels.jit import kernel
from pbsbatch_kernels.matching_runs import common

__all__ = ["BOXES", "MASKS", "POINTS", "Cell", "Near", "Objects", "boxes_near", "corners", "masks_near", "points_near"]

BOXES, MASKS, POINTS = 0, 1, 2


class Objects(NamedTuple):
    """Truths or detections, class by class and image by image: arrays lie in the order that they are walked through."""

    order: NDArray[np.int64]  # where each stood in the set given
    keys: NDArray[np.int64]  # class and image in one number; they rise
    boxes: NDArray[np.float64]  # (N, 4) x, y, w, h
    sizes: NDArray[np.float64]  # what an IoU is made of: w * h, or pixels
    pieces: NDArray[np.int32]  # the masks' segments, as they were given
    starts: NDArray[np.int64]


class Cell(NamedTuple):
    """The truths of one class of one image, side by side."""

    corners: NDArray[np.float64]  # x0, y0, x1, y1
    sizes: NDArray[np.float64]
    crowd: NDArray[np.bool_]
    who: NDArray[np.int64]


class Near(NamedTuple):
    """The candidates of one detection: the truth, how well it fits, and a bit for each threshold it passes."""

    who: NDArray[np.int64]
    fits: NDArray[np.float64]
    bits: NDArray[np.int64]


@kernel
def corners(box: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Return x0, y0, x1, y1, rounded as pycocotools does."""
    return box[0], box[1], box[2] + box[0], box[3] + box[1]


@kernel
def boxes_near(cell: Cell, first: int, last: int, found: Objects, i: int, lowest: float, near: Near, n: int) -> int:
    """Append the truths [first, last) whose boxes' IoU with detection i is at least lowest; return the new number."""
    x0, y0, x1, y1 = corners(found.boxes[i])
    for g in range(first, last):
        w = min(x1, cell.corners[g, 2]) - max(x0, cell.corners[g, 0])
        h = min(y1, cell.corners[g, 3]) - max(y0, cell.corners[g, 1])
        if w > 0.0 and h > 0.0:
            fit = _iou(w * h, found.sizes[i], cell.sizes[g], cell.crowd[g])
            if fit >= lowest:
                near.who[n], near.fits[n] = cell.who[g], fit
                n += 1
    return n


@kernel
def masks_near(
    cell: Cell, first: int, last: int, true: Objects, found: Objects, i: int, lowest: float, near: Near, n: int
) -> int:
    """Append the truths [first, last) whose masks' IoU with detection i is at least lowest; return the new number.

    Law: pixels are counted only where the boxes leave room for such an IoU.
    """
    x0, y0, x1, y1 = corners(found.boxes[i])
    size, start, end = found.sizes[i], found.starts[found.order[i]], found.starts[found.order[i] + 1]
    for g in range(first, last):
        w = min(x1, cell.corners[g, 2]) - max(x0, cell.corners[g, 0])
        h = min(y1, cell.corners[g, 3]) - max(y0, cell.corners[g, 1])
        if not (w > 0.0 and h > 0.0):
            continue
        most = min(w * h, size, cell.sizes[g])
        if _iou(most, size, cell.sizes[g], cell.crowd[g]) < lowest:
            continue
        who = true.order[cell.who[g]]
        shared = common(true.pieces, true.starts[who], true.starts[who + 1], found.pieces, start, end)
        fit = _iou(float(shared), size, cell.sizes[g], cell.crowd[g])
        if fit >= lowest:
            near.who[n], near.fits[n] = cell.who[g], fit
            n += 1
    return n


@kernel
def points_near(cell: Cell, first: int, last: int, found: Objects, i: int, lowest: float, near: Near, n: int) -> int:
    """Append the truths [first, last) within a distance of -lowest from detection i; a fit is minus the distance."""
    x, y = found.boxes[i, 0], found.boxes[i, 1]
    for g in range(first, last):
        dx, dy = x - cell.corners[g, 0], y - cell.corners[g, 1]
        fit = -np.sqrt(dx * dx + dy * dy)
        if fit >= lowest:
            near.who[n], near.fits[n] = cell.who[g], fit
            n += 1
    return n


@kernel
def _iou(shared: float, size: float, true_size: float, crowd: bool) -> float:
    """Return the IoU by pycocotools' operations in their order; a crowd is measured by the detection's own size."""
    union = size if crowd else size + true_size - shared
    return shared / union if union != 0.0 else np.inf  # far out x + w is rounded, and a union may come to nothing
