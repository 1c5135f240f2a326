"""Average precision and recall out of curves, and the light call for every epoch of a training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pbsbatch.evaluate.fields import fields_found, fields_truth
from pbsbatch_kernels.matching import COCO_IOUS, curves, match

__all__ = ["AveragePrecision", "detection_ap", "mean_present"]


@dataclass(frozen=True, slots=True)
class AveragePrecision:
    """COCO's figures for all areas and all detections. Law: NaN where there is no truth."""

    ap: float  # mean over IoU .50 to .95
    ap50: float
    ap75: float
    ar: float  # mean recall over IoU .50 to .95
    ap_per_class: NDArray[np.float64]  # (K,)
    ap50_per_class: NDArray[np.float64]  # (K,)


def detection_ap(
    true_boxes: Sequence[ArrayLike], true_classes: Sequence[ArrayLike], boxes: Sequence[ArrayLike],
    classes: Sequence[ArrayLike], scores: Sequence[ArrayLike], n_classes: int,
) -> AveragePrecision:  # fmt: skip
    """Return the average precision of fields 0, 1, 2 ...; boxes are (N, 4) x0, y0, x1, y1 in px.

    Law: the figures are pycocotools' with one area range and no limit on detections.
    """
    if len(true_boxes) != len(boxes):
        raise ValueError(f"detection_ap: truth of {len(true_boxes)} fields, detections of {len(boxes)}")
    true, detected = fields_truth(true_boxes, true_classes), fields_found(boxes, classes, scores)
    table = curves(true, detected, match(true, detected, COCO_IOUS), n_classes)
    precision = table.precision[..., 0, 0]
    return AveragePrecision(
        ap=mean_present(precision), ap50=mean_present(precision[[0]]), ap75=mean_present(precision[[5]]),
        ar=mean_present(table.recall[..., 0, 0]),
        ap_per_class=np.array([mean_present(precision[..., k]) for k in range(n_classes)]),
        ap50_per_class=np.array([mean_present(precision[0, :, k]) for k in range(n_classes)]),
    )  # fmt: skip


def mean_present(values: NDArray[np.float64]) -> float:
    """Return the mean of what is there; NaN if nothing is. -1 marks what is absent."""
    present = values[values > -1]
    return float(np.mean(present)) if len(present) else float("nan")
