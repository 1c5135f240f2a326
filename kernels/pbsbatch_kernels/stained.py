"""Tell stained pixels by hue and saturation on a coarser grid, in one pass over the picture.

Laws. With a step of 1 hue and saturation are OpenCV's of 8-bit RGB, to the last digit but one. A pixel of the coarse
grid is the mean colour of its block; a block that the picture's border cuts has fewer pixels and is no darker for it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pbsbatch_kernels.jit import kernel, kernel_ieee

__all__ = ["NO_HUE", "hue_saturation", "otsu", "within"]

NO_HUE = 255
"""The hue of a pixel that is paler than was asked for: hue is a quotient of small numbers there, and costs most."""


def hue_saturation(
    image: NDArray[np.uint8], step: int, least: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int64]]:
    """Return hue (0 .. 179, NO_HUE below the least saturation), saturation, and how many pixels have each."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not 0 < step < 256:
        raise ValueError(f"need uint8 (H, W, 3) and a step of 1 to 255, not {image.dtype} {image.shape} and {step}")
    rows, cols = image.shape[:2]
    return _planes(np.ascontiguousarray(image).reshape(rows, 3 * cols), step, least)


@kernel_ieee
def _planes(
    image: NDArray[np.uint8], step: int, least: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int64]]:
    rows, cols = image.shape[0], image.shape[1] // 3
    high, wide = (rows + step - 1) // step, (cols + step - 1) // step
    hue = np.full((high, wide), NO_HUE, np.uint8)
    saturation = np.zeros((high, wide), np.uint8)
    histogram = np.zeros(256, np.int64)
    sums = np.zeros(3 * cols, np.uint16)
    for v in range(high):
        y0, y1 = v * step, min(rows, v * step + step)
        sums[:] = 0
        for y in range(y0, y1):  # whole rows first: this loop becomes vector additions
            for i in range(3 * cols):
                sums[i] += image[y, i]
        for u in range(wide):
            r, g, b = 0, 0, 0
            x1 = min(cols, u * step + step)
            for x in range(u * step, x1):
                r += sums[3 * x]
                g += sums[3 * x + 1]
                b += sums[3 * x + 2]
            # in floats: three 64-bit divisions of integers would cost as much as all the rest
            n = float((y1 - y0) * (x1 - u * step))
            r, g, b = int(r / n + 0.5), int(g / n + 0.5), int(b / n + 0.5)
            top = max(r, g, b)
            spread = top - min(r, g, b)
            s = int(255.0 * spread / top + 0.5) if top > 0 else 0
            saturation[v, u] = s
            histogram[s] += 1
            if s < least or spread == 0:
                continue
            if top == r:
                h = 30.0 * (g - b) / spread
            elif top == g:
                h = 60.0 + 30.0 * (b - r) / spread
            else:
                h = 120.0 + 30.0 * (r - g) / spread
            turn = int(np.floor(h + 0.5))
            hue[v, u] = turn + 180 if turn < 0 else turn
    return hue, saturation, histogram


@kernel
def otsu(histogram: NDArray[np.int64]) -> int:
    """Return the level that parts a histogram best: what is above it is the upper class. Ties go to the lowest."""
    count, total = 0, 0
    for i in range(len(histogram)):
        count += histogram[i]
        total += i * histogram[i]
    best, level, below, moment = -1.0, 0, 0, 0
    for i in range(len(histogram)):
        below += histogram[i]
        moment += i * histogram[i]
        above = count - below
        if below == 0 or above == 0:
            continue
        gap = moment / below - (total - moment) / above
        between = (below / count) * (above / count) * gap * gap
        if between > best:
            best, level = between, i
    return level


@kernel
def within(
    hue: NDArray[np.uint8], saturation: NDArray[np.uint8], lowest: int, highest: int, above: int
) -> NDArray[np.uint8]:
    """Return the mask (0, 1) of pixels of these hues, both ends included, that are more saturated than `above`.

    Law: where the lowest hue is the larger number, the hues go round through red.
    """
    rows, cols = hue.shape
    out = np.zeros((rows, cols), np.uint8)
    for y in range(rows):
        for x in range(cols):
            h = hue[y, x]
            if h == NO_HUE or saturation[y, x] <= above:
                continue
            inside = lowest <= h <= highest if lowest <= highest else (h >= lowest or h <= highest)
            out[y, x] = inside
    return out
