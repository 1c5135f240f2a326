"""COCO's run lengths: how many pixels off, on, off ... down the columns of the whole image, and their text form.

Law: equal to pycocotools, count by count and character by character. An image of 2**32 pixels or more is refused: there
COCO's 32-bit counts overflow, and a slide's cells are told as polygons instead.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pbsbatch_kernels.jit import kernel
from pbsbatch_kernels.masks import FARTHEST, LONGEST, checked, padded_size, unpack

__all__ = ["compress", "decode", "decompress", "encode"]

_CHARS = 7  # of 5 bits: a difference of two counts has 33 bits


def encode(
    bits: NDArray[np.uint8], offsets: NDArray[np.integer], windows: NDArray[np.integer], height: int, width: int
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Return the counts of all masks and where each mask's begin (N + 1,). Pixels outside the image are left out."""
    _check_size(height, width)
    bits, where, wide = checked(bits, offsets, windows)
    starts = np.zeros(len(wide) + 1, np.int64)
    return _encode(bits, where, wide, height, width, np.zeros(padded_size(wide), np.uint8), starts), starts


def decode(
    counts: NDArray[np.uint32], starts: NDArray[np.integer], height: int, width: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int32]]:
    """Return the masks as bits, offsets and windows. Law: a window is the box of its set pixels, or empty."""
    _check_size(height, width)
    where = _checked_starts(counts, np.uint32, starts)
    windows = np.zeros((len(where) - 1, 4), np.int64)
    wrong = _boxes(counts, where, height, height * width, windows)
    if wrong >= 0:
        raise ValueError(f"rle: the counts of mask {wrong} do not add up to {height} x {width} pixels")
    if (windows[:, 2:] > LONGEST).any():
        raise ValueError(f"rle: a mask is longer than {LONGEST} px")
    offsets = np.zeros(len(where), np.int64)
    np.cumsum((windows[:, 2] * windows[:, 3] + 7) // 8, out=offsets[1:])
    bits = np.zeros(int(offsets[-1]), np.uint8)
    _decode(counts, where, height, windows, offsets, bits)
    return bits, offsets, windows.astype(np.int32)


def compress(counts: NDArray[np.uint32], starts: NDArray[np.integer]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the text of all masks as ASCII and where each begins (N + 1,): COCO's `counts` string."""
    where = _checked_starts(counts, np.uint32, starts)
    out, places = np.empty(_CHARS * len(counts), np.uint8), np.zeros(len(where), np.int64)
    _compress(counts, where, out, places)
    return out[: places[-1]].copy(), places


def decompress(text: NDArray[np.uint8], starts: NDArray[np.integer]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Return the counts of all masks and where each begins (N + 1,), from their texts."""
    where = _checked_starts(text, np.uint8, starts)
    out, places = np.empty(len(text), np.uint32), np.zeros(len(where), np.int64)
    wrong = _decompress(text, where, out, places)
    if wrong >= 0:
        raise ValueError(f"rle: the text of mask {wrong} is no run lengths")
    return out[: places[-1]].copy(), places


def _check_size(height: int, width: int) -> None:
    if min(height, width) < 0 or max(height, width) > FARTHEST:
        raise ValueError(f"rle: an image cannot be {height} x {width} pixels")
    if height * width >= 2**32:
        raise ValueError(f"rle: {height} x {width} pixels are too many for 32-bit run lengths; use polygons")


def _checked_starts(
    values: NDArray[np.generic], dtype: type[np.generic], starts: NDArray[np.integer]
) -> NDArray[np.int64]:
    if values.ndim != 1 or values.dtype != dtype:
        raise ValueError(f"rle: expected one row of {dtype.__name__}, not {values.dtype} {values.shape}")
    if starts.ndim != 1 or len(starts) == 0 or starts.dtype.kind not in "iu":
        raise ValueError(f"rle: starts must be (N + 1,) whole numbers, not {starts.dtype} {starts.shape}")
    where = starts.astype(np.int64)
    if where[0] != 0 or where[-1] != len(values) or (np.diff(where) < 0).any():
        raise ValueError("rle: starts must rise from 0 to the length of what they divide")
    return where


@kernel
def _encode(
    bits: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    windows: NDArray[np.int64],
    height: int,
    width: int,
    mask: NDArray[np.uint8],
    starts: NDArray[np.int64],
) -> NDArray[np.uint32]:
    out = np.empty(64 * len(windows), np.uint32)
    used = 0
    for i in range(len(windows)):
        x, y, w, h = windows[i]
        if used + w * (h + 1) + 2 > len(out):
            grown = np.empty(2 * len(out) + w * (h + 1) + 2, np.uint32)
            grown[:used] = out[:used]
            out = grown
        unpack(bits, offsets[i], w, h, mask)
        wide, end = w + 2, 0  # end: of the last run of set pixels, counted down the image's columns
        top, bottom = max(0, -y), min(h, height - y)
        for col in range(max(0, -x), min(w, width - x)):
            shift = (x + col) * height + y
            row, p = top, (top + 1) * wide + col + 1
            while row < bottom:
                if mask[p] == 0:
                    row, p = row + 1, p + wide
                    continue
                begin = row
                while row < bottom and mask[p]:
                    row, p = row + 1, p + wide
                if shift + begin == end and used > starts[i]:  # it goes on from the foot of the column before
                    out[used - 1] += np.uint32(row - begin)
                else:
                    out[used], out[used + 1] = shift + begin - end, row - begin
                    used += 2
                end = shift + row
        if end < height * width or used == starts[i]:
            out[used] = height * width - end
            used += 1
        starts[i + 1] = used
    return out[:used].copy()


@kernel
def _boxes(
    counts: NDArray[np.uint32], starts: NDArray[np.int64], height: int, pixels: int, windows: NDArray[np.int64]
) -> int:
    """Write the box of each mask, and return the first whose counts do not add up to the image's pixels, or -1."""
    for i in range(len(windows)):
        at, left, right = np.int64(0), np.int64(1) << 40, np.int64(0)
        top, bottom = np.int64(height), np.int64(0)
        for k in range(starts[i], starts[i + 1]):
            end = at + np.int64(counts[k])
            if end > pixels:
                return i
            if (k - starts[i]) & 1 and end > at:
                col, last = at // height, (end - 1) // height
                left, right = min(left, col), max(right, last + 1)
                if col == last:
                    top, bottom = min(top, at % height), max(bottom, (end - 1) % height + 1)
                else:
                    top, bottom = np.int64(0), np.int64(height)
            at = end
        if at != pixels:
            return i
        if right > left:
            windows[i, 0], windows[i, 1], windows[i, 2], windows[i, 3] = left, top, right - left, bottom - top
    return -1


@kernel
def _decode(
    counts: NDArray[np.uint32],
    starts: NDArray[np.int64],
    height: int,
    windows: NDArray[np.int64],
    offsets: NDArray[np.int64],
    bits: NDArray[np.uint8],
) -> None:
    for i in range(len(windows)):
        x, y, w = windows[i, 0], windows[i, 1], windows[i, 2]
        at, base = np.int64(0), 8 * offsets[i]
        for k in range(starts[i], starts[i + 1]):
            end = at + np.int64(counts[k])
            if (k - starts[i]) & 1:
                row, col = at % height - y, at // height - x
                for _ in range(end - at):
                    if row == height - y:
                        row, col = -y, col + 1
                    bit = base + row * w + col
                    bits[bit >> 3] |= np.uint8(128 >> (bit & 7))
                    row += 1
            at = end


@kernel
def _compress(
    counts: NDArray[np.uint32], starts: NDArray[np.int64], out: NDArray[np.uint8], places: NDArray[np.int64]
) -> None:
    used = 0
    for i in range(len(starts) - 1):
        for k in range(starts[i], starts[i + 1]):
            value = np.int64(counts[k])
            if k > starts[i] + 2:
                value -= np.int64(counts[k - 2])
            more = True
            while more:
                low = value & 31
                value >>= 5
                more = value != (-1 if low & 16 else 0)
                out[used] = 48 + low + (32 if more else 0)
                used += 1
        places[i + 1] = used


@kernel
def _decompress(
    text: NDArray[np.uint8], starts: NDArray[np.int64], out: NDArray[np.uint32], places: NDArray[np.int64]
) -> int:
    """Write the counts, and return the first mask whose text is none, or -1."""
    used = 0
    for i in range(len(starts) - 1):
        value, shift = np.int64(0), 0
        for k in range(starts[i], starts[i + 1]):
            low = np.int64(text[k]) - 48
            if low < 0 or low > 63 or shift >= 5 * _CHARS:
                return i
            value |= (low & 31) << shift
            shift += 5
            if low & 32:
                continue
            if low & 16:
                value -= np.int64(1) << shift
            if used > places[i] + 2:
                value += np.int64(out[used - 2])
            if value < 0 or value >= 1 << 32:
                return i
            out[used] = value
            used += 1
            value, shift = np.int64(0), 0
        if shift:
            return i
        places[i + 1] = used
    return -1
