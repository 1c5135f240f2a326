"""What must be known of a two-stage network beside its weights: a TOML file's table, held against its bounds.

Law: torchvision's defaults where it has some, but for the numbers of proposals and cells: a tile of a smear holds more
than a photograph.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pbsbatch.errors import UsageError
from pbsbatch.models.rcnn_facts import LEVELS, STEP_PX, RcnnFacts
from pbsbatch.models.scale import RED_CELL_UM
from pbsbatch.models.words import COUNTED
from pbsbatch.train.rcnn.presets import Preset
from pbsbatch.train.tables import make, read_table, within

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "Shape", "facts_of", "read_shape"]

IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Of RGB bytes: what torchvision takes from pictures and divides by."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How the network was taught and how its tiles are to be looked at."""

    classes: tuple[str, ...]  # in the network's order, background left out; "" is not reported
    name: str = "two-stage"
    version: str = "1"
    licence: str = "unknown"
    work_mpp: float = within(0.0, 4.0, 0.0)  # um per pixel that the network saw, after torchvision's resizing
    red_cell_px: float = within(0.0, 300.0, 0.0)  # or how wide it saw red cells
    input_px: int = within(2 * STEP_PX, 4096, 1024)
    max_cell_um: float = within(1.0, 2000.0, 30.0)
    context_px: int = within(0, 2048, 64)
    anchors: tuple[tuple[float, ...], ...] = within(1.0, 4096.0, ((32.0,), (64.0,), (128.0,), (256.0,), (512.0,)))
    ratios: tuple[float, ...] = within(0.05, 20.0, (0.5, 1.0, 2.0))
    mean: tuple[float, float, float] = within(0.0, 255.0, IMAGENET_MEAN)
    std: tuple[float, float, float] = within(1e-3, 1e3, IMAGENET_STD)
    pre_nms: int = within(1, 100_000, 1000)
    post_nms: int = within(1, 100_000, 1000)
    rpn_nms_iou: float = within(0.05, 1.0, 0.7)
    threshold: float = within(0.001, 0.999, 0.05)
    thresholds: tuple[float, ...] = within(0.001, 0.999, ())  # one for each reported class, instead of threshold
    nms_iou: float = within(0.05, 1.0, 0.5)
    cross_iou: float = within(0.05, 1.0, 1.0)
    detections: int = within(1, 10_000, 1000)
    norm_eps: float = within(0.0, 1.0, 1e-5)
    count_as: Mapping[str, str] = field(default_factory=dict)  # RBC, WBC, Platelet or NRBC by class


def read_shape(path: Path) -> Shape:
    """Return what a TOML file says of a network. Law: what is missing, unknown or out of bounds is named."""
    made: Shape = make(Shape, read_table(path), path)
    reported = [name for name in made.classes if name]
    for holds, said in (
        (reported and len(set(reported)) == len(reported), "classes must name each class once, and at least one"),
        ((made.work_mpp > 0) != (made.red_cell_px > 0), "work_mpp or red_cell_px must be given, not both"),
        (made.work_mpp == 0 or made.work_mpp >= 0.02, f"work_mpp must lie between 0.02 and 4, not {made.work_mpp}"),
        (made.red_cell_px == 0 or made.red_cell_px >= 3, f"red_cell_px must be 3 or more, not {made.red_cell_px}"),
        (made.input_px % STEP_PX == 0, f"input_px must be a multiple of {STEP_PX}, not {made.input_px}"),
        (len(made.anchors) == LEVELS, f"anchors must hold {LEVELS} lists of sides, for strides 4 to 64"),
        (set(made.count_as) <= set(reported), "count_as names a class that is not among classes"),
        (set(made.count_as.values()) <= {*COUNTED}, f"count_as must say one of {', '.join(COUNTED)} of each class"),
        (len(made.thresholds) in (0, len(reported)), f"thresholds must hold {len(reported)} numbers"),
    ):
        if not holds:
            raise UsageError(said, path=path)
    return made


def facts_of(shape: Shape, arch: str, *, masks: bool, preset: Preset | None = None) -> RcnnFacts:
    """Return a model's facts; a preset's thresholds, NMS and limit of cells win over the table's."""
    reported = tuple(name for name in shape.classes if name)
    facts = RcnnFacts(
        name=shape.name, version=shape.version, arch=arch, network_classes=shape.classes, input_px=shape.input_px,
        work_mpp=shape.work_mpp or RED_CELL_UM / shape.red_cell_px, max_cell_um=shape.max_cell_um,
        context_px=shape.context_px, anchors=shape.anchors, ratios=shape.ratios, mean=shape.mean, std=shape.std,
        pre_nms=shape.pre_nms, post_nms=shape.post_nms, rpn_nms_iou=shape.rpn_nms_iou,
        thresholds=shape.thresholds or (shape.threshold,) * len(reported), nms_iou=(shape.nms_iou,) * len(reported),
        cross_iou=shape.cross_iou, detections=shape.detections, masks=masks, norm_eps=shape.norm_eps,
        licence=shape.licence, count_as=shape.count_as,
    )  # fmt: skip
    return facts if preset is None else preset.applied(facts)
