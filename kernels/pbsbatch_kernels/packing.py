"""Pack cell masks from the work grid into bits on the level-0 grid.

Law: level-0 pixel X carries the work pixel that its centre lies in, floor((X + 0.5) / scale); so the
result depends on absolute positions alone, and neighbouring tiles pack a shared cell identically.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pbsbatch_kernels.jit import kernel

__all__ = ["pack_scaled"]


def pack_scaled(
    masks: Sequence[NDArray[np.bool_]], windows: NDArray[np.int64], scale: float, width: int, height: int
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.uint8]]:
    """Return level-0 windows (N, 4), byte offsets (N + 1) and bits of masks whose work-grid windows are given.

    Windows are cut off at the slide's width and height; a mask wholly outside becomes an empty window.
    """
    if len(masks) != len(windows):
        raise ValueError(f"{len(masks)} masks for {len(windows)} windows")
    if not scale > 0:
        raise ValueError(f"scale must be positive, not {scale}")
    wrong = [i for i, mask in enumerate(masks) if mask.shape != (windows[i, 3], windows[i, 2])]
    if wrong:
        raise ValueError(f"mask {wrong[0]} has shape {masks[wrong[0]].shape}, its window {windows[wrong[0]].tolist()}")
    limit = np.array([width, height], np.int64)
    first = np.clip(_first_pixel(windows[:, :2], scale), 0, limit)
    last = np.clip(_first_pixel(windows[:, :2] + windows[:, 2:], scale), 0, limit)
    out = np.concatenate([first, np.maximum(last - first, 0)], axis=1)
    offsets = np.zeros(len(masks) + 1, np.int64)
    np.cumsum((out[:, 2] * out[:, 3] + 7) // 8, out=offsets[1:])
    starts = np.zeros(len(masks) + 1, np.int64)
    np.cumsum(windows[:, 2] * windows[:, 3], out=starts[1:])
    flat = np.concatenate([mask.ravel() for mask in masks]) if masks else np.zeros(0, np.bool_)
    bits = np.zeros(offsets[-1], np.uint8)
    _pack(flat.view(np.uint8), starts, windows, scale, out, offsets, bits)
    return out.astype(np.int32), offsets, bits


def _first_pixel(work: NDArray[np.int64], scale: float) -> NDArray[np.int64]:
    """Return the first level-0 pixel whose centre lies in a work pixel or behind it.

    Rounding may put the product a pixel beside what the law's own division says (scale 1.1, work pixel 15).
    """
    first: NDArray[np.int64] = np.ceil(work * scale - 0.5).astype(np.int64)
    first -= np.floor((first - 0.5) / scale) >= work
    first += np.floor((first + 0.5) / scale) < work
    return first


@kernel
def _pack(
    flat: NDArray[np.uint8], starts: NDArray[np.int64], windows: NDArray[np.int64], scale: float,
    out: NDArray[np.int64], offsets: NDArray[np.int64], bits: NDArray[np.uint8],
) -> None:  # fmt: skip
    """Gather bits into whole bytes; where each column comes from is asked once per mask, not once per pixel."""
    widest = np.int64(0)
    for i in range(out.shape[0]):
        widest = max(widest, out[i, 2])
    source = np.empty(widest, np.int64)
    for i in range(windows.shape[0]):
        x, y, w, h = windows[i, 0], windows[i, 1], windows[i, 2], windows[i, 3]
        left, top, wide, tall = out[i, 0], out[i, 1], out[i, 2], out[i, 3]
        for col in range(wide):
            source[col] = min(max(np.int64(np.floor((left + col + 0.5) / scale)) - x, 0), w - 1)
        at, byte, filled = offsets[i], np.uint8(0), 0
        for row in range(tall):
            source_row = min(max(np.int64(np.floor((top + row + 0.5) / scale)) - y, 0), h - 1)
            line = starts[i] + source_row * w
            for col in range(wide):
                byte = np.uint8((byte << 1) | (flat[line + source[col]] & 1))
                filled += 1
                if filled == 8:
                    bits[at] = byte
                    at, byte, filled = at + 1, np.uint8(0), 0
        if filled:
            bits[at] = np.uint8(byte << (8 - filled))
