"""Trace the outline of every cell and thin it to within half a pixel.

Coordinates are level-0 pixel corners: pixel (x, y) covers [x, x + 1) by [y, y + 1). The outline of a cell is that of
its largest piece (pixels joined by their sides; of equals the first in reading order); holes are left out.

Laws. A polygon's vertices are middles of pixel sides on the outline. Each point of one lies less than 0.5 px from the
other. It is valid: it never touches itself and is never flat. Why: unit sides of the outline that do not meet lie at
least 1 px apart, and each edge of the polygon lies less than 0.5 from its own stretch, so edges of different stretches
cannot meet; and a band less than 1 px wide holds no pixel, so there are three edges at least. This needs exact
comparisons, so all is done in whole numbers of half pixels. Chords run inside of round borders: the polygon of a cell
of 30 px has 27 vertices and 0.8 % less area than its mask.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pbsbatch_kernels.jit import kernel
from pbsbatch_kernels.masks import checked, padded_size, unpack

__all__ = ["trace"]

_EXACT = 2**23
"""float32 holds every half up to here."""


def trace(
    bits: NDArray[np.uint8], offsets: NDArray[np.integer], windows: NDArray[np.integer]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the vertices (V, 2) of all polygons as x, y, and where each polygon begins (N + 1,).

    A polygon runs clockwise on a screen and does not repeat its first vertex. A mask without pixels has none.
    """
    bits, where, wide = checked(bits, offsets, windows)
    if (wide[:, :2] < -_EXACT).any() or (wide[:, :2] + wide[:, 2:] > _EXACT).any():
        raise ValueError(f"trace: a window lies beyond {_EXACT} px, where float32 no longer holds halves")
    starts = np.zeros(len(wide) + 1, np.int64)
    return _trace(bits, where, wide, np.zeros(padded_size(wide), np.uint8), starts), starts


