"""Measure cells from their packed masks: area, box, centroid, perimeter, eccentricity, solidity, mean colour.

Law: equal to scikit-image's regionprops of the same mask. What is counted is exact; quotients and square roots come
last, in float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pbsbatch_kernels.hull import hull_area
from pbsbatch_kernels.jit import kernel
from pbsbatch_kernels.masks import checked, padded_size, unpack

__all__ = ["Regions", "measure"]

_EXTENTS = ("x0", "y0", "x1", "y1")
_MOMENTS = ("x", "y", "xx", "yy", "xy")  # about the first pixel, which lies at from_x, from_y
_BORDERS = ("straight", "diagonal", "mixed")  # border pixels by the step that the border takes there
_SUMS = np.dtype([(name, "i8") for name in (*_EXTENTS, "area", "hull", *_MOMENTS, "from_x", "from_y", *_BORDERS)])
_STRAIGHT, _DIAGONAL, _MIXED = 1, 2, 3
_STEPS = np.zeros(50, np.uint8)  # by 1 + 2 * border pixels at the sides + 10 * border pixels at the corners
_STEPS[[5, 7, 15, 17, 25, 27]] = _STRAIGHT
_STEPS[[21, 33]] = _DIAGONAL
_STEPS[[13, 23]] = _MIXED
_ON_BORDER = 2


@dataclass(frozen=True, slots=True)
class Regions:
    """What N cells measure, in pixels. A mask without a pixel has area 0, an empty box, and NaN."""

    area: NDArray[np.int64]  # (N,)
    box: NDArray[np.int64]  # (N, 4) x0, y0, x1, y1 of the set pixels, ends exclusive
    centroid: NDArray[np.float64]  # (N, 2) x, y where a pixel's centre is a whole number, as scikit-image has it
    perimeter: NDArray[np.float64]  # (N,) along the centres of the border pixels, 4-neighbourhood
    eccentricity: NDArray[np.float64]  # (N,) 0 a circle, 1 a line
    solidity: NDArray[np.float64]  # (N,) area / pixels of the convex hull
    colour: NDArray[np.float64] | None  # (N, C) mean of the image under the mask, where an image was given


def measure(
    bits: NDArray[np.uint8],
    offsets: NDArray[np.integer],
    windows: NDArray[np.integer],
    image: NDArray[np.uint8] | None = None,
    x: int = 0,
    y: int = 0,
) -> Regions:
    """Return the properties of every mask. The image is (H, W, C), its first pixel is (x, y); it holds every window."""
    bits, where, wide = checked(bits, offsets, windows)
    pixels = np.zeros((0, 0, 0), np.uint8) if image is None else image
    at = wide[:, :2] - np.array([x, y], np.int64)
    if image is not None:
        _check_image(image, at, wide[:, 2:])
    sums = np.zeros(len(wide), _SUMS)
    colours = np.zeros((len(wide), pixels.shape[2]), np.int64)
    tallest = int(wide[:, 3].max(initial=0))
    _measure(bits, where, wide, tallest, np.zeros(padded_size(wide), np.uint8), pixels, at, sums, colours)
    return _regions(sums, None if image is None else colours)


def _check_image(image: NDArray[np.uint8], at: NDArray[np.int64], sizes: NDArray[np.int64]) -> None:
    if image.ndim != 3 or image.dtype != np.uint8:
        raise ValueError(f"measure: the image must be uint8 (H, W, C), not {image.dtype} {image.shape}")
    if (at < 0).any() or (at + sizes > np.array([image.shape[1], image.shape[0]])).any():
        raise ValueError("measure: a window leaves the image")


def _regions(sums: NDArray[np.void], colours: NDArray[np.int64] | None) -> Regions:
    area = np.where(sums["area"] > 0, sums["area"], np.nan)
    x, y = sums["x"] / area, sums["y"] / area
    perimeter = sums["straight"] + math.sqrt(2) * sums["diagonal"] + (1 + math.sqrt(2)) / 2 * sums["mixed"]
    return Regions(
        area=sums["area"].copy(),
        box=np.stack([sums[name] for name in _EXTENTS], axis=1),
        centroid=np.stack([sums["from_x"] + x, sums["from_y"] + y], axis=1),
        perimeter=np.where(np.isnan(area), np.nan, perimeter),
        eccentricity=_eccentricity(sums["xx"] / area - x * x, sums["yy"] / area - y * y, sums["xy"] / area - x * y),
        solidity=area / np.maximum(sums["hull"], 1),
        colour=None if colours is None else colours / area[:, None],
    )


def _eccentricity(xx: NDArray[np.float64], yy: NDArray[np.float64], xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return sqrt(1 - l2 / l1) of the covariance's eigenvalues, and 0 for a single pixel, where both are 0."""
    middle, half = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    major, minor = middle + half, np.maximum(middle - half, 0)
    ratio = np.divide(minor, major, out=major + 1, where=major != 0)
    out: NDArray[np.float64] = np.sqrt(1 - ratio)
    return out


