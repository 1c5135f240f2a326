"""Share a mask's pixels among discs and measure the regions; every decision is within a bounded reach."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pbsbatch_kernels.jit import kernel

__all__ = [
    "FEATURES",
    "connect",
    "extents",
    "fill_labels",
    "measure",
    "number_pieces",
    "overlap_mask",
    "power_labels",
    "rim_radii",
]

FEATURES = ("x0", "y0", "x1", "y1", "area", "density", "stain", "edge", "shared")
"""columns of measure(): extents with exclusive ends, pixels, sums of the two planes, border pixels, those of them that
lie against another region"""


@kernel
def power_labels(
    mask: NDArray[np.uint8], seeds: NDArray[np.int32], radii: NDArray[np.float32], reach: int
) -> NDArray[np.int32]:
    """Return for each mask pixel 1 + the seed whose disc it lies deepest in, 0 where no seed is within reach.

    Law: the distance is the power |p - c|^2 - r^2, whose borders are the chords of overlapping discs; ties go to the
    earlier seed. A pixel depends on the seeds within reach alone.
    """
    rows, cols = mask.shape
    labels = np.zeros((rows, cols), np.int32)
    best = np.full((rows, cols), np.inf, np.float32)
    limit = reach * reach
    for i in range(len(seeds)):
        y, x = seeds[i]
        square = np.float32(radii[i] * radii[i])
        for v in range(max(0, y - reach), min(rows, y + reach + 1)):
            for u in range(max(0, x - reach), min(cols, x + reach + 1)):
                if mask[v, u] == 0:
                    continue
                gap = (v - y) * (v - y) + (u - x) * (u - x)
                if gap > limit:
                    continue
                power = np.float32(gap) - square
                if power < best[v, u]:
                    best[v, u] = power
                    labels[v, u] = i + 1
    return labels


@kernel
def connect(labels: NDArray[np.int32], seeds: NDArray[np.int32], reach: int) -> NDArray[np.int32]:
    """Return the labels with only the part of each region that hangs together with its pixel nearest to its seed.

    Law: neighbours are the four sides; ties of nearness go to the pixel first in raster order. A seed may lie off the
    mask (a pale centre, a cell cut by the slide's border).
    """
    rows, cols = labels.shape
    out = np.zeros((rows, cols), np.int32)
    stack = np.empty((rows * cols, 2), np.int32)
    for i in range(len(seeds)):
        cy, cx = seeds[i]
        mine = i + 1
        best = reach * reach + 1
        if 0 <= cy < rows and 0 <= cx < cols and labels[cy, cx] == mine:
            stack[0, 0] = cy
            stack[0, 1] = cx
            best = 0
        for v in range(max(0, cy - reach), min(rows, cy + reach + 1)):
            if best == 0:
                break
            for u in range(max(0, cx - reach), min(cols, cx + reach + 1)):
                gap = (v - cy) * (v - cy) + (u - cx) * (u - cx)
                if labels[v, u] == mine and gap < best:
                    best = gap
                    stack[0, 0] = v
                    stack[0, 1] = u
        if best > reach * reach:
            continue
        out[stack[0, 0], stack[0, 1]] = mine
        depth = 1
        while depth > 0:
            depth -= 1
            y = stack[depth, 0]
            x = stack[depth, 1]
            for k in range(4):
                v = y + (k == 0) - (k == 1)
                u = x + (k == 2) - (k == 3)
                if 0 <= v < rows and 0 <= u < cols and labels[v, u] == mine and out[v, u] == 0:
                    out[v, u] = mine
                    stack[depth, 0] = v
                    stack[depth, 1] = u
                    depth += 1
    return out


@kernel
def measure(
    labels: NDArray[np.int32], density: NDArray[np.uint8], stain: NDArray[np.uint8], n: int
) -> NDArray[np.int64]:
    """Return (n, len(FEATURES)) sums and extents per region; row i is label i + 1; area 0: no pixels."""
    rows, cols = labels.shape
    out = np.zeros((n, 9), np.int64)
    out[:, 0] = cols
    out[:, 1] = rows
    for y in range(rows):
        inside = 0 < y < rows - 1
        for x in range(cols):
            mine = labels[y, x]
            if mine == 0:
                continue
            i = mine - 1
            out[i, 0] = min(out[i, 0], x)
            out[i, 1] = min(out[i, 1], y)
            out[i, 2] = max(out[i, 2], x + 1)
            out[i, 3] = y + 1
            out[i, 4] += 1
            out[i, 5] += density[y, x]
            out[i, 6] += stain[y, x]
            if inside and 0 < x < cols - 1:
                a = labels[y, x - 1]
                b = labels[y, x + 1]
                c = labels[y - 1, x]
                d = labels[y + 1, x]
                if a != mine or b != mine or c != mine or d != mine:
                    out[i, 7] += 1
                    if (a and a != mine) or (b and b != mine) or (c and c != mine) or (d and d != mine):
                        out[i, 8] += 1
            else:
                out[i, 7] += 1
    return out


@kernel
def extents(labels: NDArray[np.int32], n: int) -> NDArray[np.int32]:
    """Return (n, 5): x0, y0, x1, y1 (exclusive) and area of the labels 0 .. n - 1."""
    rows, cols = labels.shape
    out = np.zeros((n, 5), np.int32)
    out[:, 0] = cols
    out[:, 1] = rows
    for y in range(rows):
        for x in range(cols):
            i = labels[y, x]
            out[i, 0] = min(out[i, 0], x)
            out[i, 1] = min(out[i, 1], y)
            out[i, 2] = max(out[i, 2], x + 1)
            out[i, 3] = y + 1
            out[i, 4] += 1
    return out


@kernel
def fill_labels(mask: NDArray[np.uint8], labels: NDArray[np.int32], chosen: NDArray[np.bool_]) -> None:
    """Set the mask to 1, in place, where the label is chosen."""
    rows, cols = mask.shape
    for y in range(rows):
        for x in range(cols):
            if chosen[labels[y, x]]:
                mask[y, x] = 1


@kernel
def number_pieces(
    points: NDArray[np.int64], labels: NDArray[np.int32], start: int, widest: int, least: int, eight: bool
) -> int:
    """Number, in place, the connected pieces of a sparse mask from start + 1 on; return the last number.

    points are the mask's flat indices in raster order; labels must be 0 there. Law: neighbours are the four sides, or
    with eight also the corners; a piece wider or higher than widest, or of fewer than `least` pixels, stays 0.
    """
    rows, cols = labels.shape
    flat = labels.ravel()
    for i in range(len(points)):
        flat[points[i]] = -1
    stack = np.empty(len(points), np.int64)
    for i in range(len(points)):
        if flat[points[i]] != -1:
            continue
        # the stack is also the list of the piece's pixels: nothing is taken off it
        stack[0] = points[i]
        flat[points[i]] = -2
        count, done = 1, 0
        x0, x1, y0, y1 = cols, -1, rows, -1
        while done < count:
            y, x = divmod(stack[done], cols)
            done += 1
            x0, x1, y0, y1 = min(x0, x), max(x1, x), min(y0, y), max(y1, y)
            for v in range(max(0, y - 1), min(rows, y + 2)):
                for u in range(max(0, x - 1), min(cols, x + 2)):
                    if (eight or v == y or u == x) and flat[v * cols + u] == -1:
                        flat[v * cols + u] = -2
                        stack[count] = v * cols + u
                        count += 1
        keep = count >= least and x1 - x0 < widest and y1 - y0 < widest
        start += keep
        for k in range(count):
            flat[stack[k]] = start if keep else -3
    for i in range(len(points)):
        flat[points[i]] = max(flat[points[i]], 0)
    return start


@kernel
def overlap_mask(
    labels: NDArray[np.int32], mine: int, box: tuple[int, int, int, int], cy: int, cx: int, r: int
) -> tuple[int, int, NDArray[np.bool_]]:
    """Return x, y and the tight mask of a region and of what other regions hold within r of its seed."""
    rows, cols = labels.shape
    x0, y0 = min(box[0], max(0, cx - r)), min(box[1], max(0, cy - r))
    x1, y1 = max(box[2], min(cols, cx + r + 1)), max(box[3], min(rows, cy + r + 1))
    own = np.zeros((y1 - y0, x1 - x0), np.bool_)
    left, right, top, bottom = x1, x0, y1, y0
    for y in range(y0, y1):
        for x in range(x0, x1):
            other = labels[y, x]
            near = (y - cy) * (y - cy) + (x - cx) * (x - cx) <= r * r
            if other == mine or (near and other > 0):
                own[y - y0, x - x0] = True
                left = min(left, x)
                right = max(right, x + 1)
                top = min(top, y)
                bottom = max(bottom, y + 1)
    return left, top, own[top - y0 : bottom - y0, left - x0 : right - x0].copy()


@kernel
def rim_radii(labels: NDArray[np.int32], seeds: NDArray[np.int32]) -> NDArray[np.float32]:
    """Return (n, 2): the mean distance from each seed to its region's free border pixels, and their number.

    Law: a border pixel is free if a side neighbour is bare and none belongs to another region.
    """
    rows, cols = labels.shape
    out = np.zeros((len(seeds), 2), np.float32)
    for y in range(1, rows - 1):
        for x in range(1, cols - 1):
            mine = labels[y, x]
            if mine == 0 or mine > len(seeds):
                continue
            bare = False
            shared = False
            for k in range(4):
                other = labels[y + (k == 0) - (k == 1), x + (k == 2) - (k == 3)]
                bare = bare or other == 0
                shared = shared or (other > 0 and other != mine)
            if bare and not shared:
                dy = y - seeds[mine - 1, 0]
                dx = x - seeds[mine - 1, 1]
                out[mine - 1, 0] += np.float32(np.sqrt(np.float64(dy * dy + dx * dx)))
                out[mine - 1, 1] += np.float32(1.0)
    for i in range(len(seeds)):
        if out[i, 1] > 0:
            out[i, 0] /= out[i, 1]
    return out
