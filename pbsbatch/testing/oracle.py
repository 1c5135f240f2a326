"""A fake model that cannot be wrong: the slide's pixels are the truth.

An oracle slide is a lossless image in which every pixel's colour is the number of the cell it
belongs to, red * 65536 + green * 256 + blue, white where there is none. The fake reads cells off
the tile it is given, so that whatever a run gets wrong is the run's own doing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pbsbatch.config import Config
from pbsbatch.differential import WHITE, Differential
from pbsbatch.models.base import Calibration, Found, Model, ModelSpec, Raw, Survey
from pbsbatch.models.classifier import CellClassifier
from pbsbatch.models.classifier_facts import ClassifierFacts
from pbsbatch.models.folder import ClassifierFolder
from pbsbatch.models.taxonomy import KINDS, TYPES, kinds_of
from pbsbatch.opinion import SecondLook, SecondOpinion

__all__ = [
    "FakeOracleEngine",
    "FakeOracleModel",
    "FakeOtherEngine",
    "FakeTypesEngine",
    "cell_class",
    "cell_score",
    "colour",
    "fake_second_look",
    "fake_second_opinion",
    "load_fake_engine",
    "load_fake_oracle",
    "load_fake_second_look",
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


class FakeTypesEngine:
    """Say of a crop what the number of the cell in its middle pixel says: its remainder by the types, in their order.

    Glass is a cell unlike any other.
    """

    name = "fake-types"
    precision = "uint8"
    lanes = 2
    device = "cpu"

    def __init__(self) -> None:
        self.notes: list[str] = []

    def __call__(self, pixels: NDArray[np.uint8]) -> Raw:
        middle = pixels[:, pixels.shape[1] // 2, pixels.shape[2] // 2].astype(np.int64)
        numbers = middle[:, 0] << 16 | middle[:, 1] << 8 | middle[:, 2]
        logits = np.full((len(pixels), len(KINDS)), -9.0, np.float32)
        first = np.array([kinds_of(name)[0] for name in TYPES])
        logits[np.arange(len(pixels)), first[numbers % len(TYPES)]] = 9.0
        return {"logits": logits, "strangeness": np.where(numbers == GLASS, 9.0, 0.0).astype(np.float32)}

    def close(self) -> None:
        """Hold nothing."""


def fake_second_look(crop_px: int = 96) -> Differential:
    """Return a second look that gives the types that FakeTypesEngine tells."""
    facts = ClassifierFacts(
        name="fake-types", version="1", kinds=KINDS, crop_mpp=SPEC.work_mpp, crop_px=crop_px, channels=(1, 1, 1, 1),
        blocks=(0, 0, 0), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), sure_from=0.5, strange_from=1.0, licence="none",
    )  # fmt: skip
    folder = ClassifierFolder(Path("fake-types"), "fake", {}, facts)
    return Differential(CellClassifier(folder), FakeTypesEngine(), CLASSES.index(WHITE))


class FakeOtherEngine(FakeTypesEngine):
    """Say the same, but of each third white cell the next type, and of each fifth one that two are about as likely."""

    name = "fake-other"

    def __call__(self, pixels: NDArray[np.uint8]) -> Raw:
        said = super().__call__(pixels)
        middle = pixels[:, pixels.shape[1] // 2, pixels.shape[2] // 2].astype(np.int64)
        numbers = middle[:, 0] << 16 | middle[:, 1] << 8 | middle[:, 2]
        first = np.array([kinds_of(name)[0] for name in TYPES])
        logits, rows = said["logits"], np.arange(len(pixels))
        other = numbers // 3 % 3 == 0  # white cells are every third number
        logits[rows[other], first[numbers[other] % len(TYPES)]] = -9
        logits[rows[other], first[(numbers[other] + 1) % len(TYPES)]] = 9
        torn = numbers % 5 == 0
        logits[rows[torn], first[(numbers[torn] + 2) % len(TYPES)]] = 8.9
        return said


def fake_second_opinion(crop_px: int = 96) -> SecondOpinion:
    """Return a second look of the two fakes, which want crops of different sides if so said."""
    first, other = fake_second_look(), fake_second_look(crop_px)
    folder = replace(
        other.classifier.folder, digest="other", facts=replace(other.classifier.folder.facts, name="other")
    )
    opinion = Differential(CellClassifier(folder), FakeOtherEngine(), other.white)
    return SecondOpinion(first, opinion, first.types, tuple(range(len(first.types))))


def load_fake_second_look(config: Config, model: Model, asked: str) -> SecondLook | None:
    """Stand in for run.second_look."""
    if config.second_opinion is not None:
        return fake_second_opinion()
    return fake_second_look() if config.differential else None


def load_fake_oracle(name: str) -> FakeOracleModel:
    """Stand in for models.load."""
    return FakeOracleModel()


def load_fake_engine(model: Model, asked: str) -> FakeOracleEngine:
    """Stand in for engines.load."""
    return FakeOracleEngine()
