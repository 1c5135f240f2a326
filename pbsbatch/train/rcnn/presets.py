"""What two published studies set, by name: how they trained, and from which score on they took a cell for one.

cbc-2023: Faster R-CNN on 640 x 480 px fields of complete blood counts, whole or with a frozen backbone. smear-2021:
Mask R-CNN with a ResNet-101 on smears, heads first. What a study does not say is left to torchvision's defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pbsbatch.datasets.readers.fields import class_of
from pbsbatch.datasets.readers.problems import RecordError
from pbsbatch.datasets.samples import CLASSES, PLATELET, RED, WHITE
from pbsbatch.errors import UsageError

__all__ = ["PRESETS", "Preset", "preset_of"]


@dataclass(frozen=True, slots=True)
class Preset:
    """Thresholds by class, NMS, and settings of a training by their names in its TOML file."""

    thresholds: Mapping[int, float]  # by index of CLASSES
    other: float  # of every other class
    nms_iou: float
    detections: int | None = None
    training: Mapping[str, Any] = field(default_factory=dict)

    def threshold(self, name: str) -> float:
        """Return the threshold of a class by its name, whichever of the usual words it is."""
        try:
            return self.thresholds.get(class_of(name), self.other)
        except RecordError:
            return self.other


_CBC: Mapping[str, Any] = {
    "learning_rate": 0.001, "momentum": 0.9, "batch": 4, "epochs": 5, "arch": "fasterrcnn-r50-fpn", "warm_up": 0,
    "weight_decay": 0.0,
}  # fmt: skip
PRESETS: Mapping[str, Preset] = {
    "cbc-2023": Preset({PLATELET: 0.55, RED: 0.70, WHITE: 0.80}, 0.5, 0.45, training={**_CBC, "freeze": "none"}),
    "cbc-2023-frozen": Preset(
        {PLATELET: 0.55, RED: 0.70, WHITE: 0.75}, 0.5, 0.45, training={**_CBC, "freeze": "backbone"}
    ),
    "smear-2021": Preset(
        dict.fromkeys(range(len(CLASSES)), 0.7), 0.7, 0.5, detections=100,
        training={
            "learning_rate": 0.001, "momentum": 0.9, "batch": 3, "epochs": 400, "head_epochs": 200, "epoch_steps": 500,
            "arch": "maskrcnn-r101-fpn", "freeze": "heads-first", "regions": 128, "warm_up": 0, "weight_decay": 0.0,
        },
    ),
}  # fmt: skip


def preset_of(name: str) -> Preset:
    """Return a preset by its name."""
    if name not in PRESETS:
        raise UsageError(f"there is no preset {name!r}", cure=f"Presets: {', '.join(PRESETS)}")
    return PRESETS[name]
