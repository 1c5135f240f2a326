"""Where on the slide the smear is thick, a monolayer, feathered, or bare glass.

The smear is spread along x, from the thick end at the left to the feathered edge at the right.
A whole field is all monolayer. Law: the zone of a place depends on the place and the seed alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pbsbatch.synth.jit import kernel
from pbsbatch.synth.noise import smooth

__all__ = ["DENSEST", "FEATHER", "GLASS", "MONOLAYER", "THICK", "ZONES", "place", "zone_map"]

ZONES = ("glass", "thick", "monolayer", "feather")
GLASS, THICK, MONOLAYER, FEATHER = 0, 1, 2, 3
DENSEST = 2.8
"""Density of the thickest part relative to the monolayer."""


@kernel
def place(x: float, y: float, width: float, height: float, whole: bool, key: np.uint64) -> tuple[int, float]:
    """Return (zone, density relative to the monolayer) at (x, y) um of a slide of that size in um."""
    if not whole:
        return MONOLAYER, 1.0
    scale = 0.08 * height
    wave = smooth(key, x / scale, y / scale) - 0.5 + 0.5 * (smooth(key, 4.0 * x / scale, 4.0 * y / scale) - 0.5)
    u = x / width + 0.03 * wave
    v = (2.0 * y / height - 1.0) / 0.92
    side = 1.0 - abs(v) + 0.05 * wave  # 0 at the long sides of the smear
    tip = 0.95 - 0.16 * v * v - u  # 0 at the feathered end
    end = u - 0.02
    if side <= 0.0 or tip <= 0.0 or end <= 0.0:
        return GLASS, 0.0
    if u < 0.34 - 0.05 * v * v:
        return THICK, min(DENSEST, 1.0 + (0.34 - 0.05 * v * v - u) * 10.0)
    if tip < 0.14:
        return FEATHER, 0.25 + 0.55 * tip / 0.14
    return MONOLAYER, 1.0 if side > 0.03 else 0.8


@kernel
def zone_map(
    x: NDArray[np.float64], y: NDArray[np.float64], width: float, height: float, whole: bool, key: np.uint64
) -> NDArray[np.uint8]:
    """Return the zone of each point (x, y) in um."""
    out = np.empty(x.size, np.uint8)
    for i in range(x.size):
        out[i] = place(x[i], y[i], width, height, whole, key)[0]
    return out
