"""A fake two-stage network that cannot be wrong: it reads the cells off an oracle slide."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from pbsbatch.engines.rcnn import First
from pbsbatch.models.rcnn_stages import anchors_of
from pbsbatch.testing.oracle import FakeOracleModel
from tests.rcnn.tiny import MASKED

__all__ = ["FACTS", "SIDE", "FakeParts"]

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
