"""Paint cells into label pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbsbatch_kernels.jit import kernel

__all__ = ["Painter", "priority"]


def priority(areas: NDArray[np.integer[Any]], scores: NDArray[np.float32], ids: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return the order to paint in, last wins.

    Law: a pixel goes to the smaller cell, then to the higher score, then to the lower id. So no cell is hidden by one
    other, unless they are the same pixels.
    """
    return np.lexsort((-ids.astype(np.int64), scores, -areas.astype(np.int64))).astype(np.int64)


class Painter:
    """Cells to paint, in the order given, checked once for many pictures."""

    def __init__(
        self,
        ids: NDArray[np.int32],
        windows: NDArray[np.int32],
        starts: NDArray[np.int64],
        bits: NDArray[np.uint8],
    ) -> None:
        """Take cells whose mask i begins at byte starts[i] of bits."""
        n = len(ids)
        if windows.shape != (n, 4) or starts.shape != (n,):
            raise ValueError("paint: windows must be (N, 4) and starts (N,)")
        size = (windows[:, 2].astype(np.int64) * windows[:, 3] + 7) // 8
        if (windows[:, 2:] < 0).any() or (starts < 0).any() or (starts + size > len(bits)).any():
            raise ValueError("paint: a mask leads beyond the bits")
        self._cells = (
            np.ascontiguousarray(ids, np.int32), np.ascontiguousarray(windows, np.int32),
            np.ascontiguousarray(starts, np.int64), np.ascontiguousarray(bits, np.uint8),
        )  # fmt: skip

    def paint(self, out: NDArray[np.int32], x: int, y: int) -> int:
        """Paint into `out`, whose first pixel is (x, y), and return how many cells' windows touched it.

        Law: a window is clipped to `out`; a later cell overwrites an earlier one; other pixels stay.
        """
        if out.dtype != np.int32 or out.ndim != 2 or not out.flags.c_contiguous:
            raise ValueError("paint: out must be a contiguous int32 (h, w)")
        return int(_paint(out, np.int64(x), np.int64(y), *self._cells))


@kernel
def _paint(
    out: NDArray[np.int32],
    x: np.int64,
    y: np.int64,
    ids: NDArray[np.int32],
    windows: NDArray[np.int32],
    starts: NDArray[np.int64],
    bits: NDArray[np.uint8],
) -> int:
    height, width = np.int64(out.shape[0]), np.int64(out.shape[1])
    touched = 0
    for i in range(len(ids)):
        wx, wy = np.int64(windows[i, 0]) - x, np.int64(windows[i, 1]) - y
        w, h = np.int64(windows[i, 2]), np.int64(windows[i, 3])
        left, right = max(np.int64(0), wx), min(width, wx + w)
        top, bottom = max(np.int64(0), wy), min(height, wy + h)
        if left >= right or top >= bottom:
            continue
        touched += 1
        label = ids[i]
        for row in range(top, bottom):
            at = starts[i] * 8 + (row - wy) * w + (left - wx)
            col = left
            while col < right:
                # eight pixels at a time, from whatever bit the row begins at; cells are mostly 0 or 255
                shift = at & 7
                many = min(np.int64(8), right - col)
                byte = np.int64(bits[at >> 3]) << 8
                if shift + many > 8:
                    byte |= np.int64(bits[(at >> 3) + 1])
                byte = (byte >> (8 - shift)) & 255
                if byte == 255 and many == 8:
                    for k in range(8):
                        out[row, col + k] = label
                elif byte != 0:
                    for k in range(many):
                        if byte & (128 >> k):
                            out[row, col + k] = label
                col += many
                at += many
    return touched
