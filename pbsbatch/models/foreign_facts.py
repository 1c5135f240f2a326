"""What the small model.json beside another project's ONNX says: written by hand, so every mistake is named.

    {"kind": "foreign-detector", "head": "yolo", "name": "my-yolo", "classes": ["WBC", "RBC", "Platelet"],
     "input_px": 640, "work_mpp": 0.25, "threshold": 0.25}

Laws. The network is square and of one fixed size: its tiles are so large. Classes stand in the network's own order; one
called "" is left out. The scale is given as um per pixel of what the network was taught on, or as the width of a red
cell in such pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pbsbatch.models.facts import Reader
from pbsbatch.models.onnx_file import FLOAT, Interface

__all__ = ["FOREIGN", "HEADS", "ForeignFacts", "foreign_from_json", "output_of"]

FOREIGN = "foreign-detector"
HEADS = ("yolo", "rtdetr")
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
    unknown = set(table) - {*NEEDED, *OPTIONAL, "work_mpp", "red_cell_px"}
    read.expect(not unknown, ", ".join(sorted(unknown)), "is unknown")
    read.expect(table.get("head") in HEADS, "head", f"must be one of {', '.join(HEADS)}")
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
        head=str(table["head"]), network_classes=names, input_px=side, colours=str(read.get("colours")),
        mean=read.each("mean", 3, lambda n, v: read.number(n, v, 0.0, 255.0)),
        std=read.each("std", 3, lambda n, v: read.number(n, v, 1e-3, 1e3)),
        work_mpp=work_mpp, max_cell_um=read.number("max_cell_um", read.get("max_cell_um"), 1.0, 200.0),
        threshold=read.number("threshold", read.get("threshold"), 0.001, 0.999),
        nms_iou=read.number("nms_iou", read.get("nms_iou"), 0.1, 1.0),
        cross_iou=read.number("cross_iou", read.get("cross_iou"), 0.1, 1.0),
        licence=read.text("licence", read.get("licence")),
    )  # fmt: skip


def output_of(ports: Interface, facts: ForeignFacts) -> tuple[str, str | None]:
    """Return the name of the output that is decoded, and what does not fit, None where all does."""
    wrong = _wrong_input(ports, facts.input_px)
    if wrong is not None or not ports.outputs:
        return "", wrong or "it has no output"
    port, count = ports.outputs[0], len(facts.network_classes)
    last = {"yolo": {1: 4 + count, 2: 5 + count}, "rtdetr": {2: 4 + count}}[facts.head]
    if port.element == FLOAT and len(port.shape) == 3 and any(port.shape[axis] == n for axis, n in last.items()):
        return port.name, None
    fits = {"yolo": f"(1, {4 + count}, N) or (1, N, {5 + count})", "rtdetr": f"(1, N, {4 + count})"}[facts.head]
    return port.name, (
        f"its output {port.name} has the shape {port.shape}; the head {facts.head} with {count} "
        f"classes has float32 {fits}"
    )


def _wrong_input(ports: Interface, side: int) -> str | None:
    """Say what is wrong with the input."""
    wanted = f"float32 (1, 3, {side}, {side})"
    if len(ports.inputs) != 1 or ports.inputs[0].element != FLOAT or len(ports.inputs[0].shape) != 4:
        found = ", ".join(f"{p.name} {p.shape}" for p in ports.inputs) or "none"
        return f"its one input must be {wanted}; it has {found}"
    shape = ports.inputs[0].shape
    if None in shape[1:] or shape[0] not in (1, None):
        return f"its input has no fixed shape: {shape}, but {wanted} is needed; export it with fixed sides"
    return None if shape[1:] == (3, side, side) else f"its input is {shape}; by model.json it is {wanted}"
