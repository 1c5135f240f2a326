"""A fake TensorRT library and a fake GPU that fail in every way the real ones can.

The fake GPU does nothing until someone waits for a stream, so that a buffer that is touched too early or too late
shows in the results. The fake plan computes what FakeEngine computes. Building is not faked: TensorRT-RTX does it
without a GPU.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbsbatch.engines.tensorrt.memory import CaptureError, CardFullError
from pbsbatch.errors import GpuLostError
from pbsbatch.models.folder import RAYS
from pbsbatch.testing.engines import FakeEngine

__all__ = ["PLAN", "FakeCard", "FakeTrt", "Faults"]

PLAN = b"a fake plan"
"""The one plan that the fake library takes back."""
SCRATCH = 4096
CLASSES, STRIDE = 3, 4
PORTS = {"pixels": None, "scores": CLASSES, "boxes": 4, "outlines": RAYS}


@dataclass
class Faults:
    """What goes wrong, by name, and what was destroyed in which order."""

    active: set[str] = field(default_factory=set)
    said: str = "a fake error"
    destroyed: list[str] = field(default_factory=list)

    def __call__(self, name: str) -> bool:
        return name in self.active


class _Mortal:
    """Something whose end is written down."""

    kind = ""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults

    def __del__(self) -> None:
        self.faults.destroyed.append(self.kind)


@dataclass
class _Block:
    address: int
    memory: NDArray[np.uint8]


@dataclass
class _Page:
    array: NDArray[Any]


class _Graph(_Mortal):
    kind = "graph"

    def __init__(self, faults: Faults, stream: _Stream, work: list[Callable[[], None]]) -> None:
        super().__init__(faults)
        self.stream, self.work = stream, work

    def __call__(self) -> None:
        self.stream.waiting.extend(self.work)


class _Stream:
    def __init__(self, handle: int, faults: Faults) -> None:
        self.handle, self.faults = handle, faults
        self.waiting: list[Callable[[], None]] = []
        self.recorded: list[Callable[[], None]] | None = None

    def enqueue(self, work: Callable[[], None]) -> None:
        (self.waiting if self.recorded is None else self.recorded).append(work)

    def upload(self, page: Any, block: Any) -> None:
        self.enqueue(lambda: _copy(page.array, block.memory))

    def download(self, block: Any, page: Any) -> None:
        self.enqueue(lambda: _copy(block.memory[: page.array.nbytes], page.array))

    def wait(self) -> None:
        if self.faults("lost") and self.waiting:
            raise GpuLostError("the GPU failed: a fake error")
        while self.waiting:
            self.waiting.pop(0)()

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        if self.faults("capture"):
            raise CaptureError("no CUDA graph could be recorded: a fake error")
        self.recorded = []
        try:
            work()
            return _Graph(self.faults, self, self.recorded)
        finally:
            self.recorded = None


class FakeCard:
    """A GPU with so many bytes."""

    def __init__(self, faults: Faults, room: int = 1 << 30) -> None:
        self.faults, self.room, self.blocks = faults, room, dict[int, _Block]()
        self.streams: dict[int, _Stream] = {}
        self._addresses = itertools.count(1 << 20, 1 << 32)

    def block(self, size: int) -> _Block:
        if size > self.room:
            raise CardFullError(f"the GPU has no {size / 1e6:.0f} MB left: a fake error")
        address = next(self._addresses) + 8 * self.faults("misaligned")
        self.blocks[address] = _Block(address, np.full(size, 170, np.uint8))
        return self.blocks[address]

    def page(self, shape: tuple[int, ...], kind: type[np.uint8] | type[np.float32]) -> _Page:
        return _Page(np.zeros(shape, kind))

    def stream(self) -> _Stream:
        handle = 0 if self.faults("default stream") else len(self.streams) + 1
        self.streams[handle] = _Stream(handle, self.faults)
        return self.streams[handle]


class _Context(_Mortal):
    kind = "context"

    def __init__(self, engine: _Engine) -> None:
        super().__init__(engine.faults)
        self.engine, self.addresses = engine, dict[str, int]()
        self.shape: tuple[int, ...] = (-1, -1, -1, 3)
        self.scratch, self.ran = 0, False

    def set_optimization_profile_async(self, index: int, handle: int) -> bool:
        return not self.faults("set profile")

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shape = shape
        return not self.faults("set shape")

    def infer_shapes(self) -> list[str]:
        if self.faults("infer raises"):
            raise RuntimeError("a fake error")
        return ["pixels"] if self.faults("infer missing") else []

    def update_device_memory_size_for_shapes(self) -> int:
        return 0 if self.faults("no size") else SCRATCH

    def set_device_memory(self, address: int, size: int) -> None:
        assert size >= SCRATCH and address in self.engine.card.blocks
        self.scratch = address

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        count, height, width = self.shape[:3]
        channels = -1 if self.faults("unknown shape") else PORTS[name]
        return (count, channels or 3, height // STRIDE, width // STRIDE)

    def set_tensor_address(self, name: str, address: int) -> bool:
        assert address % 256 == 0
        self.addresses[name] = address
        return not self.faults("set address")

    def execute_async_v3(self, handle: int) -> bool:
        stream = self.engine.card.streams[handle]
        early = stream.recorded is not None and not self.ran  # shapes are settled by the first run alone
        if self.faults("execute") or early or not self.scratch or set(self.addresses) != set(PORTS):
            return False
        self.ran = True
        stream.enqueue(self._compute)
        return True

    def _compute(self) -> None:
        memory = {name: self.engine.card.blocks[address].memory for name, address in self.addresses.items()}
        pixels = memory["pixels"].reshape(self.shape)
        if self.faults("rows leak"):
            pixels = np.roll(pixels, 1, axis=0)
        for name, values in FakeEngine(CLASSES, STRIDE)(pixels).items():
            _copy(np.ascontiguousarray(values), memory[name])


class _Engine(_Mortal):
    kind = "engine"
    device_memory_size_v2 = 2 * SCRATCH
    num_io_tensors = len(PORTS)

    def __init__(self, trt: FakeTrt) -> None:
        super().__init__(trt.faults)
        self.trt, self.card = trt, trt.card

    def get_tensor_name(self, index: int) -> str:
        return list(PORTS)[index]

    def get_tensor_mode(self, name: str) -> Any:
        return self.trt.TensorIOMode.INPUT if name == "pixels" else self.trt.TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        output = self.trt.DataType.HALF if self.faults("half outputs") else self.trt.DataType.FLOAT
        return self.trt.DataType.UINT8 if name == "pixels" else output

    def create_execution_context(self, strategy: Any) -> _Context | None:
        assert strategy is self.trt.ExecutionContextAllocationStrategy.USER_MANAGED
        return None if self.faults("create context") else _Context(self)


class FakeTrt:
    """The module: what running a plan asks of it."""

    __version__ = "10.3.0"
    TensorIOMode = Enum("TensorIOMode", ["NONE", "INPUT", "OUTPUT"])
    DataType = Enum("DataType", ["FLOAT", "HALF", "UINT8"])
    ExecutionContextAllocationStrategy = Enum("ExecutionContextAllocationStrategy", ["STATIC", "USER_MANAGED"])

    class ILogger:
        """The logger's base."""

        Severity = Enum("Severity", ["INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE"])

    def __init__(self, card: FakeCard) -> None:
        self.card, self.faults = card, card.faults

    def Runtime(self, logger: Any) -> Any:
        """Return a runtime that takes PLAN back and nothing else."""
        trt = self

        class Runtime(_Mortal):
            kind = "runtime"

            def deserialize_cuda_engine(self, plan: bytes) -> _Engine | None:
                if bytes(plan) != PLAN or trt.faults("deserialize"):
                    logger.log(trt.ILogger.Severity.ERROR, trt.faults.said)
                    return None
                return _Engine(trt)

        return Runtime(self.faults)


def _copy(source: NDArray[Any], target: NDArray[Any]) -> None:
    target.reshape(-1).view(np.uint8)[: source.nbytes] = source.reshape(-1).view(np.uint8)
