"""Read a dense detector's grid: places whose score is good enough, their boxes, and outlines filled into masks.

Place (row, col) of a grid stands at ((col + 0.5) * stride, (row + 0.5) * stride) pixels. An outline says for each of
its directions how far the border lies from the box's centre, as a fraction of the ellipse within the box.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pbsbatch_kernels.jit import kernel

__all__ = ["Candidates", "candidates", "fill"]

SNAP = 256.0
"""Boxes are multiples of 1 / SNAP px: exact in float32 wherever a tile starts."""
LOG_LEAST, LOG_MOST = -4.0, 5.0
FAR = 1.5
"""An outline reaches at most so far beyond its ellipse; the corner of a box lies at 1.41."""
LARGEST_TILE = 1 << 16


class Candidates(NamedTuple):
    """Places and what they say, by class and then in reading order."""

    places: NDArray[np.int64]  # row * columns + column
    classes: NDArray[np.uint8]
    logits: NDArray[np.float32]
    boxes: NDArray[np.float32]  # (N, 4) x0, y0, x1, y1 pixels


def candidates(
    scores: NDArray[np.float32], boxes: NDArray[np.float32], least: NDArray[np.float32], stride: int, largest: float
) -> Candidates:
    """Return the places with a logit of at least `least` of its class, and whose box has its centre in the tile.

    scores (C, h, w) are logits; boxes (4, h, w) centre offset and log size in strides. Law: boxes have sides of 1 px to
    `largest` and do not depend on where the tile starts. What is not finite is refused.
    """
    classes, rows, cols = _grid(scores, "scores")
    if boxes.shape != (4, rows, cols) or boxes.dtype != np.float32:
        raise ValueError(f"boxes must be float32 (4, {rows}, {cols}), not {boxes.dtype} {boxes.shape}")
    if least.shape != (classes,) or not np.isfinite(least).all():
        raise ValueError(f"least must hold {classes} finite numbers")
    if stride < 1 or max(rows, cols) * stride > LARGEST_TILE or not 1 <= largest <= LARGEST_TILE:
        raise ValueError(f"a grid of {rows} x {cols} places cannot have stride {stride} and cells of {largest} px")
    scores, boxes, least = np.ascontiguousarray(scores), np.ascontiguousarray(boxes), least.astype(np.float32)
    count = _count(scores, least)
    out = Candidates(
        np.empty(count, np.int64), np.empty(count, np.uint8), np.empty(count, np.float32),
        np.empty((count, 4), np.float32),
    )  # fmt: skip
    kept = _collect(scores, boxes, least, stride, largest, *out)
    if kept < 0:
        raise ValueError("scores or boxes hold numbers that are not finite")
    return Candidates(out.places[:kept], out.classes[:kept], out.logits[:kept], out.boxes[:kept])


def fill(
    boxes: NDArray[np.float32], outlines: NDArray[np.float32], width: int, height: int
) -> tuple[NDArray[np.int32], tuple[NDArray[np.bool_], ...]]:
    """Return each cell's mask (h, w) and its window x, y, w, h within a tile.

    outlines (N, K) are fractions less 1. Law: a pixel of the tile belongs to a cell iff its centre lies within the
    polygon of the outline; a cell that has none, or is smaller than 2 px, has its ellipse's, else the pixel nearest
    to its centre.
    """
    n = len(boxes)
    if boxes.shape != (n, 4) or outlines.shape[:1] != (n,) or outlines.ndim != 2 or outlines.shape[1] < 3:
        raise ValueError(f"boxes {boxes.shape} and outlines {outlines.shape} must be (N, 4) and (N, 3 or more)")
    if not (1 <= width <= LARGEST_TILE and 1 <= height <= LARGEST_TILE):
        raise ValueError(f"a tile cannot be {width} x {height} px")
    wide, shapes = np.ascontiguousarray(boxes, np.float64), np.ascontiguousarray(outlines, np.float64)
    upright = (wide[:, 2:] >= wide[:, :2]).all()
    if not (upright and (np.abs(wide) <= LARGEST_TILE).all() and np.isfinite(shapes).all()):
        raise ValueError("boxes must be finite, near the tile and not inverted, outlines finite")
    angles = 2.0 * np.pi * np.arange(outlines.shape[1]) / outlines.shape[1]
    rays = np.stack([np.cos(angles), np.sin(angles)])
    windows, starts = np.empty((n, 4), np.int32), np.zeros(n + 1, np.int64)
    _rooms(wide, shapes, rays, width, height, starts)
    flat = np.zeros(int(starts[-1]), np.bool_)
    _fill(wide, shapes, rays, width, height, starts, windows, flat)
    ends = starts[:n] + windows[:, 2].astype(np.int64) * windows[:, 3]
    spans = zip(starts[:n].tolist(), ends.tolist(), windows[:, 3].tolist(), windows[:, 2].tolist(), strict=True)
    return windows, tuple(flat[a:b].reshape(h, w) for a, b, h, w in spans)


def _grid(scores: NDArray[np.float32], name: str) -> tuple[int, int, int]:
    if scores.ndim != 3 or scores.dtype != np.float32 or not 1 <= len(scores) <= 255:
        raise ValueError(f"{name} must be float32 (classes, rows, columns), not {scores.dtype} {scores.shape}")
    return scores.shape


@kernel
def _count(scores: NDArray[np.float32], least: NDArray[np.float32]) -> int:
    count = 0
    for c in range(scores.shape[0]):
        for row in range(scores.shape[1]):
            for col in range(scores.shape[2]):
                if not scores[c, row, col] < least[c]:  # NaN counts: it must be seen
                    count += 1
    return count


@kernel
def _collect(
    scores: NDArray[np.float32], boxes: NDArray[np.float32], least: NDArray[np.float32], stride: int, largest: float,
    places: NDArray[np.int64], classes: NDArray[np.uint8], logits: NDArray[np.float32], out: NDArray[np.float32],
) -> int:  # fmt: skip
    """Write the candidates and return how many, -1 if something is not finite."""
    rows, cols = scores.shape[1], scores.shape[2]
    half = np.empty(2)
    at = 0
    for c in range(scores.shape[0]):
        for row in range(rows):
            for col in range(cols):
                logit = scores[c, row, col]
                if logit < least[c]:
                    continue
                if not math.isfinite(logit):
                    return -1
                for k in range(4):
                    if not math.isfinite(boxes[k, row, col]):
                        return -1
                for k in range(2):
                    log = min(max(np.float64(boxes[2 + k, row, col]), LOG_LEAST), LOG_MOST)
                    half[k] = 0.5 * min(max(math.exp(log) * stride, 1.0), largest)
                # the part that is no multiple of half a pixel is rounded before the tile's place is added
                x, y = np.float64(boxes[0, row, col]) * stride, np.float64(boxes[1, row, col]) * stride
                x0 = (col + 0.5) * stride + np.floor((x - half[0]) * SNAP + 0.5) / SNAP
                y0 = (row + 0.5) * stride + np.floor((y - half[1]) * SNAP + 0.5) / SNAP
                x1 = (col + 0.5) * stride + np.floor((x + half[0]) * SNAP + 0.5) / SNAP
                y1 = (row + 0.5) * stride + np.floor((y + half[1]) * SNAP + 0.5) / SNAP
                if not (0 <= x0 + x1 < 2 * cols * stride and 0 <= y0 + y1 < 2 * rows * stride):
                    continue
                places[at] = row * cols + col
                classes[at] = c
                logits[at] = logit
                out[at, 0], out[at, 1], out[at, 2], out[at, 3] = x0, y0, x1, y1
                at += 1
    return at


@kernel
def _rooms(
    boxes: NDArray[np.float64], outlines: NDArray[np.float64], rays: NDArray[np.float64], width: int, height: int,
    starts: NDArray[np.int64],
) -> None:  # fmt: skip
    """Write where each cell's pixels may begin: room for its outline's window and for its ellipse's."""
    corners = np.empty((2, outlines.shape[1]))
    even = np.zeros(outlines.shape[1])
    for i in range(len(boxes)):
        _corners(boxes[i], outlines[i], rays, corners)
        _, _, w, h = _window(corners, boxes[i], width, height)
        _corners(boxes[i], even, rays, corners)
        _, _, ew, eh = _window(corners, boxes[i], width, height)
        starts[i + 1] = starts[i] + max(1, w * h, ew * eh)


