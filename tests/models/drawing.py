"""Draw small smears with known cells, in work pixels of 0.25 um."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

GLASS = (232, 224, 218)
RED = (196, 150, 152)
PALE_CENTRE = (226, 212, 208)
CYTOPLASM = (208, 186, 208)
NUCLEUS = (98, 60, 140)
PLATELET = (150, 110, 170)

R = 14
"""Radius of a red cell: 7 um across."""


def glass(height: int, width: int, seed: int = 0, noise: float = 1.2) -> Image:
    """Return bare glass with the sensor's noise."""
    rng = np.random.default_rng(seed)
    return np.clip(np.array(GLASS) + rng.normal(0, noise, (height, width, 3)), 0, 255).round().astype(np.uint8)


def red(image: Image, x: int, y: int, r: int = R) -> None:
    """Draw a red cell with its pale centre; where it lies upon another both absorb."""
    x0, y0 = max(0, x - r - 2), max(0, y - r - 2)
    part = image[y0 : max(0, y + r + 3), x0 : max(0, x + r + 3)]
    if not part.size:
        return
    layer = np.zeros(part.shape[:2], np.uint8)
    cv2.circle(layer, (x - x0, y - y0), r, 255, -1, cv2.LINE_AA)
    outer = layer[..., None] / 255
    inner = np.zeros_like(layer)
    cv2.circle(inner, (x - x0, y - y0), r // 3, 255, -1, cv2.LINE_AA)
    through = 1 - outer * (1 - np.array(RED) / np.array(GLASS))
    pale = np.array(PALE_CENTRE) / np.array(GLASS)
    through = through + (pale - through) * (inner[..., None] / 255)
    part[:] = np.clip(part * through, 0, 255).round().astype(np.uint8)


def white(image: Image, x: int, y: int, lobes: int = 3) -> None:
    """Draw a white cell of 13 um whose nucleus has several lobes on a ring."""
    cv2.circle(image, (x, y), 26, CYTOPLASM, -1, cv2.LINE_AA)
    for k in range(lobes):
        angle = 2 * np.pi * k / max(lobes, 1) + 0.4
        at = (round(x + 9 * np.cos(angle)), round(y + 9 * np.sin(angle)))
        cv2.circle(image, at, 8, NUCLEUS, -1, cv2.LINE_AA)


def platelet(image: Image, x: int, y: int, r: int = 5) -> None:
    """Draw a platelet of 2.5 um."""
    cv2.circle(image, (x, y), r, PLATELET, -1, cv2.LINE_AA)


def monolayer(height: int, width: int, seed: int = 0, every: int = 34, whites: int = 2, platelets: int = 8) -> Image:
    """Draw a jittered grid of red cells, some of them overlapping, with white cells and platelets upon it."""
    rng = np.random.default_rng(seed)
    image = glass(height, width, seed)
    for y in range(0, height + every, every):
        for x in range(0, width + every, every):
            if rng.random() < 0.8:
                red(image, x + int(rng.integers(-8, 9)), y + int(rng.integers(-8, 9)), int(rng.integers(12, 16)))
    for _ in range(whites):
        white(image, int(rng.integers(width)), int(rng.integers(height)), int(rng.integers(1, 5)))
    for _ in range(platelets):
        platelet(image, int(rng.integers(width)), int(rng.integers(height)), int(rng.integers(4, 7)))
    return np.asarray(cv2.GaussianBlur(image, (3, 3), 0), np.uint8)
