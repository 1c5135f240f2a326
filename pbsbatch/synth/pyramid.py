"""Halve pictures exactly.

Law: halving is local: a halved region equals the region of the halved picture where both start on even pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pbsbatch.synth.jit import kernel

__all__ = ["halve", "levels_of"]


def levels_of(width: int, height: int) -> int:
    """Return how many levels a pyramid has: halved while the longer side exceeds 1024 px."""
    n = 1
    while max(width, height) >> (n - 1) > 1024 and min(width, height) >> n > 0:
        n += 1
    return n


@kernel
def halve(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the rounded means of 2 x 2 pixels; an odd last row or column is dropped."""
    h, w, n = pixels.shape[0] // 2, pixels.shape[1] // 2, pixels.shape[2]
    out = np.empty((h, w, n), np.uint8)
    for y in range(h):
        for x in range(w):
            for k in range(n):
                total = np.int32(pixels[2 * y, 2 * x, k]) + np.int32(pixels[2 * y, 2 * x + 1, k])
                total += np.int32(pixels[2 * y + 1, 2 * x, k]) + np.int32(pixels[2 * y + 1, 2 * x + 1, k])
                out[y, x, k] = (total + 2) >> 2
    return out
