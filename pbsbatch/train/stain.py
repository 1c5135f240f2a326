"""Make one field look as if another laboratory had stained it, another scanner seen it and another disk kept it.

Law: pixels change, places do not: every box and outline stays true. The same generator gives the same bytes.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["densities", "of_densities", "restain", "worsen"]

Image = NDArray[np.uint8]

_DENSITY = (-np.log((np.arange(256) + 1.0) / 256.0)).astype(np.float32)
_STEPS = 1024
_DENSEST = float(_DENSITY[0])
_LIGHT = np.clip(256.0 * np.exp(-np.arange(_STEPS) / (_STEPS - 1) * _DENSEST) - 1.0, 0, 255).round().astype(np.uint8)


def restain(image: Image, rng: np.random.Generator, strength: float = 1.0) -> Image:
    """Mix, strengthen and shift the three optical densities: another dye, another time in it, another lamp."""
    mix = np.eye(3) + rng.normal(0.0, 0.07 * strength, (3, 3))
    mix *= np.exp(rng.normal(0.0, 0.10 * strength, (3, 1))) * np.exp(rng.normal(0.0, 0.18 * strength))
    lamp = rng.normal(0.0, 0.05 * strength, (3, 1)) + rng.normal(0.0, 0.05 * strength)
    return of_densities(_DENSITY[image], mix, lamp[:, 0])


def densities(image: Image) -> NDArray[np.float32]:
    """Return the optical densities of an image's bytes."""
    return np.asarray(_DENSITY[image], np.float32)


def of_densities(density: NDArray[np.float32], mix: NDArray[np.float64], shift: NDArray[np.float64]) -> Image:
    """Return the image of densities (H, W, 3) after a linear change of the three."""
    changed = cv2.transform(density, np.hstack([mix, shift[:, None]]).astype(np.float32))
    steps = np.clip(changed * ((_STEPS - 1) / _DENSEST), 0, _STEPS - 1).astype(np.int32)
    return np.asarray(_LIGHT[steps], np.uint8)


def worsen(image: Image, rng: np.random.Generator, often: float = 1.0) -> Image:
    """Blur, sharpen, lower the resolution, add the sensor's noise and a JPEG's blocks, each now and then."""
    if rng.random() < 0.15 * often:
        image = _coarser(image, rng.uniform(0.4, 0.9))
    if rng.random() < 0.3 * often:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.4)).astype(np.uint8)
    elif rng.random() < 0.15 * often:
        soft = cv2.GaussianBlur(image, (0, 0), 1.0)
        much = rng.uniform(0.3, 1.0)
        image = cv2.addWeighted(image, 1 + much, soft, -much, 0).astype(np.uint8)
    if rng.random() < 0.3 * often:
        noise = rng.normal(0.0, rng.uniform(1.0, 6.0), image.shape)
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.3 * often:
        quality = int(rng.integers(30, 95))
        _, code = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        image = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), np.uint8)
    return image


def _coarser(image: Image, factor: float) -> Image:
    height, width = image.shape[:2]
    small = cv2.resize(
        image, (max(1, round(width * factor)), max(1, round(height * factor))), interpolation=cv2.INTER_AREA
    )
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
