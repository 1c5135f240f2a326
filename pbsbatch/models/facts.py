"""What a detector's model.json says, as one frozen value: every type and bound is checked when it is read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pbsbatch.errors import ModelError

__all__ = ["HEAD", "DetectorFacts", "Reader", "facts_from_json", "facts_to_json"]

HEAD = {"name": "dense-outline", "version": 1}
"""How the raw output is read; a folder of another head is refused. See models/dense.py."""


@dataclass(frozen=True, slots=True)
class DetectorFacts:
    """All that is known of a detector. Per-class values stand in the order of classes."""

    name: str
    version: str
    classes: tuple[str, ...]
    work_mpp: float  # um per work pixel
    max_cell_um: float
    context_px: int  # work pixels around a cell that its result may depend on
    stride: int
    channels: tuple[int, int, int, int]  # at strides 2, 4, 8, 16
    head_channels: int
    blocks: tuple[int, int, int]  # at strides 4, 8, 16
    mean: tuple[float, float, float]  # of RGB bytes
    std: tuple[float, float, float]
    thresholds: tuple[float, ...]  # of the calibrated score
    calibration: tuple[tuple[float, float], ...]  # (a, b): score = sigmoid(a * logit + b)
    nms_iou: float  # within a class
    cross_iou: float  # between classes
    licence: str
    training_data: tuple[tuple[str, str], ...] = ()  # (name, licence)
    metrics: Mapping[str, Any] = field(default_factory=dict)


def facts_to_json(facts: DetectorFacts) -> dict[str, Any]:
    """Return the facts as model.json holds them: per-class values by class name."""
    table = asdict(facts)
    by_class = ("thresholds", "calibration")
    table |= {name: dict(zip(facts.classes, table[name], strict=True)) for name in by_class}
    return {"kind": "detector", "head": dict(HEAD), **table}


def facts_from_json(table: Mapping[str, Any], path: Path) -> DetectorFacts:
    """Return the facts that a model.json holds. Law: what is missing, unknown or out of bounds is named."""
    read = Reader(table, path)
    read.head("detector", HEAD, DetectorFacts)
    read.expect(table.get("stride") in (4, 8), "stride", "must be 4 or 8")
    classes = read.each("classes", None, read.text)
    read.expect(1 <= len(set(classes)) == len(classes) <= 32, "classes", "must be 1 to 32 different names")
    return DetectorFacts(
        name=read.text("name", read.get("name")),
        version=read.text("version", read.get("version")),
        classes=classes,
        work_mpp=read.number("work_mpp", read.get("work_mpp"), 0.02, 4.0),
        max_cell_um=read.number("max_cell_um", read.get("max_cell_um"), 1.0, 200.0),
        context_px=read.whole("context_px", read.get("context_px"), 0, 2048),
        stride=int(read.get("stride")),
        channels=read.each("channels", 4, lambda n, v: read.whole(n, v, 1, 1024)),
        head_channels=read.whole("head_channels", read.get("head_channels"), 1, 1024),
        blocks=read.each("blocks", 3, lambda n, v: read.whole(n, v, 0, 64)),
        mean=read.each("mean", 3, lambda n, v: read.number(n, v, 0.0, 255.0)),
        std=read.each("std", 3, lambda n, v: read.number(n, v, 1.0, 255.0)),
        thresholds=read.per_class("thresholds", classes, lambda n, v: read.number(n, v, 0.001, 0.999)),
        calibration=read.per_class("calibration", classes, read.line),
        nms_iou=read.number("nms_iou", read.get("nms_iou"), 0.1, 1.0),
        cross_iou=read.number("cross_iou", read.get("cross_iou"), 0.1, 1.0),
        licence=read.text("licence", read.get("licence")),
        training_data=read.each("training_data", None, read.pair),
        metrics=dict(read.mapping("metrics")),
    )


@dataclass(frozen=True, slots=True)
class Reader:
    """Take typed values out of a table, or say which one is wrong."""

    table: Mapping[str, Any]
    path: Path

    def head(self, kind: str, head: Mapping[str, Any], facts: Any) -> None:
        """Hold the table's kind, head and keys against those of a dataclass of facts."""
        self.expect(self.table.get("kind") == kind, "kind", f'must be "{kind}"')
        self.expect(self.table.get("head") == head, "head", f"must be {head}: another head cannot be decoded here")
        known = {"kind", "head", *facts.__dataclass_fields__}
        self.expect(known.issuperset(self.table), ", ".join(sorted(set(self.table) - known)), "is unknown")

    def expect(self, holds: bool, name: str, said: str) -> None:
        if not holds:
            raise ModelError(f"{name} {said}", path=self.path, cure="Write the folder again, or mend its model.json")

    def get(self, name: str) -> Any:
        self.expect(name in self.table, name, "is missing")
        return self.table[name]

    def text(self, name: str, value: Any) -> str:
        self.expect(isinstance(value, str) and 0 < len(value) <= 200, name, "must be text of 1 to 200 characters")
        self.expect(str(value).isprintable(), name, "holds control characters")
        return str(value)

    def number(self, name: str, value: Any, low: float, high: float) -> float:
        fits = isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
        self.expect(fits, name, f"must be a number from {low:g} to {high:g}")
        return float(value)

    def whole(self, name: str, value: Any, low: int, high: int) -> int:
        self.expect(type(value) is int and low <= value <= high, name, f"must be a whole number from {low} to {high}")
        return int(value)

    def each(self, name: str, count: int | None, one: Callable[[str, Any], Any]) -> Any:
        """Return a list's entries as a tuple, each read by `one`."""
        values = self.get(name)
        fits = isinstance(values, list) and (len(values) == count if count is not None else len(values) <= 1000)
        self.expect(fits, name, "must be a list" if count is None else f"must be a list of {count}")
        return tuple(one(name, value) for value in values)

    def mapping(self, name: str) -> Mapping[str, Any]:
        value = self.get(name)
        self.expect(isinstance(value, dict), name, "must be a table")
        return dict(value)

    def per_class(self, name: str, classes: tuple[str, ...], one: Callable[[str, Any], Any]) -> Any:
        values = self.mapping(name)
        self.expect(set(values) == set(classes), name, f"must have one entry for each of {', '.join(classes)}")
        return tuple(one(f"{name} of {kind}", values[kind]) for kind in classes)

    def line(self, name: str, value: Any) -> tuple[float, float]:
        """Read (a, b): a above 0, so that a better logit is a better score."""
        self.expect(isinstance(value, list) and len(value) == 2, name, "must be two numbers")
        a, b = self.number(name, value[0], 1e-3, 1e3), self.number(name, value[1], -1e3, 1e3)
        self.expect(math.isfinite(a) and math.isfinite(b), name, "must be finite")
        return a, b

    def pair(self, name: str, value: Any) -> tuple[str, str]:
        self.expect(isinstance(value, list) and len(value) == 2, name, "must hold pairs of name and licence")
        return self.text(name, value[0]), self.text(name, value[1])
