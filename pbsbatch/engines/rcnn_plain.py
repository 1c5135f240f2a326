"""A two-stage detector's graphs as OpenCV reads them: what the parity gate holds engines against; see plain.py."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pbsbatch.engines.plain import read_graph, run_graph
from pbsbatch.engines.rcnn import F32, First, chosen, cut_boxes
from pbsbatch.errors import EngineError
from pbsbatch.models.folder import BOX_ONNX, MASK_ONNX, ONNX
from pbsbatch.models.rcnn_folder import (
    BOX_BINS,
    BOX_OUTPUTS,
    FEATURE_OUTPUTS,
    LEVELS_CUT,
    MASK_BINS,
    MASK_OUTPUTS,
    RcnnFolder,
)

__all__ = ["PlainParts"]


class PlainParts:
    """Parts for the gate alone, in fp32. An EngineError where OpenCV cannot read a graph."""

    name, precision, device, lanes = "opencv", "fp32", "cpu", 1

    def __init__(self, folder: RcnnFolder) -> None:
        self.notes: list[str] = []
        self._nets = {file: read_graph(folder, file) for file in (ONNX, BOX_ONNX, MASK_ONNX) if file in folder.files}

    def first(self, tile: NDArray[np.uint8]) -> First:
        out = [one[0] for one in self._run(ONNX, "pixels", tile[None], FEATURE_OUTPUTS)]
        grids = out[LEVELS_CUT:]
        half = len(grids) // 2
        return First(grids[:half], grids[half:], out[:LEVELS_CUT])

    def judged(self, first: First, boxes: F32) -> tuple[F32, F32]:
        logits, moves = self._run(BOX_ONNX, "cut", cut_boxes(first, boxes, BOX_BINS), BOX_OUTPUTS)
        return logits, moves

    def outlined(self, first: First, boxes: F32, kinds: NDArray[np.int64]) -> F32:
        (logits,) = self._run(MASK_ONNX, "cut", cut_boxes(first, boxes, MASK_BINS), MASK_OUTPUTS)
        return chosen(logits, kinds)

    def close(self) -> None:
        self._nets = {}

    def _run(self, file: str, port: str, given: NDArray[np.uint8] | F32, outputs: tuple[str, ...]) -> list[F32]:
        if file not in self._nets:
            raise EngineError("the engine is closed")
        return run_graph(self._nets[file], port, given, outputs)
