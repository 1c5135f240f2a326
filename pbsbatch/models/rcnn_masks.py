"""Lay the second stage's small masks over the tile: as torchvision does, within a window of each box's size."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["paste"]

HALF = 0.5
"""From this chance on a pixel belongs to the cell."""


def paste(
    chances: NDArray[np.float32], boxes: NDArray[np.float32], width: int, height: int
) -> tuple[NDArray[np.int32], tuple[NDArray[np.bool_], ...]]:
    """Return windows (N, 4) x, y, w, h and masks of cells, from chances (N, M, M) that fill their boxes.

    Laws. A pixel belongs to a cell when torchvision's paste_masks_in_image gives it a chance of HALF or more: a border
    of nothing is laid around the small mask, both are enlarged alike, and corners are cut to whole pixels. What lies
    outside the tile is cut off; a cell keeps a window of one pixel at least, also where its mask is empty.
    """
    side = chances.shape[1]
    share = np.float32((side + 2) / side)
    windows = np.zeros((len(boxes), 4), np.int32)
    masks: list[NDArray[np.bool_]] = []
    for i, (small, (x0, y0, x1, y1)) in enumerate(zip(chances, _enlarged(boxes, share).tolist(), strict=True)):
        framed = np.zeros((side + 2, side + 2), np.float32)
        framed[1:-1, 1:-1] = small
        wide, tall = max(x1 - x0 + 1, 1), max(y1 - y0 + 1, 1)
        whole = cv2.resize(framed, (wide, tall), interpolation=cv2.INTER_LINEAR) >= HALF
        left, top = min(max(x0, 0), width - 1), min(max(y0, 0), height - 1)
        right, bottom = max(min(x1 + 1, width), left + 1), max(min(y1 + 1, height), top + 1)
        windows[i] = left, top, right - left, bottom - top
        mask = np.zeros((bottom - top, right - left), np.bool_)
        seen = whole[max(0, top - y0) : bottom - y0, max(0, left - x0) : right - x0]
        mask[: seen.shape[0], : seen.shape[1]] = seen
        masks.append(mask)
    return windows, tuple(masks)


def _enlarged(boxes: NDArray[np.float32], share: np.float32) -> NDArray[np.int64]:
    """Return boxes so many times as large about their middle, cut towards zero to whole pixels."""
    middle = (boxes[:, 2:] + boxes[:, :2]) * np.float32(0.5)
    half = (boxes[:, 2:] - boxes[:, :2]) * np.float32(0.5) * share
    return np.concatenate([middle - half, middle + half], 1).astype(np.int64)
