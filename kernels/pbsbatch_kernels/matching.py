"""Match detections to truth as COCO does, sparsely: only what lies near is ever looked at.

Law: bit-identical to pycocotools for boxes and run-length masks, with every threshold above 0, on one slide as on a
thousand fields; time grows with the pairs that are near, memory with the objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pbsbatch_kernels import matching_pairs
from pbsbatch_kernels.matching_curves import Results, Table, tabulate
from pbsbatch_kernels.matching_greedy import Flags, Outcome, Rules, greedy
from pbsbatch_kernels.matching_order import by_cell, by_key, by_score, ranks
from pbsbatch_kernels.matching_pairs import Objects
from pbsbatch_kernels.matching_rules import (
    ALL_AREAS,
    COCO_AREAS,
    COCO_IOUS,
    COCO_RECALLS,
    Measure,
    Ranges,
    checked_marks,
    outside,
)
from pbsbatch_kernels.matching_runs import Runs
from pbsbatch_kernels.matching_sets import Found, Truth, found, take, truth

__all__ = [
    "ALL_AREAS", "COCO_AREAS", "COCO_IOUS", "COCO_RECALLS", "Curves", "Found", "Matches", "Measure", "Ranges", "Runs",
    "Truth", "curves", "found", "match", "take", "truth",
]  # fmt: skip

KINDS = {"boxes": matching_pairs.BOXES, "masks": matching_pairs.MASKS, "points": matching_pairs.POINTS}


@dataclass(frozen=True, slots=True)
class Matches:
    """What became of each detection and truth. Law: a word of hits or spared holds a bit for each threshold, a word of
    outside or hidden a bit for each area range.
    """

    n_thresholds: int
    limit: int  # detections per image and class that took part
    order: NDArray[np.int64]  # (D,) by score, then image, then place given
    ranks: NDArray[np.int64]  # (D,) place by score within image and class
    rows: NDArray[np.int32]  # (D,) row in hits and spared; -1: nothing was near
    hits: NDArray[np.int64]  # (rows, A) matched a truth that counts
    spared: NDArray[np.int64]  # (rows, A) neither right nor wrong
    outside: NDArray[np.int64]  # (D,) its area is not in the range
    hidden: NDArray[np.int64]  # (G,) ignored there
    partners: NDArray[np.int32] | None  # (A, T, D) matched truth or -1, if asked for


@dataclass(frozen=True, slots=True)
class Curves:
    """What COCO's accumulate() returns, with its axes. Law: -1 where there is no truth."""

    precision: NDArray[np.float64]  # (T, R, K, A, M)
    recall: NDArray[np.float64]  # (T, K, A, M)
    scores: NDArray[np.float64]  # (T, R, K, A, M)


def match(
    true: Truth, detected: Found, thresholds: ArrayLike = COCO_IOUS, *, measure: Measure = "boxes",
    areas: Ranges = ALL_AREAS, limit: int | None = None, partners: bool = False,
) -> Matches:  # fmt: skip
    """Match every image and class on its own, best score first, and return what became of each detection.

    Laws. Thresholds run from loose to strict: IoUs in (0, 1] that rise, or for points distances in px that fall; a fit
    equal to its threshold is enough. Equal scores go in the order given, equal fits to the later truth. `limit` keeps
    the best detections of each image and class; None keeps all.
    """
    marks = checked_marks(thresholds, measure)
    if measure == "masks" and (true.masks is None or detected.masks is None):
        raise ValueError("match: masks are to be measured, and truth or detections have none")
    if limit is not None and limit < 1:
        raise ValueError(f"match: limit must be 1 or more, not {limit}")
    most = max(len(detected), 1) if limit is None else int(limit)
    hidden = outside(true.areas, areas) | np.where(true.ignored, (1 << len(areas)) - 1, 0)
    beyond = outside(detected.areas, areas)
    order = by_score(detected.scores, detected.images)
    trues = _objects(true, np.arange(len(true), dtype=np.int64), measure)
    founds = _objects(detected, order, measure)
    flags = Flags(true.crowd[trues.order], true.counted[trues.order], hidden[trues.order], beyond[founds.order])
    n = len(detected)
    out = Outcome(
        np.full(n, -1, np.int32),
        np.empty((n, len(areas)), np.int64), np.empty((n, len(areas)), np.int64),  # only the rows in use cost memory
        np.full((len(areas), len(marks), n) if partners else (0, 0, 0), -1, np.int32),
    )  # fmt: skip
    used = greedy(Rules(KINDS[measure], marks, max(-float(marks[0]), 0.0), most), trues, founds, flags, out)
    rows, places = np.empty_like(out.rows), np.empty(n, np.int64)
    rows[founds.order], places[founds.order] = out.rows, ranks(founds.keys)
    return Matches(
        n_thresholds=len(marks), limit=most, order=order, ranks=places, rows=rows, hits=out.hits[:used],
        spared=out.spared[:used], outside=beyond, hidden=hidden, partners=out.partners if partners else None,
    )  # fmt: skip


