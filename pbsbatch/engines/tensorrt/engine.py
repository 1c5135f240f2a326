"""The TensorRT engine: compiled plans, replayed as CUDA graphs, two batches in flight.

Every part of a batch has one fixed size per tile shape, the last one padded, so that a tile's result never depends on
how many came with it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from pbsbatch.engines.base import checked
from pbsbatch.engines.tensorrt.build import Profile
from pbsbatch.engines.tensorrt.execute import Lane, Loaded
from pbsbatch.engines.tensorrt.memory import Card, CardFullError
from pbsbatch.errors import EngineError, GpuLostError, one_line
from pbsbatch.models.base import Raw

__all__ = ["PART_PX", "TensorRTEngine"]

PART_PX = 4_000_000
"""A part holds as many tiles as fit into so many pixels, but one at least."""
MOST_SHAPES = 3


class TensorRTEngine:
    """Run a plan. Laws: its precision is the graph's own; a GPU without room for a batch gets half of it, once."""

    name = "tensorrt"

    def __init__(
        self, loaded: Loaded, card: Card, profiles: Sequence[Profile], *, precision: str, device: str,
        part_px: int = PART_PX,
    ) -> None:  # fmt: skip
        self.precision, self.device, self.profiles = precision, device, tuple(profiles)
        self.notes: list[str] = []
        self._loaded: Loaded | None = loaded
        self._card, self._part_px, self._halved = card, part_px, False
        self._lanes: OrderedDict[tuple[int, int], tuple[Lane, Lane]] = OrderedDict()
        self._lock = Lock()

    @property
    def lanes(self) -> int:
        """Return 0: it computes on a GPU."""
        return 0

    def __call__(self, pixels: NDArray[np.uint8]) -> Raw:
        """Return the plan's outputs, float32, of a batch (B, H, W, 3)."""
        pixels = checked(pixels)
        with self._lock:
            try:
                return self._run(pixels)
            except CardFullError as error:
                self._halve(pixels.shape, error)
                return self._again(pixels)
            except (EngineError, RuntimeError) as error:
                raise self._failed(pixels, error) from error

    def warm_up(self, height: int, width: int) -> None:
        """Make contexts and graphs for a tile shape."""
        self(np.zeros((1, height, width, 3), np.uint8))

    def close(self) -> None:
        """Let go of graphs and contexts, then of the plan; a closed engine refuses to run."""
        with self._lock:
            self._drop_lanes()
            if self._loaded is not None:
                self._loaded.close()
            self._loaded = None

    def limit(self, part_px: int) -> None:
        """Run parts of at most so many pixels from now on."""
        with self._lock:
            self._drop_lanes()
            self._part_px = part_px

    def part(self, height: int, width: int) -> tuple[int, int]:
        """Return how many tiles of a shape go at once, and the number of the profile that serves them."""
        fitting = [i for i, p in enumerate(self.profiles) if p.fits(1, height, width)]
        if not fitting:
            raise EngineError(
                f"tiles of {width} x {height} px are larger than the plan's {max(p.side for p in self.profiles)} px",
                cure="Set a smaller core in a config file, or use --engine torch",
            )
        room = max(1, self._part_px // (height * width))
        most = min(room, max(self.profiles[i].batch for i in fitting))
        serving = [i for i in fitting if self.profiles[i].batch >= most]
        return most, min(serving, key=lambda i: self.profiles[i].batch)

    def _run(self, pixels: NDArray[np.uint8]) -> Raw:
        lanes = self._for_shape(pixels.shape[1], pixels.shape[2])
        part = len(lanes[0].host.array)
        shapes = {name: page.array.shape[1:] for name, page in lanes[0].results.items()}
        out = {name: np.empty((len(pixels), *shape), np.float32) for name, shape in shapes.items()}
        starts = range(0, len(pixels), part)
        for nth, start in enumerate(starts):
            if nth >= 2:
                lanes[nth % 2].take(out, starts[nth - 2])
            lanes[nth % 2].send(pixels[start : start + part])
        for nth in range(max(0, len(starts) - 2), len(starts)):
            lanes[nth % 2].take(out, starts[nth])
        return out

    def _for_shape(self, height: int, width: int) -> tuple[Lane, Lane]:
        """Return the two lanes for a tile shape; those of the shape used longest ago are given up."""
        if self._loaded is None:
            raise EngineError("the engine is closed")
        key = (height, width)
        if key not in self._lanes:
            while len(self._lanes) >= MOST_SHAPES:
                _close(self._lanes.popitem(last=False)[1])
            part, profile = self.part(height, width)
            shape = (part, height, width, 3)
            lanes = tuple(Lane.of(self._loaded, self._card, profile, shape) for _ in range(2))
            self._lanes[key] = (lanes[0], lanes[1])
            if not all(lane.graphed for lane in lanes):
                self.notes.append(f"TensorRT runs batches of {shape} without a CUDA graph: it could not be recorded")
        self._lanes.move_to_end(key)
        return self._lanes[key]

    def _halve(self, shape: tuple[int, ...], error: CardFullError) -> None:
        """Go on with half as many pixels at once, where that has not been done before."""
        self._drop_lanes()
        before = self.part(shape[1], shape[2])[0]
        if self._halved or before == 1:
            raise EngineError(
                f"the GPU's memory is full with {before} tiles of {shape[2]} x {shape[1]} px at once: {error.what}",
                cure="Use fewer --workers, or close what else runs on the GPU",
            ) from error
        self._halved, self._part_px = True, before // 2 * shape[1] * shape[2]
        self.notes.append(f"the GPU's memory was full: {before // 2} tiles at once instead of {before}")

    def _again(self, pixels: NDArray[np.uint8]) -> Raw:
        try:
            return self._run(pixels)
        except CardFullError as error:
            self._halve(pixels.shape, error)
            raise
        except (EngineError, RuntimeError) as error:
            raise self._failed(pixels, error) from error

    def _failed(self, pixels: NDArray[np.uint8], error: EngineError | RuntimeError) -> EngineError:
        """Give up every buffer that the GPU may still write into, and say what happened."""
        self._drop_lanes()
        if isinstance(error, EngineError):
            return error
        return GpuLostError(f"the GPU failed on a batch of {pixels.shape}: {one_line(error)[:300]}")

    def _drop_lanes(self) -> None:
        while self._lanes:
            _close(self._lanes.popitem()[1])


def _close(lanes: tuple[Lane, Lane]) -> None:
    for lane in lanes:
        lane.close()
