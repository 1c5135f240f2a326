"""How good detections are by the size of cells, in um on the slide.

Laws. A cell's size is the diameter of the square of its box's area. As in pycocotools' area ranges, truths of other
sizes are ignored in a bin, and so are detections of other sizes that meet nothing. Images without um per px do not
count here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from pbsbatch.evaluate.ap import mean_present
from pbsbatch.evaluate.together import Compared
from pbsbatch_kernels.matching import COCO_IOUS, curves, match, take

__all__ = ["SizeRow", "size_rows"]


@dataclass(frozen=True, slots=True)
class SizeRow:
    """One class in one bin of sizes."""

    name: str
    from_um: float
    to_um: float | None  # None: without end
    true: int
    recall: float  # at the IoU asked for
    ap50: float
    ap: float


def size_rows(both: Compared, iou: float, bounds: Sequence[float]) -> tuple[SizeRow, ...]:
    """Return each class in each bin that holds any truth. Bounds in um ascend; the last bin has no end."""
    mpp = np.array([f.mpp or t.mpp or math.nan for t, f in both.pairs])
    known = np.isfinite(mpp)
    if not known.any():
        return ()
    true = take(both.true, np.flatnonzero(known[both.true.images]))
    found = take(both.found, np.flatnonzero(known[both.found.images]))
    true = replace(true, areas=true.boxes[:, 2:].prod(1) * mpp[true.images] ** 2)
    found = replace(found, areas=found.boxes[:, 2:].prod(1) * mpp[found.images] ** 2)
    edges = [0.0, *bounds, math.inf]
    ranges = tuple((low**2, np.nextafter(high**2, 0)) for low, high in pairwise(edges))
    marks = np.unique(np.append(COCO_IOUS, iou))
    table = curves(true, found, match(true, found, marks, areas=ranges), len(both.classes))
    coco, at = [int(np.flatnonzero(marks == t)[0]) for t in COCO_IOUS], int(np.flatnonzero(marks == iou)[0])
    rows = []
    for k, name in enumerate(both.classes):
        areas = true.areas[(true.classes == k) & ~true.ignored]
        for a, (low, high) in enumerate(pairwise(edges)):
            count = int(((areas >= ranges[a][0]) & (areas <= ranges[a][1])).sum())
            if count:
                precision, recall = table.precision[:, :, [k], a, -1], float(table.recall[at, k, a, -1])
                rows.append(SizeRow(
                    name, low, None if math.isinf(high) else high, count, recall,
                    mean_present(precision[coco[:1]]), mean_present(precision[coco]),
                ))  # fmt: skip
    return tuple(rows)
