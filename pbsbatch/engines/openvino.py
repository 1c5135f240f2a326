"""The CPU engine: one compiled network per tile shape, one request per tile of a batch, one core per request.

Measured against running a batch at once: one tile at a time is 1.2 to 1.5 times as fast per core, because its planes
stay in the cache, needs a quarter of the memory, and a last batch that is not full costs nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from queue import Empty, LifoQueue
from threading import Lock

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino.preprocess import PrePostProcessor

from pbsbatch.apart import in_own_thread
from pbsbatch.engines.base import checked, own_threads
from pbsbatch.engines.foreign import adapted
from pbsbatch.engines.processor import has_bf16, has_int8
from pbsbatch.errors import EngineError, one_line
from pbsbatch.models.base import Raw
from pbsbatch.models.folder import INT8, ONNX, Folder
from pbsbatch.models.foreign import ForeignFolder

__all__ = ["PRECISIONS", "OpenVINOEngine", "best_precision", "precisions_here", "the_core"]

PRECISIONS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
"""What to compute in, by our name: an int8 file says itself which layers are int8, the rest of it is float."""
MANY_CHANNELS = 16
"""From so many channels on an output comes places first: planes first cost a twelfth of the shipped network's time."""
MOST_SHAPES = 3
"""Compiled networks that are kept; a run needs no more tile shapes."""


def precisions_here(folder: Folder) -> tuple[str, ...]:
    """Return the precisions that the folder has and this processor computes well, the fastest first."""
    int8 = INT8 in folder.files and has_int8()
    return (*(("int8",) if int8 else ()), *(("bf16",) if has_bf16() else ()), "fp32")


def best_precision(folder: Folder) -> str:
    """Return the fastest precision that the folder has and this processor computes well."""
    return precisions_here(folder)[0]


@cache
def the_core() -> ov.Core:
    """Return the one core of this process, its CPU plugin loaded: it is never let go of, see `in_own_thread`."""

    def loaded() -> ov.Core:
        core = ov.Core()
        core.get_property("CPU", "FULL_DEVICE_NAME")
        return core

    return in_own_thread(loaded)


