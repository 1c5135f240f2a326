"""Put the cell in the middle of a crop on another background: a normal one, or one that holds spilt stain.

Law: within the cell's own outline (its nucleus, closed and grown by what cytoplasm takes) no byte changes.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["cell_mask", "glass_of", "on_normal", "on_stained"]

Image = NDArray[np.uint8]

PALE = 80
"""Percentile of green from which on pixels are glass."""
CYTOPLASM = 0.1
"""Of the side: the cell reaches so far beyond its nucleus."""
SOFT = 0.03
"""Of the side: the border between cell and background is so wide."""
RED_CELLS, RED_RADIUS = 7, (0.1, 0.17)
"""How many red cells lie on a background at most; their radius as a share of the side."""
RED, PALLOR = np.array([0.9, 0.66, 0.68]), 0.5
"""A red cell's colour as a share of glass, and how much of it is left in its middle."""
STAIN = np.array([0.5, 0.28, 0.62])
"""Precipitate's colour as a share of glass."""
SPOTS, SPOT_RADIUS = (6, 30), (0.008, 0.05)


def glass_of(crop: Image) -> Image:
    """Return the colour (3,) of the palest part."""
    green = crop[..., 1]
    return np.asarray(np.median(crop[green >= np.percentile(green, PALE)], 0), np.uint8)


def cell_mask(crop: Image) -> NDArray[np.bool_]:
    """Return where the cell in the middle is; a disc where nothing dark lies there."""
    height, width = crop.shape[:2]
    side = min(height, width)
    _, dark = cv2.threshold(crop[..., 1], 0, 1, cv2.THRESH_BINARY_INV | cv2.THRESH_OTSU)
    closed = cv2.morphologyEx(dark, cv2.MORPH_CLOSE, _disc(max(1, round(0.04 * side))))
    _, parts, stats, centres = cv2.connectedComponentsWithStats(closed)
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    near = np.linalg.norm(centres - middle, axis=1) < side / 4
    near[0] = False
    if not near.any():
        y, x = np.mgrid[:height, :width]
        return np.asarray(np.hypot(x - middle[0], y - middle[1]) < 0.35 * side)
    lobes = np.isin(parts, np.flatnonzero(near & (stats[:, cv2.CC_STAT_AREA] >= 9))).astype(np.uint8)
    return np.asarray(cv2.dilate(lobes, _disc(max(1, round(CYTOPLASM * side)))) > 0)


def on_normal(crop: Image, rng: np.random.Generator) -> Image:
    """Return the cell on glass with some red cells."""
    return _put(crop, _smear(crop, rng))


def on_stained(crop: Image, rng: np.random.Generator) -> Image:
    """Return the cell on such glass with drops of precipitate."""
    behind = _smear(crop, rng)
    side = min(crop.shape[:2])
    blots = np.zeros(crop.shape[:2], np.float32)
    for _ in range(int(rng.integers(*SPOTS))):
        x, y = rng.uniform(0, crop.shape[1]), rng.uniform(0, crop.shape[0])
        cv2.circle(
            blots, (round(x), round(y)), max(1, round(rng.uniform(*SPOT_RADIUS) * side)), rng.uniform(0.4, 1), -1
        )
    cloud = cv2.resize(rng.random((4, 4)).astype(np.float32), crop.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    share = np.clip(cv2.GaussianBlur(blots, (0, 0), max(0.5, 0.006 * side)) + 0.25 * np.clip(cloud, 0, 1), 0, 1)
    return _put(crop, behind * (1 - share[..., None] * (1 - STAIN)))


def _smear(crop: Image, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw glass of the crop's colour, unevenly lit, with red cells on it."""
    height, width = crop.shape[:2]
    side = min(height, width)
    y, x = np.mgrid[:height, :width]
    angle = rng.uniform(0, 2 * math.pi)
    light = 1 + rng.uniform(0, 0.06) * ((x - width / 2) * math.cos(angle) + (y - height / 2) * math.sin(angle)) / side
    behind = light[..., None] * np.asarray(glass_of(crop), np.float64)
    for _ in range(int(rng.integers(RED_CELLS + 1))):
        radius = rng.uniform(*RED_RADIUS) * side
        far = np.hypot(x - rng.uniform(0, width), y - rng.uniform(0, height)) / radius
        inside = np.clip((1 - far) * radius, 0, 1) * np.where(far < 0.5, PALLOR + (1 - PALLOR) * 2 * far, 1.0)
        behind *= 1 - inside[..., None] * (1 - RED)
    return np.asarray(behind + rng.normal(0, 1.5, behind.shape))


def _put(crop: Image, behind: NDArray[np.float64]) -> Image:
    mask = cell_mask(crop)
    reach = max(1.0, SOFT * min(crop.shape[:2]))
    away = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    share = np.clip(1 - away / reach, 0, 1)[..., None]
    return np.asarray(np.clip(crop * share + behind * (1 - share) + 0.5, 0, 255), np.uint8)


def _disc(radius: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)), np.uint8)