def curves(
    true: Truth, detected: Found, matches: Matches, n_classes: int, *, limits: Sequence[int] | None = None,
    recalls: ArrayLike = COCO_RECALLS,
) -> Curves:  # fmt: skip
    """Tabulate precision, recall and score by threshold, recall, class, area range and detections per image.

    Law: limits, ascending, ask for the best detections of each image and class, no more than took part in the match.
    """
    asked, points = _asked(matches, detected, limits), _points(recalls)
    for name, classes in (("truth", true.classes), ("detections", detected.classes)):
        if len(classes) and classes.max() >= n_classes:
            raise ValueError(f"curves: {name} hold class {classes.max()}, there are {n_classes}")
    shown = (matches.hidden[:, None] >> np.arange(matches.hits.shape[1])) & 1 == 0
    truths = np.zeros((n_classes, shown.shape[1]), np.int64)
    np.add.at(truths, true.classes, shown.astype(np.int64))
    shape = (*truths.shape, len(asked), matches.n_thresholds)
    table = Table(np.full((*shape, len(points)), -1.0), np.full(shape, -1.0), np.full((*shape, len(points)), -1.0))
    tabulate(_results(detected, matches, n_classes), truths, asked, points, table)
    axes = (3, 4, 0, 1, 2)
    return Curves(table.precision.transpose(axes), table.recall.transpose(3, 0, 1, 2), table.scores.transpose(axes))


def _asked(matches: Matches, detected: Found, limits: Sequence[int] | None) -> NDArray[np.int64]:
    asked = np.array([matches.limit] if limits is None else limits, np.int64)
    if len(asked) == 0 or asked[0] < 1 or (np.diff(asked) < 0).any():
        raise ValueError(f"curves: limits must be positive and ascend, not {asked.tolist()}")
    if asked[-1] > matches.limit and matches.limit < len(detected):
        raise ValueError(f"curves: {asked[-1]} detections are asked for, the match kept {matches.limit}")
    return asked


def _points(recalls: ArrayLike) -> NDArray[np.float64]:
    points = np.ascontiguousarray(recalls, np.float64)
    if points.ndim != 1 or not np.isfinite(points).all() or (np.diff(points) < 0).any():
        raise ValueError("curves: recalls must be finite and ascend")
    return points


def _results(detected: Found, matches: Matches, n_classes: int) -> Results:
    """Return the detections class by class, best first; what is walked through often lies side by side."""
    mine = by_key(detected.classes, matches.order)
    rows = matches.rows[mine]
    met = np.flatnonzero(rows >= 0)
    return Results(
        _sums(np.bincount(detected.classes, minlength=n_classes)), detected.scores[mine], matches.ranks[mine],
        matches.outside[mine], met, _sums(rows >= 0),
        np.ascontiguousarray(matches.hits[rows[met]].T), np.ascontiguousarray(matches.spared[rows[met]].T),
    )  # fmt: skip


def _sums(sizes: NDArray[np.generic]) -> NDArray[np.int64]:
    """Return 0 and the sums of the first one, two, three ..."""
    out = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=out[1:])
    return out


def _objects(of: Truth | Found, order: NDArray[np.int64], measure: Measure) -> Objects:
    """Return the kernel's view of a set: class by class and image by image, within each as in `order`."""
    masks = of.masks if measure == "masks" else None
    cells = by_cell(of.classes, of.images, order)
    boxes = (of.boxes if masks is None else masks.boxes)[cells]
    sizes = boxes[:, 2] * boxes[:, 3] if masks is None else masks.pixels[cells]
    if measure == "points":
        boxes[:, :2] += boxes[:, 2:] / 2
        boxes[:, 2:] = 0
    return Objects(
        cells, ((of.classes << 32) | of.images)[cells], boxes, sizes,
        np.zeros((0, 3), np.int32) if masks is None else masks.pieces,
        np.zeros(1, np.int64) if masks is None else masks.starts,
    )  # fmt: skip
