"""A two-stage detector's networks in OpenVINO: the first for each tile shape, the others for so many boxes at once."""

from __future__ import annotations

from queue import LifoQueue

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from pbsbatch.engines.base import own_threads
from pbsbatch.engines.openvino import PRECISIONS, OpenVINOEngine, the_core
from pbsbatch.engines.rcnn import F32, First, chosen, cut_into, in_parts
from pbsbatch.errors import EngineError, one_line
from pbsbatch.models.folder import BOX_ONNX, MASK_ONNX
from pbsbatch.models.rcnn_folder import (
    BOX_OUTPUTS,
    DELTAS,
    MAPS,
    MASK_OUTPUTS,
    OBJECTNESS,
    RcnnFolder,
)

__all__ = ["OpenVINOParts"]

BOXES_AT_ONCE, MASKS_AT_ONCE = 128, 16
"""The heads have one fixed number of boxes, the last ones padded: how a sum is split may depend on it. So many keep
the weights' share of the traffic small, and a tile's last ones cheap."""


class OpenVINOParts:
    """Run the folder's graphs on the CPU. Law: the precision is the one that was asked for, or there is an error."""

    name, device = "openvino", "cpu"

    def __init__(self, folder: RcnnFolder, precision: str = "fp32", threads: int | None = None) -> None:
        self.precision = "fp32" if precision == "auto" else precision
        self.threads = own_threads() if threads is None else threads
        self._tiles = OpenVINOEngine(folder, self.precision, self.threads)
        self.notes = self._tiles.notes
        self._box = _Head(folder, BOX_ONNX, BOX_OUTPUTS, BOXES_AT_ONCE, self.precision, self.threads)
        self._mask: _Head | None = None
        if folder.facts.masks:
            self._mask = _Head(folder, MASK_ONNX, MASK_OUTPUTS, MASKS_AT_ONCE, self.precision, self.threads)

    @property
    def lanes(self) -> int:
        """Return one for each core that is its own."""
        return self.threads

    def first(self, tile: NDArray[np.uint8]) -> First:
        raw = self._tiles(tile[None])
        maps = [np.asarray(raw[name][0], np.float32) for name in MAPS]
        objectness, deltas = (
            [np.asarray(raw[name][0], np.float32) for name in names] for names in (OBJECTNESS, DELTAS)
        )
        return First(objectness, deltas, maps)

    def judged(self, first: First, boxes: F32) -> tuple[F32, F32]:
        logits, moves = in_parts(boxes, BOXES_AT_ONCE, lambda part: self._box(first, boxes[part]))
        return logits, moves

    def outlined(self, first: First, boxes: F32, kinds: NDArray[np.int64]) -> F32:
        assert self._mask is not None
        mask = self._mask

        def run(part: slice) -> tuple[F32]:
            (logits,) = mask(first, boxes[part])
            return (chosen(logits, kinds[part]),)

        return in_parts(boxes, MASKS_AT_ONCE, run)[0]

    def close(self) -> None:
        self._tiles.close()


class _Head:
    """A graph over boxes cut from maps, for at most `rows` of them."""

    def __init__(
        self, folder: RcnnFolder, file: str, outputs: tuple[str, ...], rows: int, precision: str, threads: int
    ) -> None:
        core, hint = the_core(), PRECISIONS[precision]
        settings = {
            "INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": threads,
            "ENABLE_CPU_PINNING": False,
        }  # fmt: skip
        try:
            model = core.read_model(folder.read(file))
            shape = model.input("cut").partial_shape
            shape[0] = rows
            model.reshape({"cut": shape})
            network = core.compile_model(model, "CPU", settings)
            self._idle: LifoQueue[ov.InferRequest] = LifoQueue()
            for _ in range(threads):
                self._idle.put(network.create_infer_request())
        except RuntimeError as error:
            raise EngineError(
                f"OpenVINO cannot run it: {one_line(error)}", path=folder.path / file,
                cure="Export the model again with plain operators",
            ) from error  # fmt: skip
        self._outputs, self._file = outputs, file

    def __call__(self, first: First, boxes: F32) -> tuple[F32, ...]:
        """Return the graph's outputs for the boxes alone.

        They are cut into the request's own memory: to pass an array of them on cost a tenth of a tile's time. Rows
        behind the last box hold what stood there, and nobody reads what comes of them.
        """
        request = self._idle.get()
        try:
            cut_into(first, boxes, request.get_tensor("cut").data)
            request.infer()
            return tuple(request.get_tensor(name).data[: len(boxes)].copy() for name in self._outputs)
        except RuntimeError as error:
            raise EngineError(f"OpenVINO failed in {self._file}: {one_line(error)}") from error
        finally:
            self._idle.put(request)
