"""Let the places around a cell's best one vote about its box: their mistakes are not the same, their mean is better.

Law: a voted box does not depend on where the tile starts; it lies among the boxes that voted.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pbsbatch_kernels.jit import kernel
from pbsbatch_kernels.outlines import LOG_LEAST, LOG_MOST, SNAP

__all__ = ["REACH", "vote"]

REACH = 2
"""Places that vote lie at most so many rows and columns from the best."""


def vote(
    scores: NDArray[np.float32], boxes: NDArray[np.float32], places: NDArray[np.int64], classes: NDArray[np.uint8],
    stride: int, largest: float, least_iou: float,
) -> NDArray[np.float32]:  # fmt: skip
    """Return the boxes (N, 4) of cells, each the mean of what the places around its own say.

    scores (C, h, w) are logits and boxes (4, h, w) raw, as for `outlines.candidates`. A place votes if its box overlaps
    the cell's by `least_iou`, with the weight of its score for the cell's class.
    """
    n = len(places)
    if boxes.shape != (4, *scores.shape[1:]) or classes.shape != (n,) or not 0 < least_iou <= 1:
        raise ValueError(f"boxes {boxes.shape} and classes {classes.shape} do not fit {scores.shape} and {n} places")
    if n and not (places.min() >= 0 and places.max() < boxes[0].size and classes.max() < len(scores)):
        raise ValueError("a place or a class lies outside of the grid")
    out = np.empty((n, 4), np.float32)
    _vote(np.ascontiguousarray(scores), np.ascontiguousarray(boxes), places, classes, stride, largest, least_iou, out)
    return out


@kernel
def _vote(
    scores: NDArray[np.float32], boxes: NDArray[np.float32], places: NDArray[np.int64], classes: NDArray[np.uint8],
    stride: int, largest: float, least_iou: float, out: NDArray[np.float32],
) -> None:  # fmt: skip
    rows, cols = scores.shape[1], scores.shape[2]
    own, other, total = np.empty(4), np.empty(4), np.empty(4)
    for i in range(len(places)):
        row, col = places[i] // cols, places[i] % cols
        _said(boxes, row, col, 0, 0, stride, largest, own)
        total[:] = 0.0
        weight = 0.0
        for down in range(max(-REACH, -row), min(REACH + 1, rows - row)):
            for right in range(max(-REACH, -col), min(REACH + 1, cols - col)):
                _said(boxes, row + down, col + right, down, right, stride, largest, other)
                logit = np.float64(scores[classes[i], row + down, col + right])
                if not (math.isfinite(logit + other[0] + other[1] + other[2] + other[3])):
                    continue
                if _overlap(own, other) < least_iou:
                    continue
                share = 1.0 / (1.0 + math.exp(-min(max(logit, -50.0), 50.0)))
                weight += share
                for k in range(4):
                    total[k] += share * other[k]
        for k in range(4):
            # what is no multiple of half a pixel is rounded before the tile's place is added
            at = (col if k % 2 == 0 else row) + 0.5
            out[i, k] = at * stride + np.floor(total[k] / weight * SNAP + 0.5) / SNAP


@kernel
def _said(
    boxes: NDArray[np.float32], row: int, col: int, down: int, right: int, stride: int, largest: float,
    out: NDArray[np.float64],
) -> None:  # fmt: skip
    """Write a place's box relative to the centre of the place that lies `down` and `right` less far."""
    for k in range(2):
        log = min(max(np.float64(boxes[2 + k, row, col]), LOG_LEAST), LOG_MOST)
        half = 0.5 * min(max(math.exp(log) * stride, 1.0), largest)
        middle = (np.float64(boxes[k, row, col]) + (right if k == 0 else down)) * stride
        out[k], out[2 + k] = middle - half, middle + half


@kernel
def _overlap(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    wide = min(a[2], b[2]) - max(a[0], b[0])
    tall = min(a[3], b[3]) - max(a[1], b[1])
    if min(wide, tall) <= 0.0:
        return 0.0
    inter = wide * tall
    return float(inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter))
