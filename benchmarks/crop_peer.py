"""The plain way to single cells, step by step at full size, by OpenCV and scikit-image: a reference and a peer."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pbsbatch.datasets.crop import Rule

__all__ = ["plain_boxes"]


def plain_boxes(image: NDArray[np.uint8], rule: Rule) -> NDArray[np.int64]:
    """Return the boxes (N, 4) of a picture's cells, one at most with pick centre. rule.cell_px must be known."""
    from scipy.ndimage import distance_transform_edt
    from skimage.feature import peak_local_max
    from skimage.segmentation import watershed

    cell = rule.cell_px
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    level, _ = cv2.threshold(hsv[..., 1], 0, 255, cv2.THRESH_OTSU)
    least = max(level + 1, rule.saturation)
    mask = cv2.inRange(hsv, (rule.hue[0], least, 0), (rule.hue[1], 255, 255))
    radius = max(1, round(rule.grow * cell))
    mask = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)))
    distance = distance_transform_edt(mask)
    peaks = peak_local_max(
        distance, min_distance=round(rule.apart * cell), threshold_abs=rule.deep * cell, exclude_border=False
    )
    markers = np.zeros(mask.shape, np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    labels = watershed(-distance, markers, mask=mask > 0)
    pieces: list[tuple[float, Any]] = []
    for label in np.unique(labels[labels > 0]):
        piece = np.zeros(mask.shape, np.uint8)
        piece[labels == label] = 255
        outlines, _ = cv2.findContours(piece, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        outline = max(outlines, key=cv2.contourArea)
        area = cv2.contourArea(outline)
        if area >= math.pi / 4 * (rule.least * cell) ** 2:
            pieces.append((area, cv2.boundingRect(outline)))
    if rule.pick == "centre":
        pieces = _central(pieces, image.shape[1], image.shape[0])
    return np.array([(x, y, x + w, y + h) for _, (x, y, w, h) in pieces], np.int64).reshape(-1, 4)


def _central(pieces: list[tuple[float, Any]], wide: int, high: int) -> list[tuple[float, Any]]:
    there = [p for p in pieces if _holds(p[1], wide / 2, high / 2)]
    near = [
        (area, (x, y, w, h))
        for area, (x, y, w, h) in pieces
        if abs(x + w / 2 - wide / 2) <= wide / 4 and abs(y + h / 2 - high / 2) <= high / 4
    ]
    return [max(there or near, key=lambda p: p[0])] if there or near else []


def _holds(box: tuple[int, int, int, int], x: float, y: float) -> bool:
    return box[0] <= x <= box[0] + box[2] and box[1] <= y <= box[1] + box[3]
