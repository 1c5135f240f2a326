"""What the small model.json beside another project's ONNX says: written by hand, so every mistake is named.

    {"kind": "foreign-detector", "head": "yolo", "name": "my-yolo", "classes": ["WBC", "RBC", "Platelet"],
     "input_px": 640, "work_mpp": 0.25, "threshold": 0.25}

Laws. The network is square and of one fixed size: its tiles are so large. Classes stand in the network's own order; one
called "" is left out. The scale is given as um per pixel of what the network was taught on, or as the width of a red
cell in such pixels. Anchors, where the head has any, are those of a torchvision model as it comes, unless given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pbsbatch.models.anchors import ANCHOR_PX, ASPECTS
from pbsbatch.models.facts import Reader

__all__ = ["FOREIGN", "HEADS", "ForeignFacts", "foreign_from_json"]

FOREIGN = "foreign-detector"
HEADS = ("yolo", "rtdetr", "fcos", "retinanet")
RED_CELL_UM = 7.2
STEP_PX = 32


@dataclass(frozen=True, slots=True)
class ForeignFacts:
    """All that is known of another project's detector. Its masks are the ellipses within its boxes."""

    name: str
    version: str
    head: str
    network_classes: tuple[str, ...]  # in the network's order; "" is left out
    input_px: int
    colours: str  # RGB or BGR
    mean: tuple[float, float, float]  # taken from bytes, then divided by std
    std: tuple[float, float, float]
    work_mpp: float
    max_cell_um: float
    threshold: float
    nms_iou: float
    cross_iou: float
    licence: str
    anchor_px: tuple[tuple[float, ...], ...] = ()  # by level, from stride 8 on; none: the head has no anchors
    aspects: tuple[float, ...] = ()  # height by width of anchors
    masks: str = "ellipses within the boxes"

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the classes that are reported, each once."""
        return tuple(dict.fromkeys(name for name in self.network_classes if name))


OPTIONAL: Mapping[str, Any] = {
    "version": "1", "colours": "RGB", "mean": [0.0, 0.0, 0.0], "std": [255.0, 255.0, 255.0], "max_cell_um": 30.0,
    "nms_iou": 0.6, "cross_iou": 0.75, "licence": "unknown",
}  # fmt: skip
NEEDED = ("kind", "head", "name", "classes", "input_px", "threshold")


def foreign_from_json(table: Mapping[str, Any], path: Path) -> ForeignFacts:
    """Return the facts that a model.json holds. Law: what is missing, unknown or out of bounds is named."""
    read = Reader({**OPTIONAL, **table}, path)
    read.expect(table.get("kind") == FOREIGN, "kind", f'must be "{FOREIGN}"')
    head = str(table.get("head"))
    read.expect(head in HEADS, "head", f"must be one of {', '.join(HEADS)}")
    anchored = {"anchor_px", "aspects"} if head in ANCHOR_PX else set()
    unknown = set(table) - {*NEEDED, *OPTIONAL, *anchored, "work_mpp", "red_cell_px"}
    read.expect(not unknown, ", ".join(sorted(unknown)), "is unknown")
    read.expect(("work_mpp" in table) != ("red_cell_px" in table), "work_mpp", "or red_cell_px must be given, not both")
    if "work_mpp" in table:
        work_mpp = read.number("work_mpp", table["work_mpp"], 0.02, 4.0)
    else:
        work_mpp = RED_CELL_UM / read.number("red_cell_px", table["red_cell_px"], 3.0, 300.0)
    names = read.each("classes", None, lambda n, v: v if v == "" else read.text(n, v))
    read.expect(any(names), "classes", "must name at least one class")
    side = read.whole("input_px", read.get("input_px"), 128, 4096)
    read.expect(side % STEP_PX == 0, "input_px", f"must be a multiple of {STEP_PX}")
    read.expect(read.get("colours") in ("RGB", "BGR"), "colours", "must be RGB or BGR")
    return ForeignFacts(
        name=read.text("name", read.get("name")), version=read.text("version", read.get("version")),
        head=head, network_classes=names, input_px=side, colours=str(read.get("colours")),
        mean=read.each("mean", 3, lambda n, v: read.number(n, v, 0.0, 255.0)),
        std=read.each("std", 3, lambda n, v: read.number(n, v, 1e-3, 1e3)),
        work_mpp=work_mpp, max_cell_um=read.number("max_cell_um", read.get("max_cell_um"), 1.0, 200.0),
        threshold=read.number("threshold", read.get("threshold"), 0.001, 0.999),
        nms_iou=read.number("nms_iou", read.get("nms_iou"), 0.1, 1.0),
        cross_iou=read.number("cross_iou", read.get("cross_iou"), 0.1, 1.0),
        licence=read.text("licence", read.get("licence")),
        anchor_px=_sizes(read, ANCHOR_PX.get(head, ())), aspects=_aspects(read, ASPECTS.get(head, ())),
    )  # fmt: skip


def _sizes(read: Reader, usual: tuple[tuple[float, ...], ...]) -> tuple[tuple[float, ...], ...]:
    """Return the sides of the anchors by level."""
    if "anchor_px" not in read.table:
        return usual

    def level(name: str, value: Any) -> tuple[float, ...]:
        read.expect(
            isinstance(value, list) and 0 < len(value) <= 16, name, "must be lists of 1 to 16 sides, one a level"
        )
        return tuple(read.number(name, side, 1.0, 4096.0) for side in value)

    found: tuple[tuple[float, ...], ...] = read.each("anchor_px", None, level)
    read.expect(0 < len(found) <= 8, "anchor_px", "must have 1 to 8 levels")
    return found


def _aspects(read: Reader, usual: tuple[float, ...]) -> tuple[float, ...]:
    """Return height by width of the anchors."""
    if "aspects" not in read.table:
        return usual
    found: tuple[float, ...] = read.each("aspects", None, lambda n, v: read.number(n, v, 0.05, 20.0))
    read.expect(0 < len(found) <= 16, "aspects", "must be 1 to 16 numbers")
    return found
