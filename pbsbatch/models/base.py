"""What a model is: what it needs of the plan, how it calibrates on a slide, and how raw output becomes cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pbsbatch.geometry import Box
from pbsbatch.plan import BYTES_PER_LANE_PX, STEP_PX

__all__ = ["Calibration", "Found", "Model", "ModelSpec", "Raw", "Survey"]

Raw = Mapping[str, NDArray[np.generic]]
"""What an engine returns for a batch: named arrays, first axis the batch slot."""

Calibration = Mapping[str, float]
"""What a model learnt about one slide before its tiles are read; small and JSON-able."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """The facts about a model that planning, resuming and results need."""

    name: str
    version: str
    digest: str  # sha256 of what decides its results; part of the resume key
    classes: tuple[str, ...]  # index = Detections.classes; counts are reported by these names
    work_mpp: float  # um per work pixel
    max_cell_um: float  # the largest cell it can emit
    context_px: int  # work pixels around a cell that its result may depend on
    engine: str  # the engine it runs on when none is asked for
    tile_px: int | None = None  # the side of its tiles, where it takes no other
    step_px: int = STEP_PX  # tiles that begin on multiples of it see a cell alike
    lane_bytes_px: int = BYTES_PER_LANE_PX  # memory per pixel of a tile for each lane of its engine
    types: tuple[str, ...] = ()  # names below the classes that it gives cells itself


@dataclass(frozen=True, slots=True)
class Found:
    """The cells of one tile in the work pixels of that tile (0, 0 = top left of tile.read)."""

    boxes: NDArray[np.float32]  # (N, 4) x0, y0, x1, y1
    scores: NDArray[np.float32]
    classes: NDArray[np.uint8]
    windows: NDArray[np.int32]  # (N, 4) x, y, w, h of each mask's window
    masks: tuple[NDArray[np.bool_], ...]  # one (h, w) array per cell
    types: NDArray[np.uint8] | None = None  # index into the model's types, or UNTYPED; None: no cell has one


@dataclass(frozen=True, slots=True)
class Survey:
    """What a slide looks like from afar. foreground has the thumbnail's shape; joint is of the windows' pixels."""

    thumbnail: NDArray[np.uint8]
    downsample: float  # level-0 pixels per thumbnail pixel
    background: tuple[int, int, int]  # the colour of bare glass
    foreground: NDArray[np.bool_]
    windows: tuple[Box, ...]  # work pixels
    joint: NDArray[np.int64]


class Model(Protocol):
    """What an engine runs. Picklable: workers load it once."""

    @property
    def spec(self) -> ModelSpec: ...

    def calibrate(self, seen: Survey) -> Calibration:
        """Learn what decoding needs from the slide's survey, never from its tiles, so that tiling cannot matter."""
        ...

    def decode(self, raw: Raw, slot: int, calibration: Calibration) -> Found:
        """Turn one slot of a batch's raw output into cells."""
        ...
