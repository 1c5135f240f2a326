"""A two-stage detector's folder as a Model: what its engine found in a tile becomes cells with masks.

Laws. Boxes, scores and masks are those that torchvision's network gives for the same tile; without a mask branch masks
are the ellipses within the boxes. Tiles have the one size that the folder names and lie on steps of the coarsest grid,
so that neighbours see a cell on the same grids. A two-stage network has no bounded view: the halo holds the context
that the folder names, and its proposals and detections are so many for each tile, which its engine says where they run
out. A cell has the class that its network's class is counted as, and below it that class as its type.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pbsbatch.detections import UNTYPED
from pbsbatch.errors import EngineError
from pbsbatch.models.base import Calibration, Found, ModelSpec, Raw, Survey
from pbsbatch.models.folder import RAYS
from pbsbatch.models.rcnn_facts import STEP_PX
from pbsbatch.models.rcnn_folder import RcnnFolder
from pbsbatch.models.rcnn_masks import paste
from pbsbatch_kernels.outlines import fill

__all__ = ["LANE_BYTES_PX", "RCNN_OUTPUTS", "RCNN_VERSION", "RcnnModel"]

RCNN_VERSION = 2
"""Raise it with every change between the networks that can change a result: it is part of the resume key."""
RCNN_OUTPUTS = ("scores", "boxes", "kinds", "count")
"""What an engine returns of a tile: so many rows as the model's detections, of which the first `count` are cells; with
a mask branch `masks` too."""
LANE_BYTES_PX = 400
"""Memory per pixel of a tile for each lane: 90 bytes are the maps that boxes are cut from, the rest the network's."""


@dataclass(frozen=True, slots=True)
class RcnnModel:
    """A two-stage folder as a Model. Engines take the networks from the folder."""

    folder: RcnnFolder

    @property
    def spec(self) -> ModelSpec:
        """Return what planning, resuming and results need."""
        facts = self.folder.facts
        told = f"{RCNN_VERSION} {self.folder.digest}"
        return ModelSpec(
            name=facts.name, version=facts.version, digest=hashlib.sha256(told.encode()).hexdigest(),
            classes=tuple(dict.fromkeys(facts.counted(name) for name in facts.classes)), work_mpp=facts.work_mpp,
            max_cell_um=facts.max_cell_um, context_px=facts.context_px, engine="openvino", tile_px=facts.input_px,
            step_px=STEP_PX, lane_bytes_px=LANE_BYTES_PX,
            types=tuple(name for name in map(facts.type_of, facts.classes) if name is not None),
        )  # fmt: skip

    def at(self, thresholds: Mapping[str, float], nms_iou: float | None) -> RcnnModel:
        """Return the same networks with other thresholds of what cells are counted as, and another suppression."""
        facts = self.folder.facts
        least = tuple(
            thresholds.get(facts.counted(name), own) for name, own in zip(facts.classes, facts.thresholds, strict=True)
        )
        suppression = facts.nms_iou if nms_iou is None else (nms_iou,) * len(facts.classes)
        facts = replace(facts, thresholds=least, nms_iou=suppression)
        return replace(self, folder=replace(self.folder, facts=facts))

    def calibrate(self, seen: Survey) -> Calibration:
        """Need nothing of a slide."""
        return {}

    def decode(self, raw: Raw, slot: int, calibration: Calibration) -> Found:
        """Turn one slot of a batch's raw output into cells."""
        facts, side = self.folder.facts, self.folder.facts.input_px
        try:
            count = int(raw["count"][slot, 0])
            boxes, scores, kinds = (_rows(raw[name][slot], count) for name in ("boxes", "scores", "kinds"))
            classes, types = (known[kinds.astype(np.int64)] for known in self._meant())
            if facts.masks:
                windows, masks = paste(_rows(raw["masks"][slot], count), boxes, side, side)
            else:
                windows, masks = fill(boxes, np.zeros((count, RAYS), np.float32), side, side)
        except (KeyError, IndexError, ValueError) as error:
            raise EngineError(
                f"the engine's output does not fit the model {facts.name}: {error}",
                cure="Run `pbsbatch models check` on its folder",
            ) from error
        return Found(boxes, scores, classes, windows, masks, types if self.spec.types else None)

    def _meant(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return what each of the network's classes is in `spec.classes`, and in `spec.types`."""
        facts, spec = self.folder.facts, self.spec
        classes = [spec.classes.index(facts.counted(name)) if name else UNTYPED for name in facts.network_classes]
        named = [facts.type_of(name) if name else None for name in facts.network_classes]
        types = [UNTYPED if name is None else spec.types.index(name) for name in named]
        return np.array(classes, np.uint8), np.array(types, np.uint8)


def _rows(values: NDArray[np.generic], count: int) -> NDArray[np.float32]:
    rows = np.asarray(values, np.float32)[:count]
    if len(rows) < count or not np.isfinite(rows).all():
        raise ValueError(f"{len(rows)} rows of {count}, or numbers that are not finite")
    return np.ascontiguousarray(rows)
