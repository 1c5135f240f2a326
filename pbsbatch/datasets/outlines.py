"""Outlines: a cell's border as RAYS distances from its box's centre.

Laws. Vertex k lies at centre + outline[k] * (w / 2 * cos a, h / 2 * sin a) with a = 2 pi k / RAYS: an ellipse
that touches its box is all ones, whatever its size and aspect. A pixel belongs to an outline when its
centre lies inside the polygon of the vertices. Unknown is NaN, for the whole outline at once.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from pbsbatch.datasets.samples import RAYS

__all__ = ["centre_and_half", "directions", "fill", "outline_of_mask", "sample_plane", "vertices"]

STEP_PX = 0.5
"""Distance of the points along a ray at which a mask is looked at."""
FAR = 1.5
"""The corner of a box lies at the square root of two."""
SPREAD = 3
"""Rays that are looked at for each one that is kept, to even out the steps of pixels."""


@cache
def directions(rays: int = RAYS) -> NDArray[np.float32]:
    """Return the unit vectors (rays, 2) of the rays."""
    angle = 2.0 * np.pi * np.arange(rays) / rays
    units = np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32)
    units.flags.writeable = False
    return units


def vertices(box: NDArray[np.float32], outline: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the corners (..., RAYS, 2) of boxes (..., 4) and outlines (..., RAYS) in pixels."""
    centre, half = centre_and_half(box)
    return centre[..., None, :] + outline[..., None] * half[..., None, :] * directions()


def fill(box: NDArray[np.float32], outline: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the mask (shape) of the pixels whose centres lie within an outline."""
    centre, half = centre_and_half(np.asarray(box, np.float32))
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32) + np.float32(0.5)
    u, v = (x - centre[0]) / half[0], (y - centre[1]) / half[1]
    k = (np.arctan2(v, u) * (RAYS / (2.0 * np.pi))).astype(np.float32) % RAYS
    first = np.minimum(k.astype(np.int64), RAYS - 1)
    corner = outline[:, None] * directions()
    a, b = corner[first], corner[(first + 1) % RAYS]
    side: NDArray[np.bool_] = (b[..., 0] - a[..., 0]) * (v - a[..., 1]) >= (b[..., 1] - a[..., 1]) * (u - a[..., 0])
    return side


def outline_of_mask(mask: NDArray[np.bool_], box: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the outline (RAYS,) of a mask (h, w); the box is in the mask's own pixels.

    Each ray is given the length that holds as much of the mask's area as the ray's sector does: a border between
    pixels is found as such, and dents that no star has cost the least. NaN if the box's centre is not in the mask.
    """
    box = np.asarray(box, np.float32)
    if mask.ndim != 2 or mask.dtype != np.bool_ or box.shape != (4,):
        raise ValueError(f"need a mask (h, w) of bool and a box (4,), not {mask.dtype}{mask.shape} and {box.shape}")
    if not np.isfinite(box).all() or (box[2:] <= box[:2]).any():
        raise ValueError(f"the box {box.tolist()} has no area")
    centre, half = centre_and_half(box)
    column, row = int(np.floor(centre[0])), int(np.floor(centre[1]))
    inside = 0 <= column < mask.shape[1] and 0 <= row < mask.shape[0] and bool(mask[row, column])
    if not inside:
        return np.full(RAYS, np.nan, np.float32)
    steps = max(8, int(FAR * float(half.max()) / STEP_PX))
    rho = ((np.arange(steps, dtype=np.float32) + 0.5) * (FAR / steps))[None, :, None]
    points = centre + rho * half * directions(RAYS * SPREAD)[:, None, :]
    seen = sample_plane(mask.astype(np.float32), points)
    area = (seen * rho[..., 0]).sum(1) * (2.0 * FAR / steps)
    around = np.roll(area, SPREAD // 2).reshape(RAYS, SPREAD)
    return np.asarray(np.sqrt(around.mean(1)), np.float32)


def sample_plane(
    plane: NDArray[np.float32], points: NDArray[np.float32], border: int = cv2.BORDER_CONSTANT
) -> NDArray[np.float32]:
    """Return a plane's values at points (..., 2), bilinear between the pixels' centres; 0 outside by default."""
    if not points.size:
        return np.zeros(points.shape[:-1], np.float32)
    flat = np.asarray(points.reshape(points.shape[0], -1, 2) - np.float32(0.5), np.float32)
    seen = cv2.remap(plane, flat[..., 0], flat[..., 1], cv2.INTER_LINEAR, borderMode=border)
    return np.asarray(seen, np.float32).reshape(points.shape[:-1])


def centre_and_half(box: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the centres (..., 2) and half sides (..., 2) of boxes (..., 4)."""
    half = np.float32(0.5)
    return (box[..., :2] + box[..., 2:]) * half, (box[..., 2:] - box[..., :2]) * half