@kernel
def _trace(
    bits: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    windows: NDArray[np.int64],
    mask: NDArray[np.uint8],
    starts: NDArray[np.int64],
) -> NDArray[np.float32]:
    runs = np.empty((len(mask) // 2 + 1, 4), np.int64)
    sides = 2 * len(mask)  # of a piece of k pixels joined by their sides, at most 2 k + 2 lie on the outline
    outline = np.empty((2 * sides + 1, 2), np.int64)
    keep = np.empty(sides, np.bool_)
    out = np.empty((24 * len(windows), 2), np.float32)
    used = 0
    for i in range(len(windows)):
        unpack(bits, offsets[i], windows[i, 2], windows[i, 3], mask)
        first = _largest_piece(mask, windows[i, 2], windows[i, 3], runs)
        if first >= 0:
            n = _walk(mask, windows[i, 2] + 2, first, outline)
            _thin(outline, n, keep)
            if used + n > len(out):
                grown = np.empty((2 * len(out) + n, 2), np.float32)
                grown[:used] = out[:used]
                out = grown
            used += _emit(outline, n, keep, windows[i, 0], windows[i, 1], out[used:])
        starts[i + 1] = used
    return out[:used].copy()


@kernel
def _largest_piece(mask: NDArray[np.uint8], width: int, height: int, runs: NDArray[np.int64]) -> int:
    """Clear all but the largest piece, and return where its first pixel stands in the padded mask, or -1.

    A piece is a tree of runs (start, end, parent, pixels), whose root is its first run.
    """
    wide = width + 2
    n, p, above = 0, wide, 0
    while p < wide * (height + 1):
        if mask[p] == 0:
            p += 1
            continue
        start = p
        while mask[p]:
            p += 1
        runs[n, 0], runs[n, 1], runs[n, 2], runs[n, 3] = start, p, n, 0
        while runs[above, 1] + wide <= start:
            above += 1
        k = above
        while runs[k, 0] + wide < p:
            a, b = _root(runs, k), _root(runs, n)
            runs[max(a, b), 2] = min(a, b)
            k += 1
        n += 1
    best = 0
    for k in range(n):
        root = _root(runs, k)
        runs[root, 3] += runs[k, 1] - runs[k, 0]
        if runs[root, 3] > runs[best, 3] or (runs[root, 3] == runs[best, 3] and root < best):
            best = root
    for k in range(n):
        if _root(runs, k) != best:
            mask[runs[k, 0] : runs[k, 1]] = 0
    return runs[best, 0] if n else -1


@kernel
def _root(runs: NDArray[np.int64], k: int) -> int:
    while runs[k, 2] != k:
        runs[k, 2] = runs[runs[k, 2], 2]
        k = runs[k, 2]
    return k


@kernel
def _walk(mask: NDArray[np.uint8], wide: int, first: int, outline: NDArray[np.int64]) -> int:
    """Write middle and corner of the outline's unit sides in turn, and the first middle again; return how many.

    The piece lies to the right. Where two of its pixels meet at a corner alone, the ground between them to the left is
    outside and that to the right is enclosed, so the walk turns left and passes every corner once.
    """
    step = (1, wide, -1, -wide)
    ahead = (-wide, 0, -1, -wide - 1)  # the pixels around a corner, named by the one to its lower right
    x, y = 2 * (first % wide - 1), 2 * (first // wide - 1)
    at, way, n = first, 0, 0
    while True:
        dx, dy = (way == 0) - (way == 2), (way == 1) - (way == 3)
        outline[2 * n, 0], outline[2 * n, 1] = x + dx, y + dy
        x, y = x + 2 * dx, y + 2 * dy
        outline[2 * n + 1, 0], outline[2 * n + 1, 1] = x, y
        n += 1
        at += step[way]
        if at == first:
            break
        if mask[at + ahead[way]]:
            way = (way + 3) & 3
        elif not mask[at + ahead[(way + 1) & 3]]:
            way = (way + 1) & 3
    outline[2 * n] = outline[0]
    return n


@kernel
def _thin(outline: NDArray[np.int64], n: int, keep: NDArray[np.bool_]) -> None:
    """Choose the middles that stay: from each, the edge goes on while all of its stretch is near.

    The stride is doubled, then the last doubling halved. Douglas and Peucker's way left a fifth more vertices, took a
    fifth longer, and takes the square of the length for a spiral.
    """
    keep[:n] = False
    i = 0
    while i < n:
        keep[i] = True
        good = 1
        while i + 2 * good <= n and _near(outline, 2 * i, 2 * (i + 2 * good)):
            good *= 2
        bad = min(2 * good, n - i + 1)
        while bad - good > 1:
            middle = (good + bad) // 2
            if _near(outline, 2 * i, 2 * (i + middle)):
                good = middle
            else:
                bad = middle
        i += good


@kernel
def _near(outline: NDArray[np.int64], a: int, b: int) -> bool:
    """Say whether each corner between a and b is less than half a pixel from the edge between them.

    A middle is never farther than the corners beside it. Law: never true where it is not, because rounding is monotone
    and the squared length is exact.
    """
    ax, ay = outline[a, 0], outline[a, 1]
    dx, dy = outline[b, 0] - ax, outline[b, 1] - ay
    length = dx * dx + dy * dy
    for p in range(a + 1, b, 2):
        x, y = outline[p, 0] - ax, outline[p, 1] - ay
        along = x * dx + y * dy
        cross = float(x * dy - y * dx)
        if along < 0 or along > length or cross * cross >= float(length):
            return False
    return True


@kernel
def _emit(
    outline: NDArray[np.int64], n: int, keep: NDArray[np.bool_], left: int, top: int, out: NDArray[np.float32]
) -> int:
    """Write the kept middles in level-0 pixels, without those on a straight line, and return how many."""
    before, here, used = n - 1, 0, 0
    while not keep[before]:
        before -= 1
    for k in range(1, n + 1):
        if k < n and not keep[k]:
            continue
        (ax, ay), (bx, by), (cx, cy) = outline[2 * before], outline[2 * here], outline[2 * k]
        if (bx - ax) * (cy - by) != (by - ay) * (cx - bx):
            out[used, 0], out[used, 1] = left + bx / 2, top + by / 2
            used += 1
        before, here = here, k
    return used