@kernel
def _fill(
    boxes: NDArray[np.float64], outlines: NDArray[np.float64], rays: NDArray[np.float64], width: int, height: int,
    starts: NDArray[np.int64], windows: NDArray[np.int32], flat: NDArray[np.bool_],
) -> None:  # fmt: skip
    corners = np.empty((2, outlines.shape[1]))
    even = np.zeros(outlines.shape[1])
    for i in range(len(boxes)):
        box = boxes[i]
        pixels = 0
        x = y = w = h = 0
        for turn in range(2):
            if pixels > 0 or (turn == 0 and (box[2] - box[0] < 2 or box[3] - box[1] < 2)):
                continue
            _corners(box, outlines[i] if turn == 0 else even, rays, corners)
            x, y, w, h = _window(corners, box, width, height)
            flat[starts[i] : starts[i + 1]] = False
            pixels = _paint(corners, box, x, y, w, h, flat[starts[i] : starts[i + 1]])
        if pixels == 0:
            x = min(max(math.floor((box[0] + box[2]) / 2), 0), width - 1)
            y = min(max(math.floor((box[1] + box[3]) / 2), 0), height - 1)
            w = h = 1
            flat[starts[i]] = True
        windows[i, 0], windows[i, 1], windows[i, 2], windows[i, 3] = x, y, w, h


