"""The loops of seams.py: centres into a grid, each view's best matches, and who stands."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbsbatch_kernels.jit import kernel

__all__ = ["VIEW", "best", "covered", "greedy", "keys", "own"]

COLUMNS = float(1 << 30)
"""The grid has no more columns and rows than that, so that a cell's number fits 64 bits wherever the boxes lie."""
VIEW = np.dtype(
    [("x0", "f8"), ("y0", "f8"), ("x1", "f8"), ("y1", "f8"), ("score", "f8"), ("index", "i8"), ("class", "i4"),
     ("tile", "i4"), ("owned", "i8")]
)  # fmt: skip
UNKNOWN, ALIVE, DEAD = np.uint8(0), np.uint8(1), np.uint8(2)


@kernel
def own(
    boxes: NDArray[np.float64], tiles: NDArray[np.int32], cores: NDArray[np.float64], band: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    n = len(tiles)
    owned, near = np.empty(n, np.bool_), np.empty(n, np.bool_)
    for i in range(n):
        x, y = (boxes[i, 0] + boxes[i, 2]) / 2, (boxes[i, 1] + boxes[i, 3]) / 2
        core = cores[tiles[i]]
        deep = min(x - core[0], core[2] - x, y - core[1], core[3] - y)
        owned[i] = core[0] <= x < core[2] and core[1] <= y < core[3]
        # deep is the signed distance to the border, negative outside. Owned views are asked for further in: at a corner
        # of four, two views that missed it may match while the owner sees the cell just beyond the band.
        near[i] = -band < deep < 2 * band
    return owned, near


@kernel
def covered(boxes: NDArray[np.float64], cores: NDArray[np.float64]) -> NDArray[np.bool_]:
    out = np.zeros(len(boxes), np.bool_)
    for i in range(len(boxes)):
        x, y = (boxes[i, 0] + boxes[i, 2]) / 2, (boxes[i, 1] + boxes[i, 3]) / 2
        for k in range(len(cores)):
            if cores[k, 0] <= x < cores[k, 2] and cores[k, 1] <= y < cores[k, 3]:
                out[i] = True
                break
    return out


@kernel
def keys(views: NDArray[Any], reach: float) -> tuple[NDArray[np.int64], np.int64]:
    """Return each centre's grid cell as one number, row by row, with an empty column at both ends."""
    n = len(views)
    left, top = np.inf, np.inf
    right, bottom = -np.inf, -np.inf
    for i in range(n):
        x, y = centre(views[i])
        left, right = min(left, x), max(right, x)
        top, bottom = min(top, y), max(bottom, y)
    # a little wider than the reach: rounding must not put two views that match two columns apart
    side = max(reach * 1.001, 1.0, (right - left) / COLUMNS, (bottom - top) / COLUMNS)
    width = np.int64((right - left) / side) + 3
    keys = np.empty(n, np.int64)
    for i in range(n):
        x, y = centre(views[i])
        keys[i] = np.int64((y - top) / side) * width + np.int64((x - left) / side) + 1
    return keys, width


@kernel
def centre(view: Any) -> tuple[float, float]:
    return (view["x0"] + view["x1"]) / 2, (view["y0"] + view["y1"]) / 2


@kernel
def overlap(a: Any, b: Any) -> float:
    w = min(a["x1"], b["x1"]) - max(a["x0"], b["x0"])
    h = min(a["y1"], b["y1"]) - max(a["y0"], b["y0"])
    both = max(w, 0.0) * max(h, 0.0)
    union = (a["x1"] - a["x0"]) * (a["y1"] - a["y0"]) + (b["x1"] - b["x0"]) * (b["y1"] - b["y0"]) - both
    return both / union if union > 0.0 else 0.0


@kernel
def before(a: Any, b: Any) -> bool:
    """Say whether view a takes precedence over view b."""
    if a["owned"] != b["owned"]:
        return bool(a["owned"])
    if a["score"] != b["score"]:
        return bool(a["score"] > b["score"])
    if a["y0"] != b["y0"]:
        return bool(a["y0"] < b["y0"])
    if a["x0"] != b["x0"]:
        return bool(a["x0"] < b["x0"])
    if a["y1"] != b["y1"]:
        return bool(a["y1"] < b["y1"])
    if a["x1"] != b["x1"]:
        return bool(a["x1"] < b["x1"])
    if a["class"] != b["class"]:
        return bool(a["class"] < b["class"])
    if a["tile"] != b["tile"]:
        return bool(a["tile"] < b["tile"])
    return bool(a["index"] < b["index"])


@kernel
def best(
    views: NDArray[Any], keys: NDArray[np.int64], width: np.int64, reach: float, min_iou: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return for each view, in the order of keys, its best view in every other tile, as one list per view."""
    n = len(keys)
    starts = np.zeros(n + 1, np.int64)
    found = np.empty(max(2 * n, 16), np.int64)
    ious = np.empty(max(2 * n, 16), np.float64)
    used = 0
    lows = np.zeros(3, np.int64)  # where the row above, the own and the row below begin to be near: they only advance
    for i in range(n):
        first = used
        tile = views[i]["tile"]
        x, y = centre(views[i])
        for row in range(3):
            lo = keys[i] + (row - 1) * width - 1
            while lows[row] < n and keys[lows[row]] < lo:
                lows[row] += 1
            j = lows[row] - 1
            while j + 1 < n and keys[j + 1] <= lo + 2:
                j += 1
                other = views[j]["tile"]
                if other == tile:
                    continue
                u, v = centre(views[j])
                if (u - x) * (u - x) + (v - y) * (v - y) > reach * reach:
                    continue
                iou = overlap(views[i], views[j])
                if iou < min_iou:
                    continue
                at = first
                while at < used and views[found[at]]["tile"] != other:
                    at += 1
                if at == used:
                    if used == len(found):
                        found = np.concatenate((found, np.empty_like(found)))
                        ious = np.concatenate((ious, np.empty_like(ious)))
                    used += 1
                elif iou < ious[at] or (iou == ious[at] and not before(views[j], views[found[at]])):
                    continue
                found[at], ious[at] = j, iou
        starts[i + 1] = used
    return starts, found[:used]


@kernel
def greedy(
    views: NDArray[Any], starts: NDArray[np.int64], best: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
    """Decide every view after the better ones that it matches; return who stands, and for how many others.

    Nothing is sorted: a view that waits for a better one lies on a stack, each better than the one beneath it.
    """
    n = len(starts) - 1
    state = np.zeros(n, np.uint8)
    stands_for = np.zeros(n, np.int32)
    stack = np.empty(n, np.int64)
    for first in range(n):
        depth = 0
        if state[first] == UNKNOWN:
            stack[0] = first
            depth = 1
        while depth > 0:
            i = stack[depth - 1]
            owner, waits = -1, False
            for a in range(starts[i], starts[i + 1]):
                j = best[a]
                if state[j] == DEAD or not before(views[j], views[i]):
                    continue
                mutual = False
                for b in range(starts[j], starts[j + 1]):
                    mutual = mutual or best[b] == i
                if not mutual:
                    continue
                if state[j] == UNKNOWN:
                    stack[depth] = j
                    depth += 1
                    waits = True
                    break
                if owner < 0 or before(views[j], views[owner]):
                    owner = j
            if waits:
                continue
            depth -= 1
            state[i] = ALIVE if owner < 0 else DEAD
            if owner >= 0:
                stands_for[owner] += 1
    return state == ALIVE, stands_for
