"""What composing and training do with the pixels and boxes of a field.

Law: a box goes with its pixels: cut where its piece is cut, with the share of it that is left.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["clipped", "glass", "resized", "span"]

F32 = NDArray[np.float32]
Image = NDArray[np.uint8]


def resized(pixels: Image, size: tuple[int, int], larger: int = cv2.INTER_LINEAR) -> Image:
    """Return pixels as width x height: by area where they shrink, else by `larger`."""
    if size == (pixels.shape[1], pixels.shape[0]):
        return pixels
    how = cv2.INTER_AREA if size[0] < pixels.shape[1] else larger
    return np.asarray(cv2.resize(pixels, size, interpolation=how), np.uint8)


def clipped(boxes: F32, edge: F32, round_: NDArray[np.bool_] | None = None) -> tuple[F32, F32]:
    """Return boxes cut off at an edge box, and the share of each that is left.

    What is left of a round cell is narrower than its box was: of its ellipse, the part inside is what counts.
    """
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    low, high = np.maximum(boxes[:, :2], edge[:2]), np.minimum(boxes[:, 2:], edge[2:])
    if round_ is not None:
        middle, radius = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
        beyond = np.maximum(np.maximum(low - middle, middle - high), 0)  # of the widest line that is left
        off = beyond / np.maximum(radius, 1e-6)
        reach = np.sqrt(np.maximum(1 - off[:, ::-1] ** 2, 0)) * radius
        low = np.where(round_[:, None], np.maximum(low, middle - reach), low)
        high = np.where(round_[:, None], np.minimum(high, middle + reach), high)
    left = np.maximum(high - low, 0)
    out = np.concatenate([low, low + left], 1).astype(np.float32)
    return out, (left.prod(1) / np.maximum(area, 1e-6)).astype(np.float32)


def glass(pixels: Image) -> NDArray[np.uint8]:
    """Return the colour (3,) of the glass between cells: as bright as nine tenths of the field are not."""
    return np.percentile(pixels.reshape(-1, 3)[::17], 90, axis=0).astype(np.uint8)


def span(length: int, room: int, zoom: float, rng: np.random.Generator) -> tuple[int, int, int]:
    """Return start and length of a crop of one axis and its length once scaled, at most `room`."""
    crop = min(length, max(1, round(room / zoom)))
    return int(rng.integers(length - crop + 1)), crop, min(room, max(1, round(crop * zoom)))