@dataclass(frozen=True, slots=True)
class _Output:
    name: str
    shape: tuple[int, ...]  # of one slot, as the network writes it
    places_first: bool  # (rows, columns, channels)

    def empty(self, slots: int) -> NDArray[np.float32]:
        """Return the array that the slots are written into."""
        return np.empty((slots, *self.shape), np.float32)

    def told(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what was written as the model says it: channels, rows, columns. Nothing is copied."""
        return np.moveaxis(values, 3, 1) if self.places_first else values


@dataclass(frozen=True, slots=True)
class _Compiled:
    network: ov.CompiledModel
    idle: LifoQueue[ov.InferRequest]
    outputs: tuple[_Output, ...]  # in the order of the network's


class OpenVINOEngine:
    """Run a model folder on the CPU. Law: the precision is the one that was asked for, or there is an error."""

    name = "openvino"
    device = "cpu"

    def __init__(self, folder: Folder, precision: str = "auto", threads: int | None = None) -> None:
        self.precision = best_precision(folder) if precision == "auto" else precision
        _refuse_precision(folder, self.precision)
        self.threads = own_threads() if threads is None else threads
        self._file = INT8 if self.precision == "int8" else ONNX
        self.notes: list[str] = []
        self._folder = folder
        self._core = the_core()
        self._compiled: OrderedDict[tuple[int, int], _Compiled] = OrderedDict()
        self._lock = Lock()
        self._model: ov.Model | None = self._read()

    def __call__(self, pixels: NDArray[np.uint8]) -> Raw:
        """Return what the model's network gives, float32, of a batch (B, H, W, 3)."""
        pixels = checked(pixels)
        with self._lock:
            compiled = self._for_shape(pixels.shape[1], pixels.shape[2])
        written = [output.empty(len(pixels)) for output in compiled.outputs]
        try:
            _run(compiled.idle, pixels, written)
        except RuntimeError as error:
            with self._lock:
                self._compiled.pop((pixels.shape[1], pixels.shape[2]), None)
            raise EngineError(f"OpenVINO failed on a tile of {pixels.shape[1:3]}: {one_line(error)}") from error
        return {o.name: o.told(values) for o, values in zip(compiled.outputs, written, strict=True)}

    @property
    def lanes(self) -> int:
        """Return one for each core that is its own."""
        return self.threads

    def warm_up(self, height: int, width: int) -> None:
        """Compile for a tile shape and run it once."""
        self(np.zeros((self.threads, height, width, 3), np.uint8))

    def close(self) -> None:
        """Let go of the compiled networks; a closed engine refuses to run."""
        with self._lock:
            self._compiled.clear()
            self._model = None

    def _read(self) -> ov.Model:
        """Return the network of any shape: what OpenVINO cannot read is found before a run begins."""
        try:
            model = self._core.read_model(self._folder.read(self._file))
            return adapted(model, self._folder.facts) if isinstance(self._folder, ForeignFolder) else model
        except RuntimeError as error:
            raise self._cannot(error) from error

    def _cannot(self, error: RuntimeError) -> EngineError:
        return EngineError(
            f"OpenVINO cannot run it: {one_line(error)}", path=self._folder.path / self._file,
            cure="Export the model again with plain operators",
        )  # fmt: skip

    def _for_shape(self, height: int, width: int) -> _Compiled:
        """Return the network for a tile shape as the last entry of the cache; the one used longest ago falls out."""
        key = (height, width)
        if key not in self._compiled:
            while len(self._compiled) >= MOST_SHAPES:
                self._compiled.popitem(last=False)
            self._compiled[key] = self._compile(height, width)
        self._compiled.move_to_end(key)
        return self._compiled[key]

    def _compile(self, height: int, width: int) -> _Compiled:
        """Compile for one tile per request. Threads are not pinned: every worker would pin the same cores."""
        if self._model is None:
            raise EngineError("the engine is closed")
        hint = PRECISIONS[self.precision]
        settings = {
            "INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": self.threads, "NUM_STREAMS": self.threads,
            "ENABLE_CPU_PINNING": False,
        }  # fmt: skip
        try:
            model = self._model.clone()
            model.reshape({"pixels": [1, height, width, 3]})
            turned = [not self._folder.channels_last and _has_many_channels(port) for port in model.outputs]
            names = [self._own_name(port) for port in model.outputs]
            network = self._core.compile_model(_places_first(model, turned), "CPU", settings)
            outputs = tuple(
                _Output(name, tuple(port.shape)[1:], turn)
                for name, port, turn in zip(names, network.outputs, turned, strict=True)
            )
            idle: LifoQueue[ov.InferRequest] = LifoQueue()
            for _ in range(self.threads):
                idle.put(network.create_infer_request())
        except RuntimeError as error:
            raise self._cannot(error) from error
        found = network.get_property("INFERENCE_PRECISION_HINT").to_string()
        if found != hint:
            raise EngineError(f"OpenVINO computes in {found} although {hint} was asked for")
        return _Compiled(network, idle, outputs)

    def _own_name(self, port: ov.Output) -> str:
        """Return which of the model's outputs a port is; one merged with the node before it has that one's name too."""
        return next(name for name in self._folder.outputs if name in port.names)


def _has_many_channels(port: ov.Output) -> bool:
    return len(port.shape) == 4 and port.shape[1] >= MANY_CHANNELS


def _places_first(model: ov.Model, turned: list[bool]) -> ov.Model:
    """Return the network with some outputs as (B, rows, columns, channels), which is how they lie in memory."""
    layouts = PrePostProcessor(model)
    for index, turn in enumerate(turned):
        if turn:
            layouts.output(index).model().set_layout(ov.Layout("NCHW"))
            layouts.output(index).tensor().set_layout(ov.Layout("NHWC"))
    return layouts.build()


def _run(idle: LifoQueue[ov.InferRequest], pixels: NDArray[np.uint8], written: list[NDArray[np.float32]]) -> None:
    """Run every slot as a request of its own, on the requests that are idle; results land in place.

    A request is given back as soon as its last tile is done, so that the next call's first tile runs beside the last
    ones of this.
    """
    if not len(pixels):
        return
    mine = [idle.get()]
    with suppress(Empty):
        while len(mine) < len(pixels):
            mine.append(idle.get_nowait())
    try:
        for slot in range(len(pixels)):
            request = mine[slot % len(mine)]
            request.wait()
            request.set_input_tensor(ov.Tensor(pixels[slot : slot + 1], shared_memory=True))
            for index, values in enumerate(written):
                request.set_output_tensor(index, ov.Tensor(values[slot : slot + 1], shared_memory=True))
            request.start_async()
        first = len(pixels) % len(mine)
        for request in mine[first:] + mine[:first]:
            request.wait()
            idle.put(request)
            mine = [r for r in mine if r is not request]
    finally:
        for request in mine:
            with suppress(RuntimeError):  # nobody may write into arrays that are about to go
                request.wait()
            idle.put(request)


def _refuse_precision(folder: Folder, precision: str) -> None:
    """Refuse what this processor or this folder does not have: nothing is ever computed in another precision."""
    if precision not in PRECISIONS:
        raise EngineError(f"there is no precision {precision!r}", cure=f"Precisions: {', '.join(PRECISIONS)}")
    if precision == "bf16" and not has_bf16():
        raise EngineError("this processor does not compute in bf16", cure="Use fp32")
    if precision == "int8" and not has_int8():
        raise EngineError("this processor has no dot products of bytes: int8 could overflow", cure="Use fp32")
    if precision == "int8" and INT8 not in folder.files:
        raise EngineError(f"the model has no {INT8}", path=folder.path, cure="Use bf16 or fp32")
