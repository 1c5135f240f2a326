"""A two-stage detector's folder as a Model: what its engine found in a tile becomes cells with masks.

Laws. Boxes, scores and masks are those that torchvision's network gives for the same tile; without a mask branch masks
are the ellipses within the boxes. Tiles have the one size that the folder names and lie on steps of the coarsest grid,
so that neighbours see a cell on the same grids. A two-stage network has no bounded view: the halo holds the context
that the folder names, and its proposals and detections are so many for each tile, which its engine says where they run
out.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pbsbatch.errors import EngineError
from pbsbatch.models.base import Calibration, Found, ModelSpec, Raw, Survey
from pbsbatch.models.folder import RAYS
from pbsbatch.models.rcnn_facts import STEP_PX
from pbsbatch.models.rcnn_folder import RcnnFolder
from pbsbatch.models.rcnn_masks import paste
from pbsbatch_kernels.outlines import fill

__all__ = ["LANE_BYTES_PX", "RCNN_OUTPUTS", "RCNN_VERSION", "RcnnModel"]

RCNN_VERSION = 1
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
            classes=facts.classes, work_mpp=facts.work_mpp, max_cell_um=facts.max_cell_um,
            context_px=facts.context_px, engine="openvino", tile_px=facts.input_px, step_px=STEP_PX,
            lane_bytes_px=LANE_BYTES_PX,
        )  # fmt: skip

    def calibrate(self, seen: Survey) -> Calibration:
        """Need nothing of a slide."""
        return {}

    def decode(self, raw: Raw, slot: int, calibration: Calibration) -> Found:
        """Turn one slot of a batch's raw output into cells."""
        facts, side = self.folder.facts, self.folder.facts.input_px
        try:
            count = int(raw["count"][slot, 0])
            boxes, scores, kinds = (_rows(raw[name][slot], count) for name in ("boxes", "scores", "kinds"))
            known = np.array([facts.classes.index(n) if n else -1 for n in facts.network_classes])
            classes = known[kinds.astype(np.int64)].astype(np.uint8)
            if facts.masks:
                windows, masks = paste(_rows(raw["masks"][slot], count), boxes, side, side)
            else:
                windows, masks = fill(boxes, np.zeros((count, RAYS), np.float32), side, side)
        except (KeyError, IndexError, ValueError) as error:
            raise EngineError(
                f"the engine's output does not fit the model {facts.name}: {error}",
                cure="Run `pbsbatch models check` on its folder",
            ) from error
        return Found(boxes, scores, classes, windows, masks)


def _rows(values: NDArray[np.generic], count: int) -> NDArray[np.float32]:
    rows = np.asarray(values, np.float32)[:count]
    if len(rows) < count or not np.isfinite(rows).all():
        raise ValueError(f"{len(rows)} rows of {count}, or numbers that are not finite")
    return np.ascontiguousarray(rows)
