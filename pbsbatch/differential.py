"""The second look at white cells: cut a crop around each one, ask the classifier, give the cell its type.

Laws. A crop lies on the slide's work grid, so that it depends on the cell's box and the slide's pixels alone, never on
the tile that was read nor on the cells beside it. Where a crop reaches beyond what was read, which a halo allows beyond
the slide alone, the outermost pixels, glass, go on. Every view of a white cell is typed, also one near a border that
may be dropped: whichever view stays has its type.

Crops come from the tile's own pixels: at a working scale near the classifier's they cost nothing, while reading level
0 around each cell again would decode a few JPEG tiles for it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pbsbatch.detections import Detections
from pbsbatch.engines.base import Engine
from pbsbatch.geometry import Tile
from pbsbatch.models.classifier import Asked, CellClassifier
from pbsbatch.models.taxonomy import CALLED
from pbsbatch.plan import SNAP, Plan

__all__ = ["WHITE", "Differential", "window", "window_px"]

WHITE = "WBC"
"""The class whose cells are given types."""


@dataclass(frozen=True, slots=True)
class Differential:
    """Give white cells their types. Any thread may call it if any thread may call its engine."""

    classifier: CellClassifier
    engine: Engine
    white: int  # the index of WHITE among the detector's classes

    @property
    def types(self) -> tuple[str, ...]:
        """Return what the types are indices of."""
        return CALLED

    @property
    def second_types(self) -> tuple[str, ...]:
        """Return nothing: no second opinion is asked."""
        return ()

    @property
    def name(self) -> str:
        """Return who is asked."""
        return self.classifier.name

    @property
    def reach_um(self) -> float:
        """Return the side of a crop."""
        facts = self.classifier.folder.facts
        return facts.crop_px * facts.crop_mpp

    @property
    def beside_bytes(self) -> int:
        """Return nothing: a worker's own memory holds it."""
        return 0

    @property
    def identity(self) -> dict[str, Any]:
        """Return what decides the types: part of the resume key, and told in every store."""
        facts = self.classifier.folder.facts
        return {
            "classifier": facts.name, "classifier_version": facts.version, "classifier_digest": self.classifier.digest,
            "classifier_engine": self.engine.name, "classifier_precision": self.engine.precision,
        }  # fmt: skip

    def close(self) -> None:
        """Let go of the engine."""
        self.engine.close()

    def look(self, cells: Detections, tile: Tile, plan: Plan, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a crop (n, side, side, 3) for each white cell, in order, from the pixels of the tile's read box."""
        facts = self.classifier.folder.facts
        side, wide = facts.crop_px, window_px(facts.crop_px, facts.crop_mpp, plan.work_mpp)
        at = cells.centres[cells.classes == self.white] / plan.scale - (tile.read.x, tile.read.y)
        starts = np.floor(at - wide / 2 + 0.5).astype(np.int64)
        crops = np.empty((len(starts), side, side, 3), np.uint8)
        for crop, (x, y) in zip(crops, starts.tolist(), strict=True):
            cut = window(pixels, x, y, wide)
            how = cv2.INTER_AREA if wide > side else cv2.INTER_LINEAR
            crop[:] = cut if wide == side else cv2.resize(cut, (side, side), interpolation=how)
        return crops

    def refine(self, cells: Detections, crops: NDArray[np.uint8]) -> Detections:
        """Return the cells with the types of those that `look` gave crops for."""
        if not len(crops):
            return cells
        return self.told(cells, self.ask(crops))

    def ask(self, crops: NDArray[np.uint8]) -> Asked:
        """Return what the classifier says of crops."""
        return self.classifier.asked(self.engine(crops))

    def told(self, cells: Detections, asked: Asked) -> Detections:
        """Return the cells with the types that it said of the white ones."""
        types, scores = cells.types.copy(), cells.type_scores.copy()
        white = cells.classes == self.white
        types[white], scores[white] = asked.called, asked.chances
        return replace(cells, types=types, type_scores=scores)


def window_px(side: int, crop_mpp: float, work_mpp: float) -> int:
    """Return the side of what is cut out, in work pixels; near the classifier's scale nothing is resampled."""
    return side if abs(crop_mpp / work_mpp - 1) <= SNAP else max(1, round(side * crop_mpp / work_mpp))


def window(pixels: NDArray[np.uint8], x: int, y: int, side: int) -> NDArray[np.uint8]:
    """Return a square of pixels; outside, the outermost ones go on."""
    height, width = pixels.shape[:2]
    if x >= 0 and y >= 0 and x + side <= width and y + side <= height:
        return pixels[y : y + side, x : x + side]
    rows = np.clip(np.arange(y, y + side), 0, height - 1)
    cols = np.clip(np.arange(x, x + side), 0, width - 1)
    return pixels[rows[:, None], cols]
