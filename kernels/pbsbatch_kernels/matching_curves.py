"""Precision along recall, as COCO tabulates it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pbsbatch_kernels.jit import kernel

__all__ = ["Results", "Table", "tabulate"]

SPACING = 2.220446049250313e-16
"""pycocotools adds one spacing of 1 to what it divides by; at the very first detection that shows."""


class Results(NamedTuple):
    """The detections class by class, best first: class k's are [starts[k], starts[k + 1])."""

    starts: NDArray[np.int64]
    scores: NDArray[np.float64]
    ranks: NDArray[np.int64]  # place within image and class
    outside: NDArray[np.int64]  # bit a: its area is not in range a
    met: NDArray[np.int64]  # (rows,) those that had a candidate
    before: NDArray[np.int64]  # (D + 1,) how many of those come before
    hits: NDArray[np.int64]  # (A, rows) bit t: right at threshold t
    spared: NDArray[np.int64]  # (A, rows) bit t: neither right nor wrong


class Table(NamedTuple):
    """What is written: (K, A, M, T), and for precision and scores one more axis of recalls."""

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    scores: NDArray[np.float64]


class Walk(NamedTuple):
    """One walk along a class: hits and misses at each threshold; the misses before each hit, and its score; for each
    detection that had a candidate the misses before it that had none.
    """

    hits: NDArray[np.int64]
    misses: NDArray[np.int64]
    before: NDArray[np.int64]
    scores: NDArray[np.float64]
    alone: NDArray[np.int64]


@kernel
def tabulate(
    of: Results, truths: NDArray[np.int64], limits: NDArray[np.int64], recalls: NDArray[np.float64], table: Table
) -> None:
    """Fill the table, which holds -1 before, for truths (K, A) that count and the first limits[m] of each image.

    Laws. Between two hits precision falls, so its envelope is looked up at hits alone. No truth, no entry.
    """
    (classes, areas), thresholds = truths.shape, table.recall.shape[3]
    most = max(np.int64(1), truths.max()) if classes > 0 else np.int64(1)
    wanted = np.empty(len(recalls), np.int64)
    walk = Walk(
        np.empty(thresholds, np.int64), np.empty(thresholds, np.int64), np.empty((thresholds, most), np.int64),
        np.empty((thresholds, most), np.float64), np.empty(len(of.met) + 1, np.int64),
    )  # fmt: skip
    for k in range(classes):
        first = of.scores[of.starts[k]] if of.starts[k] < of.starts[k + 1] else 0.0
        for a in range(areas):
            n = truths[k, a]
            if n == 0:
                continue
            _needed(recalls, n, wanted)
            for m in range(len(limits)):
                _walk(of, k, a, limits[m], walk)
                for t in range(thresholds):
                    table.recall[k, a, m, t] = walk.hits[t] / n
                    _read(walk, t, first, wanted, table.precision[k, a, m, t], table.scores[k, a, m, t])


@kernel
def _needed(recalls: NDArray[np.float64], truths: int, wanted: NDArray[np.int64]) -> None:
    """Find how many hits reach each recall: the least n with n / truths >= recall."""
    n = np.int64(0)
    for r in range(len(recalls)):
        while n <= truths and n / truths < recalls[r]:
            n += 1
        wanted[r] = n


@kernel
def _walk(of: Results, k: int, a: int, limit: int, walk: Walk) -> None:
    """Note hits and misses of one class in one area range."""
    one, start, end = np.int64(1), of.starts[k], of.starts[k + 1]
    full = (one << len(walk.hits)) - one
    misses = np.int64(0)
    for d in range(start, end):  # no branch: none could be foretold, and most detections met no truth
        walk.alone[of.before[d]] = misses
        met = of.before[d + 1] - of.before[d]
        misses += np.int64(of.ranks[d] < limit) & (one - met) & ~(of.outside[d] >> a)
    walk.hits[:], walk.misses[:], misses = 0, 0, np.int64(0)
    for row in range(of.before[start], of.before[end]):
        d = of.met[row]
        if of.ranks[d] >= limit:
            continue
        hit, spared = of.hits[a, row], of.spared[a, row]
        if hit == 0 and spared == 0:  # wrong at all thresholds
            misses += 1
            continue
        if spared == full:
            continue
        for t in range(len(walk.hits)):
            if (hit >> t) & one:
                walk.before[t, walk.hits[t]] = walk.alone[row] + misses + walk.misses[t]
                walk.scores[t, walk.hits[t]] = of.scores[d]
                walk.hits[t] += 1
            elif not (spared >> t) & one:
                walk.misses[t] += 1


@kernel
def _read(
    walk: Walk, t: int, first: float, wanted: NDArray[np.int64], precision: NDArray[np.float64],
    scores: NDArray[np.float64],
) -> None:  # fmt: skip
    """Look the envelope up where a recall is first reached; 0 where it never is."""
    n, k, best = walk.hits[t], walk.hits[t], 0.0
    for r in range(len(wanted) - 1, -1, -1):
        precision[r], scores[r] = 0.0, 0.0
        if wanted[r] > n:
            continue
        while k > 0 and k >= wanted[r]:
            right, wrong = float(k), float(walk.before[t, k - 1])
            best = max(best, right / (wrong + right + SPACING))
            k -= 1
        precision[r] = best
        scores[r] = walk.scores[t, wanted[r] - 1] if wanted[r] > 0 else first
