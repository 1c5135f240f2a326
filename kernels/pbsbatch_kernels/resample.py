"""Resample interleaved uint8 images separably in integer arithmetic.

Law: an output pixel is a function of its absolute index and the source pixels under it, so any split into regions
gives the same bits. Weights of one pixel sum to exactly ONE per axis: a flat image stays flat.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pbsbatch_kernels.jit import kernel

__all__ = ["ONE", "area_taps", "linear_taps", "resample", "shrink_whole"]

SHIFT = 11
ONE = 1 << SHIFT  # two axes of 11 bits and 8 bits of pixel fit a signed 32-bit accumulator, which vectorises
HALF = 1 << (2 * SHIFT - 1)


@kernel
def area_taps(
    ratio: float, first: int, count: int, origin: int, starts: NDArray[np.int32], weights: NDArray[np.int32]
) -> None:
    """Fill starts (count,) and weights (count, taps) of an area filter for output pixels first, first + 1, ...

    Output pixel i covers source [i * ratio, (i + 1) * ratio); starts are relative to source pixel `origin`.
    """
    for k in range(count):
        lo = (first + k) * ratio
        hi = (first + k + 1) * ratio
        j0 = math.floor(lo)
        starts[k] = j0 - origin
        before = 0
        for t in range(weights.shape[1]):
            edge = min(float(j0 + t + 1), hi)
            upto = ONE if edge >= hi else math.floor((edge - lo) / (hi - lo) * ONE + 0.5)
            weights[k, t] = upto - before
            before = upto


@kernel
def linear_taps(
    ratio: float, first: int, count: int, origin: int, starts: NDArray[np.int32], weights: NDArray[np.int32]
) -> None:
    """Fill starts (count,) and weights (count, 2) of linear interpolation between source pixel centres."""
    for k in range(count):
        centre = (first + k + 0.5) * ratio - 0.5
        j0 = math.floor(centre)
        right = math.floor((centre - j0) * ONE + 0.5)
        starts[k] = j0 - origin
        weights[k, 0] = ONE - right
        weights[k, 1] = right


@kernel
def resample(
    src: NDArray[np.uint8],
    x_starts: NDArray[np.int32],
    x_weights: NDArray[np.int32],
    y_starts: NDArray[np.int32],
    y_weights: NDArray[np.int32],
    out: NDArray[np.uint8],
) -> None:
    """Fill out (h, w, 3) from src (H, W, 3); a tap of weight zero is never read."""
    flat = src.reshape(src.shape[0], src.shape[1] * 3)
    acc = np.empty(flat.shape[1], np.int32)
    for oy in range(out.shape[0]):
        acc[:] = 0
        for t in range(y_weights.shape[1]):
            wy = y_weights[oy, t]
            if wy != 0:
                row = flat[y_starts[oy] + t]
                for j in range(row.shape[0]):
                    acc[j] += wy * np.int32(row[j])
        for ox in range(out.shape[1]):
            r = np.int32(HALF)
            g = np.int32(HALF)
            b = np.int32(HALF)
            for t in range(x_weights.shape[1]):
                wx = x_weights[ox, t]
                if wx != 0:
                    j = (x_starts[ox] + t) * 3
                    r += wx * acc[j]
                    g += wx * acc[j + 1]
                    b += wx * acc[j + 2]
            out[oy, ox, 0] = np.uint8(r >> (2 * SHIFT))
            out[oy, ox, 1] = np.uint8(g >> (2 * SHIFT))
            out[oy, ox, 2] = np.uint8(b >> (2 * SHIFT))


@kernel
def shrink_whole(src: NDArray[np.uint8], n: int, out: NDArray[np.uint8]) -> None:
    """Fill out (h, w, 3) with the rounded means of n x n blocks of src (h * n, w * n, 3)."""
    flat = src.reshape(src.shape[0], src.shape[1] * 3)
    if n == 2:  # the usual ratio: a third faster unrolled
        for oy in range(out.shape[0]):
            top, low = flat[oy * 2], flat[oy * 2 + 1]
            for ox in range(out.shape[1]):
                j = ox * 6
                for c in range(3):
                    s = (
                        np.uint32(top[j + c])
                        + np.uint32(top[j + c + 3])
                        + np.uint32(low[j + c])
                        + np.uint32(low[j + c + 3])
                    )
                    out[oy, ox, c] = np.uint8((s + np.uint32(2)) >> np.uint32(2))
        return
    acc = np.empty(flat.shape[1], np.uint32)
    area = np.uint32(n * n)
    half = np.uint32(n * n // 2)
    for oy in range(out.shape[0]):
        acc[:] = 0
        for t in range(n):
            row = flat[oy * n + t]
            for j in range(row.shape[0]):
                acc[j] += np.uint32(row[j])
        for ox in range(out.shape[1]):
            r = half
            g = half
            b = half
            for t in range(n):
                j = (ox * n + t) * 3
                r += acc[j]
                g += acc[j + 1]
                b += acc[j + 2]
            out[oy, ox, 0] = np.uint8(r // area)
            out[oy, ox, 1] = np.uint8(g // area)
            out[oy, ox, 2] = np.uint8(b // area)
