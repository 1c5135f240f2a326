"""Run-length masks as vertical segments, and how many pixels two of them share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pbsbatch_kernels.jit import kernel

__all__ = ["Runs", "Segments", "common", "segments"]

FURTHEST = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Runs:
    """N masks as run lengths, column by column, the first run being background: pycocotools' layout.

    Mask i's runs are counts[offsets[i]:offsets[i + 1]]; they fill its window x, y, w, h. A mask of a whole picture
    has the window 0, 0, width, height.
    """

    counts: NDArray[np.uint32]
    offsets: NDArray[np.int64]  # (N + 1,)
    windows: NDArray[np.int64]  # (N, 4)


@dataclass(frozen=True, slots=True)
class Segments:
    """N masks as pieces of columns. Law: mask i's are pieces[starts[i]:starts[i + 1]], sorted, apart, not empty."""

    starts: NDArray[np.int64]  # (N + 1,)
    pieces: NDArray[np.int32]  # (S, 3) column, first row, row after the last
    pixels: NDArray[np.float64]  # (N,)
    boxes: NDArray[np.float64]  # (N, 4) x, y, w, h around the set pixels; zero size where there are none


def segments(runs: Runs) -> Segments:
    """Return the masks as segments of columns in the windows' own frame."""
    n = len(runs.windows)
    if runs.windows.shape != (n, 4) or runs.offsets.shape != (n + 1,) or runs.counts.ndim != 1:
        raise ValueError("masks: windows must be (N, 4), offsets (N + 1,) and counts one-dimensional")
    if runs.counts.dtype != np.uint32:
        raise ValueError(f"masks: counts must be uint32, not {runs.counts.dtype}")
    windows, offsets = runs.windows.astype(np.int64), runs.offsets.astype(np.int64)
    if offsets[0] != 0 or offsets[-1] != len(runs.counts) or (np.diff(offsets) < 0).any():
        raise ValueError("masks: offsets must rise from 0 to the number of counts")
    ends = windows[:, :2] + windows[:, 2:]
    if (windows[:, 2:] < 0).any() or (np.abs(windows) > FURTHEST).any() or (np.abs(ends) > FURTHEST).any():
        raise ValueError("masks: a window has a negative size or lies beyond 2^31")
    starts = np.zeros(n + 1, np.int64)
    wrong = _count(runs.counts, offsets, windows, starts)
    if wrong >= 0:
        raise ValueError(f"masks: the runs of mask {wrong} do not fill its window {windows[wrong].tolist()}")
    pieces = np.empty((int(starts[-1]), 3), np.int32)
    pixels, boxes = np.zeros(n, np.float64), np.zeros((n, 4), np.float64)
    _fill(runs.counts, offsets, windows, starts, pieces, pixels, boxes)
    return Segments(starts, pieces, pixels, boxes)


@kernel
def common(pieces: NDArray[np.int32], i: int, i_end: int, others: NDArray[np.int32], j: int, j_end: int) -> int:
    """Return how many pixels two masks share."""
    shared = 0
    while i < i_end and j < j_end:
        if pieces[i, 0] < others[j, 0]:
            i += 1
        elif pieces[i, 0] > others[j, 0]:
            j += 1
        else:
            top, end = max(pieces[i, 1], others[j, 1]), min(pieces[i, 2], others[j, 2])
            if end > top:
                shared += end - top
            if pieces[i, 2] < others[j, 2]:
                i += 1
            else:
                j += 1
    return shared


@kernel
def _count(
    counts: NDArray[np.uint32], offsets: NDArray[np.int64], windows: NDArray[np.int64], starts: NDArray[np.int64]
) -> int:
    """Count each mask's segments; return the first mask whose runs do not fill its window, or -1."""
    for n in range(len(windows)):
        height, at, found = windows[n, 3], np.int64(0), np.int64(0)
        area = windows[n, 2] * height
        for r in range(offsets[n], offsets[n + 1]):
            length = np.int64(counts[r])
            if at + length > area:
                return n
            if length > 0 and (r - offsets[n]) % 2 == 1:
                found += (at + length - 1) // height - at // height + 1
            at += length
        if at != area:
            return n
        starts[n + 1] = starts[n] + found
    return -1


@kernel
def _fill(
    counts: NDArray[np.uint32], offsets: NDArray[np.int64], windows: NDArray[np.int64], starts: NDArray[np.int64],
    pieces: NDArray[np.int32], pixels: NDArray[np.float64], boxes: NDArray[np.float64],
) -> None:  # fmt: skip
    for n in range(len(windows)):
        x, y, height, at, k = windows[n, 0], windows[n, 1], windows[n, 3], np.int64(0), starts[n]
        top, bottom = y + height, y
        for r in range(offsets[n], offsets[n + 1]):
            end = at + np.int64(counts[r])
            if (r - offsets[n]) % 2 == 1:
                while at < end:
                    column, row = at // height, at % height
                    length = min(end - at, height - row)
                    pieces[k, 0], pieces[k, 1], pieces[k, 2] = x + column, y + row, y + row + length
                    top, bottom = min(top, y + row), max(bottom, y + row + length)
                    pixels[n] += length
                    at += length
                    k += 1
            at = end
        if k > starts[n]:
            left = pieces[starts[n], 0]
            boxes[n, 0], boxes[n, 1] = left, top
            boxes[n, 2], boxes[n, 3] = pieces[k - 1, 0] + 1 - left, bottom - top
