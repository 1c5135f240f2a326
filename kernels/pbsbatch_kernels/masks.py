"""Packed masks: packing, unpacking, areas, and the one check that all readers of packed masks share.

A mask is row-major bits, most significant first, and starts on a new byte. Mask i is bits[offsets[i]:offsets[i + 1]];
its window is x, y, w, h. Bits after the window's last pixel mean nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pbsbatch_kernels.jit import kernel

__all__ = ["areas", "checked", "cut", "pack", "padded_size", "unpack"]

FARTHEST = 2**31 - 1
LONGEST = 2**16 - 1
"""Windows have no longer side, so that every sum and product over a mask fits into 64 bits."""


def checked(
    bits: NDArray[np.uint8], offsets: NDArray[np.integer], windows: NDArray[np.integer]
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """Return the arrays as the loops take them. Law: no loop reads a bit that is not there, or ValueError is raised."""
    n = len(windows)
    if windows.shape != (n, 4) or offsets.shape != (n + 1,) or bits.ndim != 1:
        raise ValueError(f"masks: bits {bits.shape}, offsets {offsets.shape}, windows {windows.shape} do not fit")
    if bits.dtype != np.uint8 or offsets.dtype.kind not in "iu" or windows.dtype.kind not in "iu":
        raise ValueError(
            f"masks: bits {bits.dtype}, offsets {offsets.dtype}, windows {windows.dtype} are the wrong type"
        )
    wide, where = windows.astype(np.int64), offsets.astype(np.int64)
    if (wide[:, 2:] < 0).any():
        raise ValueError("masks: a window has a negative size")
    if (wide[:, 2:] > LONGEST).any():
        raise ValueError(f"masks: a window is longer than {LONGEST} px")
    if (wide[:, :2] < -FARTHEST).any() or (wide[:, :2] > FARTHEST - LONGEST).any():
        raise ValueError("masks: a window leaves the range of int32")
    if where[0] < 0 or (np.diff(where) < (wide[:, 2] * wide[:, 3] + 7) // 8).any() or where[-1] > len(bits):
        raise ValueError("masks: a mask has fewer bits than its window has pixels")
    return np.ascontiguousarray(bits), where, wide


def areas(bits: NDArray[np.uint8], offsets: NDArray[np.integer], windows: NDArray[np.integer]) -> NDArray[np.int32]:
    """Return how many pixels of each mask are set."""
    bits, where, wide = checked(bits, offsets, windows)
    out = np.zeros(len(wide), np.int32)
    _areas(bits, where, wide, out)
    return out


def pack(masks: Sequence[NDArray[np.bool_]]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the bits of all masks one behind the other, and the (N + 1,) byte offsets of each."""
    sizes = np.array([m.size for m in masks], np.int64)
    offsets = np.concatenate([[0], np.cumsum((sizes + 7) // 8)]).astype(np.int64)
    bits = np.zeros(int(offsets[-1]), np.uint8)
    if len(masks):
        _pack(np.concatenate([m.ravel() for m in masks]).astype(np.bool_), sizes, offsets, bits)
    return bits, offsets


def cut(
    labels: NDArray[np.int32], first: int, count: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int32]]:
    """Return bits, offsets and windows of the cells first .. first + count - 1 of a label image.

    Law: a window is the box of the cell's pixels in this image, empty where there are none.
    """
    if labels.ndim != 2 or labels.dtype != np.int32 or count < 0:
        raise ValueError(f"cut: {count} cells of labels {labels.dtype} {labels.shape}")
    windows = np.zeros((count, 4), np.int64)
    _windows(labels, first, windows)
    offsets = np.zeros(count + 1, np.int64)
    np.cumsum((windows[:, 2] * windows[:, 3] + 7) // 8, out=offsets[1:])
    bits = np.zeros(int(offsets[-1]), np.uint8)
    _cut(labels, first, windows, offsets, bits)
    return bits, offsets, windows.astype(np.int32)


def padded_size(windows: NDArray[np.int64]) -> int:
    """Return how long `out` of unpack must be for the largest of the windows."""
    return int(((windows[:, 2] + 2) * (windows[:, 3] + 2)).max(initial=0))


@kernel
def unpack(bits: NDArray[np.uint8], start: int, width: int, height: int, out: NDArray[np.uint8]) -> None:
    """Write the mask that begins at byte `start` as rows of 0 and 1 with a margin of one empty pixel on every side.

    Law: pixel (x, y) of the window stands at out[(y + 1) * (width + 2) + x + 1]. Neighbours need no bounds.
    """
    wide = width + 2
    out[: wide * (height + 2)] = 0
    bit = start * 8
    for row in range(1, height + 1):
        at = row * wide + 1
        for col in range(width):
            out[at + col] = (bits[bit >> 3] >> (7 - (bit & 7))) & 1
            bit += 1


@kernel
def _areas(
    bits: NDArray[np.uint8], offsets: NDArray[np.int64], windows: NDArray[np.int64], out: NDArray[np.int32]
) -> None:
    ones = np.zeros(256, np.int32)
    for i in range(1, 256):
        ones[i] = ones[i >> 1] + (i & 1)
    for i in range(len(out)):
        pixels = windows[i, 2] * windows[i, 3]
        at = offsets[i]
        n = np.int32(0)
        for b in range(pixels // 8):
            n += ones[bits[at + b]]
        if pixels % 8:
            n += ones[bits[at + pixels // 8] >> (8 - pixels % 8)]
        out[i] = n


@kernel
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


@kernel
def _windows(labels: NDArray[np.int32], first: int, out: NDArray[np.int64]) -> None:
    """Note the box of every cell; for the while it is kept as corners."""
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            i = labels[y, x] - first
            if 0 <= i < len(out):
                if out[i, 3] == 0:
                    out[i, 0], out[i, 1], out[i, 2] = x, y, x + 1
                out[i, 0] = min(out[i, 0], x)
                out[i, 2] = max(out[i, 2], x + 1)
                out[i, 3] = y + 1
    for i in range(len(out)):
        out[i, 2] -= out[i, 0]
        out[i, 3] -= out[i, 1]


@kernel
def _cut(
    labels: NDArray[np.int32], first: int, windows: NDArray[np.int64], offsets: NDArray[np.int64],
    out: NDArray[np.uint8],
) -> None:  # fmt: skip
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            i = labels[y, x] - first
            if 0 <= i < len(windows):
                bit = (y - windows[i, 1]) * windows[i, 2] + x - windows[i, 0]
                out[offsets[i] + bit // 8] |= np.uint8(128 >> (bit % 8))
