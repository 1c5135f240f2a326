"""COCO's greedy assignment in one stream: each detection's candidates are found, served and forgotten.

Thresholds are bits: bit t of a word says what holds at the t-th threshold, so that one pass over a detection's few
candidates settles all thresholds of an area range.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pbsbatch_kernels.jit import kernel
from pbsbatch_kernels.matching_grid import WORTH_IT, grid, no_grid, window
from pbsbatch_kernels.matching_pairs import (
    BOXES,
    MASKS,
    Cell,
    Near,
    Objects,
    boxes_near,
    corners,
    masks_near,
    points_near,
)

__all__ = ["Flags", "Outcome", "Rules", "greedy"]


class Rules(NamedTuple):
    """What a match is."""

    kind: int
    thresholds: NDArray[np.float64]  # rising
    reach: float  # px beyond a detection's corners at which a truth may still fit
    limit: int  # detections per image and class


class Flags(NamedTuple):
    """What is special about an object, in the order of Objects. A word holds a bit for each area range."""

    crowd: NDArray[np.bool_]
    counted: NDArray[np.bool_]
    hidden: NDArray[np.int64]  # truths that are ignored there
    outside: NDArray[np.int64]  # detections that do not belong there


class Outcome(NamedTuple):
    """What is written. A word holds a bit for each threshold."""

    rows: NDArray[np.int32]  # (D,) in the order of Objects: row in hits and spared; stays where nothing was near
    hits: NDArray[np.int64]  # (rows, A)
    spared: NDArray[np.int64]  # (rows, A)
    partners: NDArray[np.int32]  # (A, T, D) matched truth, both as they were given; or no entries


class Work(NamedTuple):
    """Room to work in."""

    near: Near
    cell: Cell
    taken: NDArray[np.int64]  # (G, A) bit t: the truth has its detection


@kernel
def greedy(rules: Rules, true: Objects, found: Objects, flags: Flags, out: Outcome) -> int:
    """Match detections to truths, class by class and image by image; return how many detections had a candidate.

    Laws. Among the open truths that a detection fits well enough, those that count come first, then the better fit,
    then the later truth. A crowd is never used up. Memory beyond the arguments is O(truths).
    """
    n = len(true.order)
    work = Work(
        Near(np.empty(n, np.int64), np.empty(n, np.float64), np.empty(n, np.int64)),
        Cell(np.empty((n, 4), np.float64), np.empty(n, np.float64), np.empty(n, np.bool_), true.order),
        np.zeros((n, out.hits.shape[1]), np.int64),
    )
    used, t, d = 0, 0, 0
    while t < n and d < len(found.order):
        if true.keys[t] < found.keys[d]:
            t += 1
        elif true.keys[t] > found.keys[d]:
            d += 1
        else:
            t_end, d_end = t, d
            while t_end < n and true.keys[t_end] == true.keys[t]:
                t_end += 1
            while d_end < len(found.keys) and found.keys[d_end] == found.keys[d]:
                d_end += 1
            last = min(d_end, d + rules.limit)
            used = _cell(rules, true, found, flags, out, work, t, t_end, d, last, used)
            t, d = t_end, d_end
    return used


@kernel
def _cell(
    rules: Rules, true: Objects, found: Objects, flags: Flags, out: Outcome, work: Work, t: int, t_end: int, d: int,
    d_end: int, used: int,
) -> int:  # fmt: skip
    """Match one class of one image; return how many rows are used now."""
    who, lowest = np.arange(t, t_end), rules.thresholds[0]
    if len(who) >= WORTH_IT:
        lines, who = grid(true.boxes, who)
    else:
        lines = no_grid(len(who))
    cell, near = Cell(work.cell.corners, work.cell.sizes, work.cell.crowd, who), work.near
    for m in range(len(who)):
        cell.corners[m] = corners(true.boxes[who[m]])
        cell.sizes[m], cell.crowd[m] = true.sizes[who[m]], flags.crowd[who[m]]
    for i in range(d, d_end):
        n = 0
        left, right, top, bottom = window(lines, corners(found.boxes[i]), rules.reach)
        for line in range(top, bottom + 2):  # the cells of a line lie side by side; the last turn: the large truths
            first, last = lines.heads[len(lines.heads) - 2], len(who)
            if line <= bottom:
                first, last = lines.heads[line * lines.columns + left], lines.heads[line * lines.columns + right + 1]
            if rules.kind == BOXES:
                n = boxes_near(cell, first, last, found, i, lowest, near, n)
            elif rules.kind == MASKS:
                n = masks_near(cell, first, last, true, found, i, lowest, near, n)
            else:
                n = points_near(cell, first, last, found, i, lowest, near, n)
        if n > 0:
            _prefer(near, n)
            _serve(work, n, rules.thresholds, flags, true, found, i, out, used)
            out.rows[i] = used
            used += 1
    return used


@kernel
def _prefer(near: Near, n: int) -> None:
    """Sort candidates: the better fit first, then the later truth."""
    who, fits = near.who, near.fits
    for gap in (1750, 701, 301, 132, 57, 23, 10, 4, 1):  # Shell's sort: one candidate is the rule, thousands may come
        for k in range(gap, n):
            g, fit, m = who[k], fits[k], k
            while m >= gap and (fits[m - gap] < fit or (fits[m - gap] == fit and who[m - gap] < g)):
                who[m], fits[m] = who[m - gap], fits[m - gap]
                m -= gap
            who[m], fits[m] = g, fit


@kernel
def _serve(
    work: Work, n: int, thresholds: NDArray[np.float64], flags: Flags, true: Objects, found: Objects, i: int,
    out: Outcome, row: int,
) -> None:  # fmt: skip
    """Give detection i its truth at every threshold of every area range."""
    near, taken, one = work.near, work.taken, np.int64(1)
    full = (one << len(thresholds)) - one
    for c in range(n):
        k = 0
        while k < len(thresholds) and near.fits[c] >= thresholds[k]:
            k += 1
        near.bits[c] = (one << k) - one
    for a in range(out.hits.shape[1]):
        free, matched, ignored = full, np.int64(0), np.int64(0)
        for turn in range(2):  # first the truths that count, then those that are ignored
            for c in range(n):
                g = near.who[c]
                if (flags.hidden[g] >> a) & one != turn:
                    continue
                won = free & near.bits[c]
                if not flags.crowd[g]:
                    won &= ~taken[g, a]
                free &= ~won
                taken[g, a] |= won
                if turn == 1:
                    ignored |= won
                if flags.counted[g]:
                    matched |= won
                if len(out.partners) > 0 and won != 0:
                    for t in range(len(thresholds)):
                        if (won >> t) & one:
                            out.partners[a, t, found.order[i]] = true.order[g]
        if (flags.outside[i] >> a) & one:
            ignored |= full & ~matched
        out.hits[row, a], out.spared[row, a] = matched & ~ignored, ignored
