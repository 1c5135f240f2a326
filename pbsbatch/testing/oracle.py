"""A fake model that cannot be wrong: the slide's pixels are the truth.

An oracle slide is a lossless image in which every pixel's colour is the number of the cell it
belongs to, red * 65536 + green * 256 + blue, white where there is none. The fake reads cells off
the tile it is given, so that whatever a run gets wrong is the run's own doing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pbsbatch.models.base import Calibration, Found, Model, ModelSpec, Raw, Survey

__all__ = [
    "FakeOracleEngine",
    "FakeOracleModel",
    "cell_class",
    "cell_score",
    "colour",
    "load_fake_engine",
    "load_fake_oracle",
]

GLASS = 0xFFFFFF
CLASSES = ("RBC", "WBC", "Platelet")

SPEC = ModelSpec(
    name="fake-oracle", version="1", digest="fake-oracle-1", classes=CLASSES, work_mpp=0.25, max_cell_um=25.0,
    context_px=0, engine="fake-oracle",
)  # fmt: skip


def colour(ids: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Return the RGB pixels of an oracle slide from cell numbers; 0 is glass."""
    coded = np.where(ids == 0, GLASS, ids).astype(np.uint32)
    return np.stack([coded >> 16 & 255, coded >> 8 & 255, coded & 255], axis=-1).astype(np.uint8)


def cell_class(ids: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Return the class that the fake gives a cell."""
    return (ids % len(CLASSES)).astype(np.uint8)


def cell_score(ids: NDArray[np.integer]) -> NDArray[np.float32]:
    """Return the score that the fake gives a cell: scattered over 0.5 to 1."""
    return (0.5 + (ids.astype(np.uint64) * 2654435761 % 2**32) / 2**33).astype(np.float32)


class FakeOracleEngine:
    """Pixels in, the same pixels out."""

    name = "fake-oracle"
    precision = "uint8"
    lanes = 2
    device = "cpu"

    def __init__(self) -> None:
        self.notes: list[str] = []

    def __call__(self, pixels: NDArray[np.uint8]) -> Raw:
        return {"pixels": pixels}

    def close(self) -> None:
        """Hold nothing."""


@dataclass(frozen=True, slots=True)
class FakeOracleModel:
    """Read the cells of a tile off its colours."""

    spec: ModelSpec = SPEC

    def calibrate(self, seen: Survey) -> Calibration:
        """Need nothing."""
        return {}

    def decode(self, raw: Raw, slot: int, calibration: Calibration) -> Found:
        """Return one cell per number in the tile, its box and mask from its pixels."""
        rgb = raw["pixels"][slot].astype(np.int64)
        ids = rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2]
        rows, cols = np.nonzero(ids != GLASS)
        numbers, which = np.unique(ids[rows, cols], return_inverse=True)
        boxes = np.zeros((len(numbers), 4), np.int64)
        boxes[:, :2] = np.iinfo(np.int64).max
        np.minimum.at(boxes[:, 0], which, cols)
        np.minimum.at(boxes[:, 1], which, rows)
        np.maximum.at(boxes[:, 2], which, cols + 1)
        np.maximum.at(boxes[:, 3], which, rows + 1)
        masks = tuple(ids[y0:y1, x0:x1] == n for n, (x0, y0, x1, y1) in zip(numbers, boxes, strict=True))
        windows = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).astype(np.int32)
        return Found(boxes.astype(np.float32), cell_score(numbers), cell_class(numbers), windows, masks)


def load_fake_oracle(name: str) -> FakeOracleModel:
    """Stand in for models.load."""
    return FakeOracleModel()


def load_fake_engine(model: Model, asked: str) -> FakeOracleEngine:
    """Stand in for engines.load."""
    return FakeOracleEngine()
