"""A two-stage model in a run: tiles of one size on the coarsest grid's steps, seams settled, each cell once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from pbsbatch import store
from pbsbatch.config import Config
from pbsbatch.engines.rcnn import First, RcnnEngine
from pbsbatch.models.rcnn import RcnnModel
from pbsbatch.models.rcnn_folder import RcnnFolder
from pbsbatch.models.rcnn_stages import anchors_of
from pbsbatch.testing.oracle import FakeOracleModel, cell_class
from tests.oracle import write_oracle_slide
from tests.rcnn.tiny import MASKED
from tests.run.inline import run_one

SIDE = 384
FACTS = replace(MASKED, input_px=SIDE, work_mpp=0.25, max_cell_um=20.0, context_px=20, detections=300)
ORACLE = FakeOracleModel()


class FakeParts:
    """A two-stage network that reads the cells off an oracle slide: the place next to a centre proposes the box."""

    name, precision, device, lanes = "fake", "exact", "cpu", 2

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.tiles: list[tuple[int, int]] = []

    def first(self, tile: np.ndarray) -> First:
        self.tiles.append(tile.shape[:2])
        cells = ORACLE.decode({"pixels": tile[None]}, 0, {})
        sides = [SIDE // stride for stride in (4, 8, 16, 32, 64)]
        objectness = [np.full((n, n, 3), -9.0, np.float32) for n in sides]
        deltas = [np.zeros((n, n, 12), np.float32) for n in sides]
        anchors = anchors_of(FACTS.anchors[0], FACTS.ratios, (sides[0],) * 2, (SIDE,) * 2).reshape(
            sides[0], sides[0], 3, 4
        )
        for box in cells.boxes:
            wanted = (box[:2] + box[2:]) / 2
            col, row = np.clip(wanted // 4, 0, sides[0] - 1).astype(int)
            own = anchors[row, col, 1]
            size = own[2:] - own[:2]
            moved = np.concatenate([(wanted - (own[:2] + own[2:]) / 2) / size, np.log((box[2:] - box[:2]) / size)])
            objectness[0][row, col, 1], deltas[0][row, col, 4:8] = 9.0, moved
        return First(objectness, deltas, cells)

    def _cells_at(self, first: First, boxes: np.ndarray) -> np.ndarray:
        return np.abs(first.maps.boxes[None] - boxes[:, None]).max(-1).argmin(1)

    def judged(self, first: First, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logits = np.zeros((len(boxes), 4), np.float32)
        logits[:, 0] = 9.0
        if len(first.maps.boxes):
            near = self._cells_at(first, boxes)
            true = np.abs(first.maps.boxes[near] - boxes).max(1) < 0.01
            logits[true, 0] = 0.0
            logits[true, 1 + first.maps.classes[near[true]].astype(int)] = 12.0
        return logits, np.zeros((len(boxes), 16), np.float32)

    def outlined(self, first: First, boxes: np.ndarray, kinds: np.ndarray) -> np.ndarray:
        masks = [first.maps.masks[i] for i in self._cells_at(first, boxes)]
        return np.stack([cv2.resize(m.astype(np.float32), (28, 28), interpolation=cv2.INTER_AREA) for m in masks])

    def close(self) -> None:
        """Hold nothing."""


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    """Discs that leave each other alone, all over the slide, some cut by its border."""
    rng = np.random.default_rng(4)
    out = np.zeros((900, 1100), np.int32)
    for number, (x, y) in enumerate(((x, y) for y in range(0, 900, 36) for x in range(0, 1100, 36)), 1):
        at = (x + int(rng.integers(-3, 4)), y + int(rng.integers(-3, 4)))
        cv2.circle(out, at, int(rng.integers(7, 14)), number, -1)
    return out


@pytest.fixture(scope="module")
def slide(labels: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rcnn") / "oracle.tif"
    write_oracle_slide(path, labels)
    return path


@pytest.mark.parametrize("origin", [(0, 0), (64, 192), (37, 101)])
def test_each_cell_is_counted_once(origin: tuple[int, int], labels: np.ndarray, slide: Path, tmp_path: Path) -> None:
    """Law: with identical views the counts are the truth's, wherever the grid starts; tiles have the model's side."""
    parts = FakeParts()
    model = RcnnModel(RcnnFolder(Path(), "fake", {}, FACTS))
    result = run_one(slide, tmp_path, Config(origin=origin), model=model, engine=RcnnEngine(parts, FACTS))
    numbers = np.unique(labels[labels > 0])
    truth = np.bincount(cell_class(numbers), minlength=3)
    assert [result.counts[name] for name in FACTS.classes] == truth.tolist() and truth.sum() > 700
    assert set(parts.tiles) == {(SIDE, SIDE)} and len(parts.tiles) > 9
    assert result.analysed_px == labels.size
    assert result.store is not None
    cells = store.open(result.store).cells
    assert cells["area_px"].sum() == pytest.approx((labels > 0).sum(), rel=0.03), "masks are the discs, but for 28 px"
