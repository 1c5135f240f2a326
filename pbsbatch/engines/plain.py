"""A folder's graph as OpenCV reads it: what the parity gate holds engines against where PyTorch is not loaded.

Laws. fp32 on the CPU, one slot at a time, and not a line of another runtime: OpenCV is here anyway and reads a network
in a tenth of a second, where PyTorch takes seconds to be loaded. No result of a run comes from it.
"""

from __future__ import annotations

from threading import Lock

import cv2
import numpy as np
from numpy.typing import NDArray

from pbsbatch.engines.base import checked
from pbsbatch.errors import EngineError, one_line
from pbsbatch.models.base import Raw
from pbsbatch.models.folder import ONNX, Folder

__all__ = ["LEAST_OPENCV", "PlainNetwork", "read_graph", "run_graph"]

LEAST_OPENCV = 5
"""OpenCV 4.14 reads the same graphs and gives a classifier's `strangeness` another shape: it is not believed."""


class PlainNetwork:
    """A dense engine for the gate alone. An EngineError where OpenCV cannot read the graph, or run it at that shape."""

    name, precision, device, lanes = "opencv", "fp32", "cpu", 1

    def __init__(self, folder: Folder, shape: tuple[int, int]) -> None:
        self.notes: list[str] = []
        self._outputs = folder.outputs
        self._lock = Lock()
        self._net: cv2.dnn.Net | None = read_graph(folder, ONNX)
        self.warm_up(*shape)

    def __call__(self, pixels: NDArray[np.uint8]) -> Raw:
        """Return what the graph gives, float32, of a batch (B, H, W, 3)."""
        pixels = checked(pixels)
        with self._lock:
            return self._run(pixels)

    def _run(self, pixels: NDArray[np.uint8]) -> Raw:
        if self._net is None:
            raise EngineError("the engine is closed")
        some = pixels if len(pixels) else np.zeros((1, *pixels.shape[1:]), np.uint8)
        slots = [run_graph(self._net, "pixels", some[i : i + 1], self._outputs) for i in range(len(some))]
        return {
            name: np.concatenate([one[at] for one in slots])[: len(pixels)] for at, name in enumerate(self._outputs)
        }

    def warm_up(self, height: int, width: int) -> None:
        """Run a tile of that shape once."""
        self(np.zeros((1, height, width, 3), np.uint8))

    def close(self) -> None:
        """Let go of the network; a closed engine refuses to run."""
        self._net = None


def read_graph(folder: Folder, file: str) -> cv2.dnn.Net:
    """Return a folder's graph, or say why OpenCV cannot read it."""
    if int(cv2.__version__.split(".")[0]) < LEAST_OPENCV:
        raise EngineError(f"OpenCV {cv2.__version__} does not read every network rightly")
    try:
        return cv2.dnn.readNetFromONNX(np.frombuffer(folder.read(file), np.uint8))
    except cv2.error as error:
        raise EngineError(f"OpenCV cannot read it: {one_line(error)[:300]}", path=folder.path / file) from error


def run_graph(
    net: cv2.dnn.Net, port: str, given: NDArray[np.uint8] | NDArray[np.float32], outputs: tuple[str, ...]
) -> list[NDArray[np.float32]]:
    """Return copies of a graph's outputs, in order."""
    try:
        net.setInput(given, port)
        return [np.array(values, np.float32) for values in net.forward(list(outputs))]
    except cv2.error as error:
        raise EngineError(f"OpenCV failed: {one_line(error)[:300]}") from error
