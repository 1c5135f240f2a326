"""The heads of other projects: which outputs each has, and what their numbers say.

Law: what comes out are corners in tile pixels and chances, one row for each place, before any NMS.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pbsbatch.models.anchors import anchors, boxes_of_distances, boxes_of_shifts
from pbsbatch.models.foreign_facts import ForeignFacts
from pbsbatch.models.onnx_file import FLOAT, Interface

__all__ = ["outputs_of", "rows_of"]

F32 = NDArray[np.float32]

LOGITS, BOXES, CENTRENESS = "cls_logits", "bbox_regression", "bbox_ctrness"
"""As torchvision's heads call what they return."""


def outputs_of(ports: Interface, facts: ForeignFacts) -> tuple[tuple[str, ...], str | None]:
    """Return the names of the outputs that are decoded, and what does not fit, None where all does."""
    wrong = _wrong_input(ports, facts.input_px)
    if wrong is not None or not ports.outputs:
        return (), wrong or "it has no output"
    names, wrong = _torchvision(ports, facts) if facts.anchor_px else _one(ports, facts)
    if wrong is None and len(ports.outputs) > len(names):
        found = ", ".join(port.name for port in ports.outputs)
        return (), f"it has the outputs {found}, but only {', '.join(names)} can be decoded: export no others"
    return names, wrong


def rows_of(raw: Mapping[str, F32], facts: ForeignFacts) -> tuple[F32, F32]:
    """Return corners (N, 4) in tile pixels and chances (N, classes) from one slot of a head's outputs.

    yolo, version 8 and later: (4 + C, N) of centre, size and chances; version 5: (N, 5 + C), a chance of any object
    between them. rtdetr: (N, 4 + C), centre and size as shares of the tile. fcos and retinanet: logits (N, C), boxes
    (N, 4) and, fcos, centreness (N, 1), as the heads of torchvision's models return them.
    """
    if facts.anchor_px:
        return _of_anchors(raw, facts)
    (values,) = raw.values()
    count = len(facts.network_classes)
    if values.ndim != 2:
        raise ValueError(f"it must have two axes, not the shape {values.shape}")
    if facts.head == "yolo" and values.shape[0] == 4 + count:
        rows = values.T
        chances = rows[:, 4:]
    elif facts.head == "yolo" and values.shape[1] == 5 + count:
        rows = values
        chances = rows[:, 5:] * rows[:, 4:5]
    elif facts.head == "rtdetr" and values.shape[1] == 4 + count:
        rows = np.concatenate([values[:, :4] * np.float32(facts.input_px), values[:, 4:]], axis=1)
        chances = rows[:, 4:]
    else:
        raise ValueError(f"the shape {values.shape} is none of the head {facts.head} with {count} classes")
    half = rows[:, 2:4] / 2
    return np.concatenate([rows[:, :2] - half, rows[:, :2] + half], axis=1), np.ascontiguousarray(chances)


def _of_anchors(raw: Mapping[str, F32], facts: ForeignFacts) -> tuple[F32, F32]:
    places = anchors(facts.input_px, facts.anchor_px, facts.aspects)
    for name, count in _wanted(facts).items():
        if raw[name].shape != (len(places), count):
            raise ValueError(f"{name} must be ({len(places)}, {count}), not {raw[name].shape}")
    chances = _sigmoid(raw[LOGITS])
    if facts.head == "fcos":
        return boxes_of_distances(raw[BOXES], places), np.sqrt(chances * _sigmoid(raw[CENTRENESS]))
    return boxes_of_shifts(raw[BOXES], places), chances


def _sigmoid(values: F32) -> F32:
    """Return chances; a number that is none stays none."""
    return np.asarray(1 / (1 + np.exp(-np.clip(values, -80, 80))), np.float32)


def _wanted(facts: ForeignFacts) -> dict[str, int]:
    """Return the columns of each output of a torchvision head."""
    wanted = {LOGITS: len(facts.network_classes), BOXES: 4}
    return {**wanted, CENTRENESS: 1} if facts.head == "fcos" else wanted


def _torchvision(ports: Interface, facts: ForeignFacts) -> tuple[tuple[str, ...], str | None]:
    rows = len(anchors(facts.input_px, facts.anchor_px, facts.aspects))
    found = {port.name: port for port in ports.outputs}
    for name, columns in _wanted(facts).items():
        port = found.get(name)
        said = f"the head {facts.head} has an output {name}, float32 (1, {rows}, {columns})"
        if port is None:
            return (), f"{said}; here are {', '.join(found)}: export what model.head returns, under these names"
        if (
            port.element != FLOAT
            or len(port.shape) != 3
            or port.shape[2] != columns
            or port.shape[1] not in (rows, None)
        ):
            return (), f"its output {name} has the shape {port.shape}; {said} with these classes and anchors"
    return tuple(_wanted(facts)), None


def _one(ports: Interface, facts: ForeignFacts) -> tuple[tuple[str, ...], str | None]:
    port, count = ports.outputs[0], len(facts.network_classes)
    last = {"yolo": {1: 4 + count, 2: 5 + count}, "rtdetr": {2: 4 + count}}[facts.head]
    if port.element == FLOAT and len(port.shape) == 3 and any(port.shape[axis] == n for axis, n in last.items()):
        return (port.name,), None
    fits = {"yolo": f"(1, {4 + count}, N) or (1, N, {5 + count})", "rtdetr": f"(1, N, {4 + count})"}[facts.head]
    return (port.name,), (
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
