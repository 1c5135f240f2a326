"""Another project's detector as a Model: an ONNX of a known head, with a small model.json beside it.

Laws. The boxes are the network's; the masks are the ellipses within them. Tiles have the network's one size. Such
networks often look at the whole tile (attention, pooling): what they say of a cell may depend on the tile it lies in,
which pbsbatch's own never do, and tiling may show.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pbsbatch.errors import EngineError, ModelError
from pbsbatch.models.base import Calibration, Found, ModelSpec, Raw, Survey
from pbsbatch.models.folder import MODEL_JSON, ONNX, RAYS, Folder, bytes_of, table_of
from pbsbatch.models.foreign_facts import ForeignFacts, foreign_from_json, output_of
from pbsbatch.models.onnx_file import OnnxError, interface
from pbsbatch_kernels.nms import nms
from pbsbatch_kernels.outlines import fill

__all__ = ["FOREIGN_VERSION", "ForeignFolder", "ForeignModel", "read_foreign", "rows_of"]

FOREIGN_VERSION = 1
"""Raise it with every change of decoding that can change a result: it is part of the resume key."""

F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ForeignFolder(Folder):
    """A folder with model.json and model.onnx, checked."""

    facts: ForeignFacts
    output: str

    @property
    def outputs(self) -> tuple[str, ...]:
        return (self.output,)


def read_foreign(path: Path) -> ForeignFolder:
    """Read and check a folder: model.json, and the ONNX ports against it. Law: what does not fit is named."""
    table = table_of(path)
    facts = foreign_from_json(table, path / MODEL_JSON)
    data = bytes_of(path, ONNX)
    try:
        output, wrong = output_of(interface(data), facts)
    except OnnxError as error:
        raise ModelError(str(error), path=path / ONNX, cure="Export the model again into one ONNX file") from error
    if wrong is not None:
        raise ModelError(wrong, path=path / ONNX, cure="Export the model again, or mend model.json")
    files = {ONNX: hashlib.sha256(data).hexdigest()}
    told = json.dumps([table, files], sort_keys=True).encode()
    return ForeignFolder(path, hashlib.sha256(told).hexdigest(), files, facts, output)


@dataclass(frozen=True, slots=True)
class ForeignModel:
    """A foreign folder as a Model. Engines take the network from the folder."""

    folder: ForeignFolder

    @property
    def spec(self) -> ModelSpec:
        """Return what planning, resuming and results need."""
        facts = self.folder.facts
        told = f"{FOREIGN_VERSION} {self.folder.digest}"
        return ModelSpec(
            name=facts.name, version=facts.version, digest=hashlib.sha256(told.encode()).hexdigest(),
            classes=facts.classes, work_mpp=facts.work_mpp, max_cell_um=facts.max_cell_um, context_px=0,
            engine="openvino", tile_px=facts.input_px,
        )  # fmt: skip

    def calibrate(self, seen: Survey) -> Calibration:
        """Need nothing of a slide."""
        return {}

    def decode(self, raw: Raw, slot: int, calibration: Calibration) -> Found:
        """Turn one slot of a batch's raw output into cells."""
        facts = self.folder.facts
        try:
            boxes, chances = rows_of(np.asarray(raw[self.folder.output][slot], np.float32), facts)
            return _cells(boxes, chances, facts)
        except (KeyError, IndexError, ValueError) as error:
            raise EngineError(
                f"the engine's output does not fit the model {facts.name}: {error}",
                cure="Run `pbsbatch models check` on its folder",
            ) from error


def rows_of(values: F32, facts: ForeignFacts) -> tuple[F32, F32]:
    """Return corners (N, 4) in tile pixels and chances (N, classes) from one slot of a head's output.

    yolo, version 8 and later: (4 + C, N) of centre, size and chances; version 5: (N, 5 + C), a chance of any object
    between them. rtdetr: (N, 4 + C), centre and size as shares of the tile.
    """
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


def _cells(boxes: F32, chances: F32, facts: ForeignFacts) -> Found:
    """Choose the boxes that are cells, best first, and give each the ellipse within it."""
    if not np.isfinite(boxes).all() or not np.isfinite(chances).all():
        raise ValueError("it holds numbers that are not finite")
    best = chances.argmax(1)
    scores = chances[np.arange(len(chances)), best].clip(0, 1)
    known = np.array([facts.classes.index(n) if n else -1 for n in facts.network_classes])
    classes = known[best]
    size = boxes[:, 2:] - boxes[:, :2]
    most = facts.max_cell_um / facts.work_mpp
    good = (scores >= facts.threshold) & (classes >= 0) & (size > 0).all(1) & (size <= most).all(1)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    good &= ((centre >= 0) & (centre < facts.input_px)).all(1)
    boxes, scores, classes = boxes[good], scores[good], classes[good].astype(np.uint8)
    kept = nms(boxes, scores, classes, facts.nms_iou)
    kept = kept[nms(boxes[kept], scores[kept], np.zeros(len(kept), np.uint8), facts.cross_iou)]
    shapes = np.zeros((len(kept), RAYS), np.float32)
    windows, masks = fill(boxes[kept], shapes, facts.input_px, facts.input_px)
    return Found(boxes[kept], scores[kept], classes[kept], windows, masks)
