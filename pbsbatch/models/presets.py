"""Operating points of two published studies, by name: from which score on they took a cell for one, and their NMS.

cbc-2023: Faster R-CNN on fields of complete blood counts, taught whole or with a frozen backbone. smear-2021: Mask
R-CNN on smears. Law: they are the studies' numbers; what a study does not say is the model's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pbsbatch.errors import UsageError
from pbsbatch.models.words import counted_as

__all__ = ["POINTS", "OperatingPoint", "point_of"]


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Least scores by what cells are counted as, and the overlap above which the better cell of a class stays."""

    least: Mapping[str, float]
    others: float | None  # of every other class; None: the model's own
    nms_iou: float | None

    def thresholds(self, classes: Sequence[str]) -> dict[str, float]:
        """Return the least score of each class that the study tells one of, whichever of its names a class has."""
        told = {name: self.least.get(counted_as(name) or name, self.others) for name in classes}
        return {name: value for name, value in told.items() if value is not None}


POINTS: Mapping[str, OperatingPoint] = {
    "cbc-2023": OperatingPoint({"Platelet": 0.55, "RBC": 0.70, "WBC": 0.80}, None, 0.45),
    "cbc-2023-frozen": OperatingPoint({"Platelet": 0.55, "RBC": 0.70, "WBC": 0.75}, None, 0.45),
    "smear-2021": OperatingPoint({}, 0.7, None),
}


def point_of(name: str) -> OperatingPoint:
    """Return an operating point by its name."""
    if name not in POINTS:
        raise UsageError(f"there is no preset {name!r}", cure=f"Presets: {', '.join(POINTS)}")
    return POINTS[name]