@kernel
def _corners(
    box: NDArray[np.float64], outline: NDArray[np.float64], rays: NDArray[np.float64], out: NDArray[np.float64]
) -> None:
    """Write the polygon's corners relative to the pixel that holds the box's centre: exact wherever the tile starts."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    fx, fy = x - math.floor(x), y - math.floor(y)
    w, h = (box[2] - box[0]) / 2, (box[3] - box[1]) / 2
    for k in range(len(outline)):
        reach = min(max(1.0 + outline[k], 0.0), FAR)
        out[0, k] = fx + reach * w * rays[0, k]
        out[1, k] = fy + reach * h * rays[1, k]


@kernel
def _window(
    corners: NDArray[np.float64], box: NDArray[np.float64], width: int, height: int
) -> tuple[int, int, int, int]:
    """Return x, y, w, h of the pixels of the tile whose centres may lie in the polygon."""
    at_x = math.floor((box[0] + box[2]) / 2)
    at_y = math.floor((box[1] + box[3]) / 2)
    x = max(0, at_x + math.ceil(corners[0].min() - 0.5))
    y = max(0, at_y + math.ceil(corners[1].min() - 0.5))
    x1 = min(width, at_x + math.ceil(corners[0].max() - 0.5))
    y1 = min(height, at_y + math.ceil(corners[1].max() - 0.5))
    return x, y, max(0, x1 - x), max(0, y1 - y)


@kernel
def _paint(
    corners: NDArray[np.float64], box: NDArray[np.float64], x: int, y: int, w: int, h: int, mask: NDArray[np.bool_]
) -> int:
    """Set the pixels within the polygon, row by row, and return how many: every edge turns a row's rest over."""
    left = x - math.floor((box[0] + box[2]) / 2)
    top = y - math.floor((box[1] + box[3]) / 2)
    n = corners.shape[1]
    for k in range(n):
        ax, ay = corners[0, k], corners[1, k]
        bx, by = corners[0, (k + 1) % n], corners[1, (k + 1) % n]
        if by < ay:
            ax, ay, bx, by = bx, by, ax, ay
        first = max(0, math.ceil(ay - 0.5) - top)
        last = min(h, math.ceil(by - 0.5) - top)
        for row in range(first, last):
            cross = ax + (row + top + 0.5 - ay) * (bx - ax) / (by - ay)
            col = max(0, math.ceil(cross - 0.5) - left)
            if col < w:
                mask[row * w + col] = not mask[row * w + col]
    pixels = 0
    for row in range(h):
        inside = False
        for col in range(row * w, row * w + w):
            inside ^= mask[col]
            mask[col] = inside
            pixels += inside
    return pixels