@kernel
def _measure(
    bits: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    windows: NDArray[np.int64],
    tallest: int,
    mask: NDArray[np.uint8],
    image: NDArray[np.uint8],
    at: NDArray[np.int64],
    sums: NDArray[np.void],
    colours: NDArray[np.int64],
) -> None:
    spans = np.empty((tallest, 2), np.int64)
    chain, edge = np.empty((2 * tallest + 1, 2), np.int64), np.empty(tallest, np.int64)
    rim = np.empty(len(mask), np.int64)
    for i in range(len(windows)):
        x, y, width, height = windows[i]
        unpack(bits, offsets[i], width, height, mask)
        out = sums[i]
        _moments(mask, width, height, spans, out)
        if out["area"]:
            top, bottom = out["y0"], out["y1"]
            out["hull"] = hull_area(spans[top:bottom], chain, edge)
            _borders(mask, width + 2, top, spans[top:bottom], rim, out)
            if image.size:
                _colour(mask, width + 2, top, spans[top:bottom], image, at[i], colours[i])
        out["x0"] += x
        out["y0"] += y
        out["x1"] += x
        out["y1"] += y
        out["from_x"] += x
        out["from_y"] += y


@kernel
def _moments(mask: NDArray[np.uint8], width: int, height: int, spans: NDArray[np.int64], out: np.void) -> None:
    """Sum moments, and note extents and the first and last pixel of each row.

    About the first pixel, not the window's corner: so a wide window costs no digits.
    """
    area, left, right, top, bottom, from_x = 0, width, 0, height, 0, 0
    sx, sy, sxx, syy, sxy = 0, 0, 0, 0, 0
    for row in range(height):
        at = (row + 1) * (width + 2) + 1
        n, rx, rxx, low, high = 0, 0, 0, width, -1
        for col in range(width):
            if mask[at + col]:
                if area + n == 0:
                    from_x, top = col, row
                low, high = min(low, col), col
                dx = col - from_x
                n += 1
                rx += dx
                rxx += dx * dx
        spans[row, 0], spans[row, 1] = low, high
        if n:
            left, right, bottom = min(left, low), max(right, high + 1), row + 1
            dy = row - top
            area += n
            sx += rx
            sxx += rxx
            sy += n * dy
            syy += n * dy * dy
            sxy += rx * dy
    if area:
        out["x0"], out["y0"], out["x1"], out["y1"], out["area"] = left, top, right, bottom, area
        out["x"], out["y"], out["xx"], out["yy"], out["xy"] = sx, sy, sxx, syy, sxy
        out["from_x"], out["from_y"] = from_x, top


@kernel
def _borders(
    mask: NDArray[np.uint8], wide: int, top: int, spans: NDArray[np.int64], rim: NDArray[np.int64], out: np.void
) -> None:
    """Count the border pixels, which have a side outside the mask, by how the border goes on from them."""
    n = 0
    for row in range(len(spans)):
        at = (top + row + 1) * wide + 1
        for p in range(at + spans[row, 0], at + spans[row, 1] + 1):
            if mask[p] and not (mask[p - 1] and mask[p + 1] and mask[p - wide] and mask[p + wide]):
                mask[p] |= _ON_BORDER
                rim[n] = p
                n += 1
    for k in range(n):
        p = rim[k]
        sides = (mask[p - 1] >> 1) + (mask[p + 1] >> 1) + (mask[p - wide] >> 1) + (mask[p + wide] >> 1)
        above, below = p - wide, p + wide
        corners = (mask[above - 1] >> 1) + (mask[above + 1] >> 1) + (mask[below - 1] >> 1) + (mask[below + 1] >> 1)
        step = _STEPS[1 + 2 * sides + 10 * corners]
        if step == _STRAIGHT:
            out["straight"] += 1
        elif step == _DIAGONAL:
            out["diagonal"] += 1
        elif step == _MIXED:
            out["mixed"] += 1


@kernel
def _colour(
    mask: NDArray[np.uint8],
    wide: int,
    top: int,
    spans: NDArray[np.int64],
    image: NDArray[np.uint8],
    at: NDArray[np.int64],
    out: NDArray[np.int64],
) -> None:
    for row in range(top, top + len(spans)):
        for col in range(spans[row - top, 0], spans[row - top, 1] + 1):
            if mask[(row + 1) * wide + 1 + col]:
                for c in range(len(out)):
                    out[c] += image[at[1] + row, at[0] + col, c]
