"""Settle the cells near tile borders: which views are one cell, and which view stands for it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbsbatch_kernels import seams_loops as loops
from pbsbatch_kernels.seams_loops import VIEW

__all__ = ["MIN_IOU", "covered", "own", "reconcile", "settle"]

MIN_IOU = 0.3
"""Two views of one cell overlap at least so much; neighbours in a crowd stay far below."""
FAR = 1e15  # beyond it a double no longer holds tenths of a pixel
Boxes = NDArray[np.float32] | NDArray[np.float64]


def reconcile(
    boxes: Boxes, scores: NDArray[Any], classes: NDArray[Any], tiles: NDArray[Any], cores: Boxes, band: float
) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
    """Return which views of a whole slide's tiles are kept, and how many other views each kept one stands for.

    Boxes are x0, y0, x1, y1 on one grid; view i was seen by tile tiles[i], which owns core cores[tiles[i]]. Law: a
    view deep inside its core is kept, one deep outside is not; those near a border are settled, and one that no tile
    owns stays only if its centre lies in a core. With equal views every cell in a core is kept once.
    """
    owned, near = own(boxes, tiles, cores, band)
    if not len(boxes) == len(scores) == len(classes):
        raise ValueError("seams: there must be one entry per view")
    at = np.flatnonzero(near)
    keep, stands_for = settle(boxes[at], scores[at], classes[at], tiles[at], owned[at], band)
    orphan = np.flatnonzero(keep & ~owned[at])
    keep[orphan] = covered(boxes[at[orphan]], cores)
    kept, views = owned & ~near, np.zeros(len(boxes), np.int32)
    kept[at], views[at] = keep, np.where(keep, stands_for, 0)
    return kept, views


def own(boxes: Boxes, tiles: NDArray[Any], cores: Boxes, band: float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which views have their centre in their tile's half-open core, and which are to be settled.

    Those are the views less than band outside their core, or less than twice the band inside.
    """
    rows, mine, areas = _checked(boxes), _whole(tiles, len(boxes), "tiles"), _checked(cores)
    if len(mine) and (mine.min() < 0 or mine.max() >= len(areas)):
        raise ValueError(f"seams: a view names a tile that is not among the {len(areas)} cores")
    return loops.own(rows, mine, areas, _finite(band))


def covered(boxes: Boxes, cores: Boxes) -> NDArray[np.bool_]:
    """Say which boxes have their centre in any core."""
    return loops.covered(_checked(boxes), _checked(cores))


def settle(
    boxes: Boxes, scores: NDArray[Any], classes: NDArray[Any], tiles: NDArray[Any], owned: NDArray[np.bool_],
    band: float,
) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:  # fmt: skip
    """Return which near-border views are kept, and how many other views each kept one stands for.

    Laws. Two views match if they come from different tiles, their centres lie within 2 * band, their boxes' IoU is at
    least 0.3, and each is the other's best such view in that tile (by IoU, then by rank). In the order of rank each
    kept view suppresses its matches. A view that its tile does not own stays only if it suppressed another: then each
    tile put the centre into the other's core. Rank: owned first, then score, then place, class and tile. The result
    does not depend on the order of the input, up to views that are equal in all respects.
    """
    reach, views = 2.0 * _finite(band), _views(boxes, scores, classes, tiles, owned)
    if len(views) == 0:
        return np.zeros(0, np.bool_), np.zeros(0, np.int32)
    # No sort by rank: only matching views are ever compared. Sorting by eight columns took two thirds of the time.
    keys, width = loops.keys(views, reach)
    order = np.argsort(keys)
    views, keys = views[order], keys[order]
    starts, best = loops.best(views, keys, width, reach, MIN_IOU)
    alive, stands_for = loops.greedy(views, starts, best)
    kept, others = np.empty(len(order), np.bool_), np.empty(len(order), np.int32)
    kept[order], others[order] = alive & ((views["owned"] != 0) | (stands_for > 0)), stands_for
    return kept, others


def _views(
    boxes: Boxes, scores: NDArray[Any], classes: NDArray[Any], tiles: NDArray[Any], owned: NDArray[np.bool_]
) -> NDArray[Any]:
    """Gather what is known of each view into one record of 64 bytes."""
    n = len(boxes)
    if scores.shape != (n,) or owned.shape != (n,) or not np.isfinite(scores).all():
        raise ValueError("seams: there must be one entry per view, and scores must be finite")
    views = np.zeros(n, VIEW)
    views["x0"], views["y0"], views["x1"], views["y1"] = _checked(boxes).T
    views["score"], views["owned"], views["index"] = scores, owned != 0, np.arange(n)
    views["class"], views["tile"] = _whole(classes, n, "classes"), _whole(tiles, n, "tiles")
    return views


def _checked(boxes: Boxes) -> NDArray[np.float64]:
    """Return boxes as float64, or refuse them."""
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"seams: boxes must be (N, 4), not {boxes.shape}")
    out = np.ascontiguousarray(boxes, np.float64)
    if not (np.abs(out) < FAR).all() or (out[:, :2] > out[:, 2:]).any():
        raise ValueError("seams: boxes must be finite, within 1e15, with x0 <= x1 and y0 <= y1")
    return out


def _whole(numbers: NDArray[Any], n: int, what: str) -> NDArray[np.int32]:
    if numbers.shape != (n,) or numbers.dtype.kind not in "iu":
        raise ValueError(f"seams: {what} must be {n} whole numbers, not {numbers.dtype} {numbers.shape}")
    if n and (numbers.min() < -(2**31) or numbers.max() >= 2**31):
        raise ValueError(f"seams: {what} must fit 32 bits")
    return np.ascontiguousarray(numbers, np.int32)


def _finite(band: float) -> float:
    if not math.isfinite(band) or band < 0:
        raise ValueError(f"seams: the band must be finite and not negative, not {band}")
    return float(band)
