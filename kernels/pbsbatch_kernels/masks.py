"""Packed masks: packing and areas.

A mask is row-major bits, most significant first, and starts on a new byte.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["areas", "pack"]


def areas(bits: NDArray[np.uint8], offsets: NDArray[np.int64], windows: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return how many pixels of each mask are set. Bits after the last pixel of a window do not count."""
    need = (windows[:, 2].astype(np.int64) * windows[:, 3] + 7) // 8
    if (windows[:, 2:] < 0).any() or (np.diff(offsets) < need).any():
        raise ValueError("a mask has fewer bits than its window has pixels")
    out = np.zeros(len(windows), np.int32)
    _areas(bits, offsets.astype(np.int64), windows.astype(np.int32), out)
    return out


def pack(masks: Sequence[NDArray[np.bool_]]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the bits of all masks one behind the other, and the (N + 1,) byte offsets of each."""
    sizes = np.array([m.size for m in masks], np.int64)
    offsets = np.concatenate([[0], np.cumsum((sizes + 7) // 8)]).astype(np.int64)
    bits = np.zeros(int(offsets[-1]), np.uint8)
    if len(masks):
        _pack(np.concatenate([m.ravel() for m in masks]).astype(np.bool_), sizes, offsets, bits)
    return bits, offsets


@njit(nogil=True, cache=True)
def _areas(
    bits: NDArray[np.uint8], offsets: NDArray[np.int64], windows: NDArray[np.int32], out: NDArray[np.int32]
) -> None:
    ones = np.zeros(256, np.int32)
    for i in range(1, 256):
        ones[i] = ones[i >> 1] + (i & 1)
    for i in range(len(out)):
        pixels = np.int64(windows[i, 2]) * np.int64(windows[i, 3])
        at = offsets[i]
        n = np.int32(0)
        for b in range(pixels // 8):
            n += ones[bits[at + b]]
        if pixels % 8:
            n += ones[bits[at + pixels // 8] >> (8 - pixels % 8)]
        out[i] = n


@njit(nogil=True, cache=True)
def _pack(
    flat: NDArray[np.bool_], sizes: NDArray[np.int64], offsets: NDArray[np.int64], out: NDArray[np.uint8]
) -> None:
    at = 0
    for i in range(len(sizes)):
        base = offsets[i]
        for p in range(sizes[i]):
            if flat[at + p]:
                out[base + p // 8] |= np.uint8(128 >> (p % 8))
        at += sizes[i]
