"""COCO's drawn cells as masks: polygons, and run lengths as numbers or packed into text.

Law: a pixel belongs to a polygon when its centre lies inside; parts of one cell are joined. Nothing is
allocated that is larger than the picture.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbsbatch.datasets.readers.problems import RecordError
from pbsbatch_kernels import rle

__all__ = ["mask_of", "polygon_mask", "run_lengths"]

Mask = NDArray[np.bool_]


def mask_of(
    segmentation: Any, box: tuple[float, float, float, float], size: tuple[int, int], record: str
) -> tuple[Mask, tuple[int, int]]:
    """Return a cell's mask and the pixel of the picture at which it begins."""
    if isinstance(segmentation, dict):
        return run_lengths(segmentation, size, record)
    if not np.isfinite(box).all():
        raise RecordError(f"corners {box} are no numbers", "Mark the cell again", record)
    x0, y0 = (int(np.clip(np.floor(v), 0, limit)) for v, limit in zip(box[:2], size, strict=True))
    x1, y1 = (int(np.clip(np.ceil(v), 0, limit)) for v, limit in zip(box[2:], size, strict=True))
    mask = np.zeros((max(0, y1 - y0), max(0, x1 - x0)), np.bool_)
    try:
        parts = [np.asarray(part, np.float64).reshape(-1, 2) for part in segmentation]
    except (TypeError, ValueError) as e:
        raise RecordError("segmentation is no list of x, y lists", "Export it again", record) from e
    for part in parts:
        if len(part) < 3 or not np.isfinite(part).all():
            raise RecordError("a polygon needs three corners that are numbers", "Draw it again", record)
        mask |= polygon_mask(part - (x0, y0), mask.shape)
    return mask, (x0, y0)


def polygon_mask(corners: NDArray[np.float64], shape: tuple[int, ...]) -> Mask:
    """Return the pixels whose centres lie inside a polygon, by the even-odd rule."""
    y = np.arange(shape[0]) + 0.5
    flips = np.zeros((shape[0], shape[1] + 1), np.int64)
    for (xa, ya), (xb, yb) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        rows = np.flatnonzero((y >= min(ya, yb)) & (y < max(ya, yb)))
        if len(rows):
            x = xa + (y[rows] - ya) * (xb - xa) / (yb - ya)
            np.add.at(flips, (rows, np.clip(np.ceil(x - 0.5), 0, shape[1]).astype(np.int64)), 1)
    inside: Mask = (np.cumsum(flips, axis=1)[:, :-1] % 2).astype(np.bool_)
    return inside


def run_lengths(segmentation: dict[str, Any], size: tuple[int, int], record: str) -> tuple[Mask, tuple[int, int]]:
    """Return the mask of run lengths within the box of its pixels, and where that begins."""
    width, height = size
    counts = segmentation.get("counts")
    if segmentation.get("size") != [height, width]:
        raise RecordError(
            f"run lengths are for {segmentation.get('size')}, not {[height, width]}", "Export it again", record
        )
    try:
        if isinstance(counts, str):
            text = np.frombuffer(counts.encode("ascii"), np.uint8)
            runs, starts = rle.decompress(text, np.array([0, len(text)], np.int64))
        else:
            runs = np.array(counts, np.uint32)
            starts = np.array([0, len(runs)], np.int64)
        bits, _, windows = rle.decode(runs, starts, height, width)
    except (TypeError, ValueError, OverflowError) as e:
        raise RecordError(f"run lengths cannot be read: {e}", "Export it again", record) from e
    x, y, w, h = windows[0].tolist()
    return np.unpackbits(bits, count=w * h).reshape(h, w).astype(np.bool_), (x, y)
