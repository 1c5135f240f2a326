"""How two published studies trained, by name; their thresholds are models/presets.py.

cbc-2023: Faster R-CNN on 640 x 480 px fields of complete blood counts, whole or with a frozen backbone. smear-2021:
Mask R-CNN with a ResNet-101 on smears, heads first. What a study does not say is left to torchvision's defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pbsbatch.models.presets import OperatingPoint, point_of
from pbsbatch.models.rcnn_facts import RcnnFacts

__all__ = ["Preset", "preset_of"]


@dataclass(frozen=True, slots=True)
class Preset:
    """An operating point, cells of a tile at most, and settings of a training by their names in its TOML file."""

    point: OperatingPoint
    detections: int | None
    training: Mapping[str, Any]

    def applied(self, facts: RcnnFacts) -> RcnnFacts:
        """Return facts with the study's thresholds, NMS and limit of cells; what it does not say stays."""
        told = self.point.thresholds(facts.classes)
        least = tuple(told.get(name, own) for name, own in zip(facts.classes, facts.thresholds, strict=True))
        iou = self.point.nms_iou
        suppression = facts.nms_iou if iou is None else (iou,) * len(facts.classes)
        return replace(
            facts, thresholds=least, nms_iou=suppression, detections=self.detections or facts.detections
        )  # fmt: skip


_CBC: Mapping[str, Any] = {
    "learning_rate": 0.001, "momentum": 0.9, "batch": 4, "epochs": 5, "arch": "fasterrcnn-r50-fpn", "warm_up": 0,
    "weight_decay": 0.0,
}  # fmt: skip
_SMEAR: Mapping[str, Any] = {
    "learning_rate": 0.001, "momentum": 0.9, "batch": 3, "epochs": 400, "head_epochs": 200, "epoch_steps": 500,
    "arch": "maskrcnn-r101-fpn", "freeze": "heads-first", "regions": 128, "warm_up": 0, "weight_decay": 0.0,
}  # fmt: skip
_TRAINING: Mapping[str, Mapping[str, Any]] = {
    "cbc-2023": {**_CBC, "freeze": "none"}, "cbc-2023-frozen": {**_CBC, "freeze": "backbone"}, "smear-2021": _SMEAR,
}  # fmt: skip
_DETECTIONS = {"smear-2021": 100}


def preset_of(name: str) -> Preset:
    """Return a preset by its name."""
    return Preset(point_of(name), _DETECTIONS.get(name), _TRAINING[name])
