"""What counts as a match: measures, thresholds and area ranges, with COCO's as constants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pbsbatch_kernels.jit import kernel

__all__ = ["ALL_AREAS", "COCO_AREAS", "COCO_IOUS", "COCO_RECALLS", "Measure", "Ranges", "checked_marks", "outside"]

Measure: TypeAlias = Literal["boxes", "masks", "points"]
Ranges: TypeAlias = Sequence[tuple[float, float]]
COCO_IOUS = np.linspace(0.5, 0.95, 10)
COCO_RECALLS = np.linspace(0.0, 1.0, 101)
ALL_AREAS: Ranges = ((0.0, float("inf")),)
COCO_AREAS: Ranges = ((0.0, 1e10), (0.0, 32.0**2), (32.0**2, 96.0**2), (96.0**2, 1e10))
"""all, small, medium, large; both bounds belong to a range"""
MOST_BITS = 62
FURTHEST = 1e150


def checked_marks(thresholds: ArrayLike, measure: Measure) -> NDArray[np.float64]:
    """Return thresholds that rise with the fit: IoUs, or minus distances."""
    if measure not in get_args(Measure):
        raise ValueError(f"match: measure must be one of {', '.join(get_args(Measure))}, not {measure!r}")
    given = np.atleast_1d(np.asarray(thresholds, np.float64))
    if given.ndim != 1 or not 0 < len(given) <= MOST_BITS:
        raise ValueError(f"match: there must be 1 to {MOST_BITS} thresholds, not an array of {given.shape}")
    if measure == "points":
        if not ((given >= 0) & (given <= FURTHEST)).all() or (np.diff(given) > 0).any():
            raise ValueError("match: distances must be finite, not negative, and fall")
        return -given
    if not ((given > 0) & (given <= 1)).all():
        raise ValueError("match: IoU thresholds must lie in (0, 1]: at 0 everything matches everything")
    if (np.diff(given) < 0).any():
        raise ValueError("match: IoU thresholds must rise")
    return np.minimum(given, 1 - 1e-10)  # as pycocotools does: the IoU of equal boxes may come out a little below 1


def outside(areas: NDArray[np.float64], ranges: Ranges) -> NDArray[np.int64]:
    """Return for each area a word with a bit for each range that it is not in."""
    bounds = np.array(ranges, np.float64)
    if bounds.ndim != 2 or bounds.shape[1] != 2 or not 0 < len(bounds) <= MOST_BITS:
        raise ValueError(f"match: areas must be 1 to {MOST_BITS} pairs (low, high), not {ranges}")
    if not (bounds[:, 0] <= bounds[:, 1]).all():
        raise ValueError(f"match: an area range must not end before it begins: {ranges}")
    return _outside(areas, bounds)


@kernel
def _outside(areas: NDArray[np.float64], bounds: NDArray[np.float64]) -> NDArray[np.int64]:
    out = np.zeros(len(areas), np.int64)
    for i in range(len(areas)):
        for a in range(len(bounds)):
            if areas[i] < bounds[a, 0] or areas[i] > bounds[a, 1]:
                out[i] |= np.int64(1) << a
    return out
