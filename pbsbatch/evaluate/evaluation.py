"""One call, every figure: average precision and recall by threshold, class and area, and verdicts at one threshold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pbsbatch.evaluate.ap import mean_present
from pbsbatch.evaluate.confusion import Confusion, confusion
from pbsbatch.evaluate.verdicts import Verdicts, verdicts
from pbsbatch_kernels.matching import (
    COCO_AREAS,
    COCO_IOUS,
    Curves,
    Found,
    Measure,
    Ranges,
    Truth,
    curves,
    match,
)

__all__ = ["Evaluation", "evaluate"]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What detections are worth against truth.

    Laws. The first area range and the last limit stand for all; a figure without truth is NaN; AP and AR are
    pycocotools' to the bit.
    """

    names: tuple[str, ...]
    thresholds: NDArray[np.float64]  # (T,) IoUs, or distances in px
    areas: Ranges
    limits: tuple[int, ...] | None  # detections per image and class; None: all of them
    curves: Curves
    verdicts: Verdicts
    confusion: Confusion

    def ap(self, *, at: float | None = None, name: str | None = None, area: int = 0, limit: int = -1) -> float:
        """Return the mean precision over recalls, classes and thresholds, or of one class or threshold."""
        chosen = self.curves.precision[self._rows(at)][:, :, self._columns(name)]
        return mean_present(chosen[..., area, limit])

    def ar(self, *, at: float | None = None, name: str | None = None, area: int = 0, limit: int = -1) -> float:
        """Return the mean of the highest recall over classes and thresholds, or of one class or threshold."""
        chosen = self.curves.recall[self._rows(at)][:, self._columns(name)]
        return mean_present(chosen[..., area, limit])

    @property
    def ap50(self) -> float:
        """Return the AP at an IoU of 0.5."""
        return self.ap(at=0.5)

    @property
    def ap75(self) -> float:
        """Return the AP at an IoU of 0.75."""
        return self.ap(at=0.75)

    def ap_per_class(self, *, at: float | None = None, area: int = 0) -> dict[str, float]:
        """Return each class's AP."""
        return {name: self.ap(at=at, name=name, area=area) for name in self.names}

    def ap_per_area(self, *, at: float | None = None) -> list[float]:
        """Return the AP of each area range."""
        return [self.ap(at=at, area=a) for a in range(len(self.areas))]

    def _rows(self, at: float | None) -> list[int]:
        if at is None:
            return list(range(len(self.thresholds)))
        rows = np.flatnonzero(np.isclose(self.thresholds, at, rtol=0, atol=1e-9)).tolist()
        if not rows:
            raise ValueError(f"evaluation: no threshold {at} among {self.thresholds.tolist()}")
        return rows

    def _columns(self, name: str | None) -> list[int]:
        if name is None:
            return list(range(len(self.names)))
        if name not in self.names:
            raise ValueError(f"evaluation: no class {name!r} among {', '.join(self.names)}")
        return [self.names.index(name)]


def evaluate(
    true: Truth, detected: Found, names: Sequence[str], *, measure: Measure = "boxes",
    thresholds: ArrayLike = COCO_IOUS, areas: Ranges = COCO_AREAS, limits: Sequence[int] | None = None,
    judge_at: float | None = None, cut: float = -math.inf, class_aware: bool = False,
) -> Evaluation:  # fmt: skip
    """Match once for all thresholds and areas, and once at `judge_at` (the loosest threshold) for the verdicts.

    `limits` asks for the figures of the best 1, 10 ... detections of each image and class: COCO's are 1, 10, 100, which
    would cut a slide down to nothing; `cut` and `class_aware` are the confusion's.
    """
    marks = np.atleast_1d(np.asarray(thresholds, np.float64))
    most = None if limits is None else max(limits, default=0)
    matches = match(true, detected, marks, measure=measure, areas=areas, limit=most)
    judged = float(marks[0]) if judge_at is None else judge_at
    classes = tuple(names)
    return Evaluation(
        names=classes, thresholds=marks, areas=areas, limits=None if limits is None else tuple(limits),
        curves=curves(true, detected, matches, len(classes), limits=limits),
        verdicts=verdicts(true, detected, len(classes), judged, measure=measure),
        confusion=confusion(
            true, detected, classes, threshold=judged, cut=cut, class_aware=class_aware, measure=measure
        ),
    )  # fmt: skip
