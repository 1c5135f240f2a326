"""Candidates: what a model saw in a tile before it chose, as `run --keep-candidates` keeps it for `tune`.

Laws. A candidate carries all that choosing looks at: the box that non-maximum suppression compares, the box that the
cell would have, and its merit, which orders where scores tie. There are at most MOST in a tile, the best of them.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pbsbatch.models.base import Calibration, Raw

__all__ = ["CANDIDATE", "FLOOR", "MOST", "OffersCandidates", "best_of", "candidate_table", "choose"]

FLOOR = 0.05
"""The least score of a candidate."""
MOST = 20_000
"""Candidates of a tile: 0.9 MB. A crowded tile of 1024 px has 200 cells, and a cell 10 to 30 candidates."""
CANDIDATE = np.dtype(
    [("nms_box", "<f4", 4), ("box", "<f4", 4), ("merit", "<f4"), ("score", "<f4"), ("class", "u1"), ("flags", "u1"),
     ("tile", "<i4")]
)  # fmt: skip
"""Boxes are x0, y0, x1, y1 in work pixels: of the tile when a model gives them, of the slide when they are kept."""


@runtime_checkable
class OffersCandidates(Protocol):
    """A model that can say what it chose from, and by which limits."""

    @property
    def limits(self) -> tuple[float, float]:
        """Return the IoU above which a better candidate suppresses another: of its class, and of any class."""
        ...

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Return the least score of each class."""
        ...

    def candidates(self, raw: Raw, slot: int, calibration: Calibration) -> NDArray[Any]:
        """Return the candidates (N,) of CANDIDATE in one slot of a batch, in the order in which ties are settled."""
        ...


def candidate_table(
    nms_boxes: NDArray[np.float32], boxes: NDArray[np.float32], merit: NDArray[np.float32],
    scores: NDArray[np.float32], classes: NDArray[np.uint8],
) -> NDArray[Any]:  # fmt: skip
    """Return columns as a table of candidates."""
    out = np.zeros(len(merit), CANDIDATE)
    for name, column in (("nms_box", nms_boxes), ("box", boxes), ("merit", merit), ("score", scores)):
        out[name] = column
    out["class"] = classes
    return out


def best_of(merit: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the rows of the MOST best, in the order they have."""
    if len(merit) <= MOST:
        return np.arange(len(merit), dtype=np.int64)
    return np.sort(np.argsort(-merit, kind="stable")[:MOST]).astype(np.int64)


def choose(of: NDArray[Any], thresholds: NDArray[np.float64], nms_iou: float, cross_iou: float) -> NDArray[np.int64]:
    """Return the rows that a run with these settings would take for cells, tile by tile as it does.

    Law: it is what decoding does: thresholds, then suppression within a class, then between classes.
    """
    from pbsbatch_kernels.nms import nms

    sure = np.flatnonzero(of["score"] >= thresholds[of["class"]])
    boxes = np.ascontiguousarray(of["nms_box"][sure])
    merit, tiles = np.ascontiguousarray(of["merit"][sure]), np.ascontiguousarray(of["tile"][sure])
    kept = nms(boxes, merit, np.ascontiguousarray(of["class"][sure]), nms_iou, tiles)
    kept = kept[nms(boxes[kept], merit[kept], np.zeros(len(kept), np.uint8), cross_iou, tiles[kept])]
    chosen: NDArray[np.int64] = sure[kept]
    return chosen
