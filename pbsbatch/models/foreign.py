"""Another project's detector as a Model: an ONNX of a known head, with a small model.json beside it.

Laws. The boxes are the network's; the masks are the ellipses within them. Tiles have the network's one size. Such
networks often look at the whole tile (attention, pooling): what they say of a cell may depend on the tile it lies in,
which pbsbatch's own never do, and tiling may show.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbsbatch.errors import EngineError, ModelError
from pbsbatch.models.base import Calibration, Found, ModelSpec, Raw, Survey
from pbsbatch.models.candidates import FLOOR, best_of, candidate_table
from pbsbatch.models.folder import MODEL_JSON, ONNX, RAYS, Folder, bytes_of, table_of
from pbsbatch.models.foreign_facts import ForeignFacts, foreign_from_json
from pbsbatch.models.foreign_heads import outputs_of, rows_of
from pbsbatch.models.onnx_file import OnnxError, interface
from pbsbatch_kernels.nms import nms
from pbsbatch_kernels.outlines import fill

__all__ = ["FOREIGN_VERSION", "ForeignFolder", "ForeignModel", "read_foreign"]

FOREIGN_VERSION = 1
"""Raise it with every change of decoding that can change a result: it is part of the resume key."""

F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ForeignFolder(Folder):
    """A folder with model.json and model.onnx, checked."""

    facts: ForeignFacts
    names: tuple[str, ...]  # of the outputs that are decoded

    @property
    def outputs(self) -> tuple[str, ...]:
        return self.names


def read_foreign(path: Path) -> ForeignFolder:
    """Read and check a folder: model.json, and the ONNX ports against it. Law: what does not fit is named."""
    table = table_of(path)
    facts = foreign_from_json(table, path / MODEL_JSON)
    data = bytes_of(path, ONNX)
    try:
        names, wrong = outputs_of(interface(data), facts)
    except OnnxError as error:
        raise ModelError(str(error), path=path / ONNX, cure="Export the model again into one ONNX file") from error
    if wrong is not None:
        raise ModelError(wrong, path=path / ONNX, cure="Export the model again, or mend model.json")
    files = {ONNX: hashlib.sha256(data).hexdigest()}
    told = json.dumps([table, files], sort_keys=True).encode()
    return ForeignFolder(path, hashlib.sha256(told).hexdigest(), files, facts, names)


@dataclass(frozen=True, slots=True)
class ForeignModel:
    """A foreign folder as a Model. Engines take the network from the folder."""

    folder: ForeignFolder
    least: tuple[float, ...] | None = None  # score of each class; None: the folder's threshold for all

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
            boxes, chances = self._rows(raw, slot)
            return _cells(boxes, chances, facts, self.thresholds)
        except (KeyError, IndexError, ValueError) as error:
            raise self._unfit(error) from error

    @property
    def limits(self) -> tuple[float, float]:
        """Return the IoU above which a better candidate suppresses another: of its class, and of any class."""
        return self.folder.facts.nms_iou, self.folder.facts.cross_iou

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Return the least score of each class."""
        return self.least or (self.folder.facts.threshold,) * len(self.folder.facts.classes)

    def at(self, thresholds: Mapping[str, float], nms_iou: float | None) -> ForeignModel:
        """Return the same network with other thresholds of some classes, and another suppression."""
        facts = self.folder.facts
        least = tuple(thresholds.get(name, own) for name, own in zip(facts.classes, self.thresholds, strict=True))
        facts = replace(facts, nms_iou=facts.nms_iou if nms_iou is None else nms_iou)
        return replace(self, folder=replace(self.folder, facts=facts), least=least)

    def candidates(self, raw: Raw, slot: int, calibration: Calibration) -> NDArray[Any]:
        """Return what decoding would choose from, down to candidates.FLOOR."""
        facts = self.folder.facts
        try:
            boxes, chances = self._rows(raw, slot)
            boxes, scores, classes = _usable(boxes, chances, facts, (FLOOR,) * len(facts.classes))
        except (KeyError, IndexError, ValueError) as error:
            raise self._unfit(error) from error
        rows = best_of(scores)
        return candidate_table(boxes[rows], boxes[rows], scores[rows], scores[rows], classes[rows])

    def _rows(self, raw: Raw, slot: int) -> tuple[F32, F32]:
        seen = {name: np.asarray(raw[name][slot], np.float32) for name in self.folder.names}
        return rows_of(seen, self.folder.facts)

    def _unfit(self, error: Exception) -> EngineError:
        return EngineError(
            f"the engine's output does not fit the model {self.folder.facts.name}: {error}",
            cure="Run `pbsbatch models check` on its folder",
        )


def _usable(
    boxes: F32, chances: F32, facts: ForeignFacts, thresholds: tuple[float, ...]
) -> tuple[F32, F32, NDArray[np.uint8]]:
    """Return boxes, scores and classes of what may be a cell."""
    if not np.isfinite(boxes).all() or not np.isfinite(chances).all():
        raise ValueError("it holds numbers that are not finite")
    best = chances.argmax(1)
    scores = chances[np.arange(len(chances)), best].clip(0, 1)
    known = np.array([facts.classes.index(n) if n else -1 for n in facts.network_classes])
    classes = known[best]
    size = boxes[:, 2:] - boxes[:, :2]
    most = facts.max_cell_um / facts.work_mpp
    good = (classes >= 0) & (scores >= np.array(thresholds)[classes]) & (size > 0).all(1) & (size <= most).all(1)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    good &= ((centre >= 0) & (centre < facts.input_px)).all(1)
    return boxes[good], scores[good], classes[good].astype(np.uint8)


def _cells(boxes: F32, chances: F32, facts: ForeignFacts, thresholds: tuple[float, ...]) -> Found:
    """Choose the boxes that are cells, best first, and give each the ellipse within it."""
    boxes, scores, classes = _usable(boxes, chances, facts, thresholds)
    kept = nms(boxes, scores, classes, facts.nms_iou)
    kept = kept[nms(boxes[kept], scores[kept], np.zeros(len(kept), np.uint8), facts.cross_iou)]
    shapes = np.zeros((len(kept), RAYS), np.float32)
    windows, masks = fill(boxes[kept], shapes, facts.input_px, facts.input_px)
    return Found(boxes[kept], scores[kept], classes[kept], windows, masks)
