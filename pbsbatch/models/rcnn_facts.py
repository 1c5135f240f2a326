"""What the model.json of a two-stage detector says: how boxes are proposed, judged and kept.

Laws. What decides a result stands here and nowhere else; every type and bound is checked when it is read. Sizes are in
work pixels: the network sees tiles as they are, without torchvision's resizing. A class that is no class of its own in
a summary is counted as one: as `count_as` says, else as its name tells; what nothing tells of stays a class of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pbsbatch.models.facts import Reader
from pbsbatch.models.words import COUNTED, class_of_word, counted_as

__all__ = ["LEVELS", "RCNN", "STEP_PX", "STRIDE_PX", "RcnnFacts", "rcnn_from_json", "rcnn_to_json"]

RCNN = "two-stage-detector"
HEAD = {"name": "rcnn", "version": 1}
"""How the stages are joined; see models/rcnn_stages.py."""
LEVELS = 5
"""Grids that propose: at strides 4, 8, 16, 32 and 64."""
STRIDE_PX, STEP_PX = 32, 64
"""A tile's sides are multiples of the first, the coarsest map's stride; it sees a cell as its neighbours do where it
begins on a multiple of the second, the coarsest grid's."""
MOST_CLASSES = 250
"""A store has a byte for a cell's type, of which some values are taken."""
BY_CLASS = ("thresholds", "nms_iou")


@dataclass(frozen=True, slots=True)
class RcnnFacts:
    """All that is known of a two-stage detector. Per-class values stand in the order of classes."""

    name: str
    version: str
    arch: str  # which torchvision network the weights are of
    network_classes: tuple[str, ...]  # in the network's order, background left out; "" is not reported
    input_px: int
    work_mpp: float
    max_cell_um: float
    context_px: int  # work pixels around a cell that its result may depend on
    anchors: tuple[tuple[float, ...], ...]  # sides in px, a list for each level
    ratios: tuple[float, ...]  # height by width
    mean: tuple[float, float, float]  # of RGB bytes
    std: tuple[float, float, float]
    pre_nms: int  # proposals of one level before NMS
    post_nms: int  # of a tile, after it
    rpn_nms_iou: float
    thresholds: tuple[float, ...]
    nms_iou: tuple[float, ...]  # within a class
    cross_iou: float  # between classes; 1: as torchvision, none
    detections: int  # of a tile at most
    masks: bool
    norm_eps: float  # of the body's batch norms: torchvision's COCO files of version 1 have none
    licence: str
    training_data: tuple[tuple[str, str], ...] = ()  # (name, licence)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    count_as: Mapping[str, str] = field(default_factory=dict)  # RBC, WBC, Platelet or NRBC by class

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the network's classes that are reported."""
        return tuple(name for name in self.network_classes if name)

    def counted(self, name: str) -> str:
        """Return the class that the network's class is counted as."""
        return self.count_as.get(name) or counted_as(name) or name

    def type_of(self, name: str) -> str | None:
        """Return the type that cells of a network's class have below what they are counted as."""
        counted = self.counted(name)
        return None if name == counted or class_of_word(name) == counted else name


def rcnn_to_json(facts: RcnnFacts) -> dict[str, Any]:
    """Return the facts as model.json holds them: per-class values by class name."""
    table = asdict(facts)
    table |= {name: dict(zip(facts.classes, table[name], strict=True)) for name in BY_CLASS}
    return {"kind": RCNN, "head": dict(HEAD), **table}


def rcnn_from_json(table: Mapping[str, Any], path: Path) -> RcnnFacts:
    """Return the facts that a model.json holds. Law: what is missing, unknown or out of bounds is named."""
    read = Reader(table, path)
    read.head(RCNN, HEAD, RcnnFacts)
    names = read.each("network_classes", None, lambda n, v: v if v == "" else read.text(n, v))
    classes = tuple(name for name in names if name)
    fits = 1 <= len(classes) == len(set(classes)) <= MOST_CLASSES
    read.expect(fits, "network_classes", f"must name 1 to {MOST_CLASSES} different classes")
    count_as = {} if "count_as" not in table else read.mapping("count_as")
    fits = set(count_as) <= set(classes) and all(value in COUNTED for value in count_as.values())
    read.expect(fits, "count_as", f"must say of some of the classes which of {', '.join(COUNTED)} they are")
    side = read.whole("input_px", read.get("input_px"), 2 * STEP_PX, 4096)
    read.expect(side % STEP_PX == 0, "input_px", f"must be a multiple of {STEP_PX}")
    anchors = read.each("anchors", LEVELS, lambda n, v: _sizes(read, n, v))
    read.expect(len({len(level) for level in anchors}) == 1, "anchors", "must hold as many sides for each level")
    ratios = read.each("ratios", None, lambda n, v: read.number(n, v, 0.05, 20.0))
    read.expect(bool(ratios), "ratios", "must hold at least one number")
    read.expect(isinstance(read.get("masks"), bool), "masks", "must be true or false")
    return RcnnFacts(
        name=read.text("name", read.get("name")), version=read.text("version", read.get("version")),
        arch=read.text("arch", read.get("arch")), network_classes=names, input_px=side,
        work_mpp=read.number("work_mpp", read.get("work_mpp"), 0.02, 4.0),
        max_cell_um=read.number("max_cell_um", read.get("max_cell_um"), 1.0, 2000.0),
        context_px=read.whole("context_px", read.get("context_px"), 0, 2048),
        anchors=anchors, ratios=ratios,
        mean=read.each("mean", 3, lambda n, v: read.number(n, v, 0.0, 255.0)),
        std=read.each("std", 3, lambda n, v: read.number(n, v, 1e-3, 1e3)),
        pre_nms=read.whole("pre_nms", read.get("pre_nms"), 1, 100_000),
        post_nms=read.whole("post_nms", read.get("post_nms"), 1, 100_000),
        rpn_nms_iou=read.number("rpn_nms_iou", read.get("rpn_nms_iou"), 0.05, 1.0),
        thresholds=read.per_class("thresholds", classes, lambda n, v: read.number(n, v, 0.001, 0.999)),
        nms_iou=read.per_class("nms_iou", classes, lambda n, v: read.number(n, v, 0.05, 1.0)),
        cross_iou=read.number("cross_iou", read.get("cross_iou"), 0.05, 1.0),
        detections=read.whole("detections", read.get("detections"), 1, 10_000), masks=bool(table["masks"]),
        norm_eps=read.number("norm_eps", read.get("norm_eps"), 0.0, 1.0),
        licence=read.text("licence", read.get("licence")),
        training_data=read.each("training_data", None, read.pair), metrics=dict(read.mapping("metrics")),
        count_as=count_as,
    )  # fmt: skip


def _sizes(read: Reader, name: str, value: Any) -> tuple[float, ...]:
    read.expect(isinstance(value, list) and 1 <= len(value) <= 16, name, "must hold 1 to 16 sides for each level")
    return tuple(read.number(name, v, 1.0, 4096.0) for v in value)
