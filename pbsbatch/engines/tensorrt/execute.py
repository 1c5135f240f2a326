"""Run a plan: one context, one set of buffers and one CUDA graph per shape and lane; two lanes, so that copies hide.

Laws. A context serves one shape, and its graph is recorded after it has run once. Every answer of the library is looked
at: what it refuses is an error before anything is read from a buffer. Things go in the reverse order of their making:
graphs, contexts, the engine, the runtime.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbsbatch.engines.tensorrt.build import INPUT
from pbsbatch.engines.tensorrt.library import Library
from pbsbatch.engines.tensorrt.memory import ALIGNED, Block, CaptureError, Card, CardFullError, Page, Stream
from pbsbatch.errors import EngineError, one_line

__all__ = ["Lane", "Loaded", "load_plan"]


@dataclass(slots=True)
class Loaded:
    """A plan that the library took back."""

    library: Library
    runtime: Any
    engine: Any
    outputs: tuple[str, ...]

    def close(self) -> None:
        """Let go of the engine, then of the runtime. Whoever made contexts of it has let go of them before."""
        self.engine = None
        self.runtime = None


def load_plan(library: Library, plan: bytes) -> Loaded | None:
    """Return a plan as an engine, None where the library does not take it; library.told() says why."""
    trt = library.trt
    runtime = trt.Runtime(library.logger)
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        return None
    names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    ins = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
    outs = tuple(name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT)
    kinds = [engine.get_tensor_dtype(name) for name in outs]
    if ins != [INPUT] or engine.get_tensor_dtype(INPUT) != trt.DataType.UINT8:
        raise EngineError(f"the plan takes {', '.join(ins)}, not {INPUT} as bytes")
    if any(kind != trt.DataType.FLOAT for kind in kinds):
        raise EngineError("the plan's outputs are not float32")
    return Loaded(library, runtime, engine, outs)


@dataclass(slots=True)
class Lane:
    """What one batch in flight needs. Laws: send, then take; between the two its buffers are the GPU's."""

    stream: Stream
    host: Page
    results: Mapping[str, Page]
    graphed: bool
    _input: Block
    _outputs: Mapping[str, Block]
    _scratch: Block | None
    _context: Any
    _run: Callable[[], None]

    @classmethod
    def of(cls, loaded: Loaded, card: Card, profile: int, shape: tuple[int, int, int, int]) -> Lane:
        """Make a context and buffers for a shape, run it once, and record it."""
        stream = card.stream()
        if stream.handle == 0:
            raise EngineError("TensorRT is never run on the default stream")
        try:
            return cls._on(stream, loaded, card, profile, shape)
        except (EngineError, RuntimeError):
            _settle(stream)
            raise

    @classmethod
    def _on(cls, stream: Stream, loaded: Loaded, card: Card, profile: int, shape: tuple[int, int, int, int]) -> Lane:
        context, scratch = _context(loaded, card, profile, shape, stream)
        host = card.page(shape, np.uint8)
        feed = _bound(loaded, context, card, INPUT, host)
        results = {name: card.page(_shape_of(loaded, context, name), np.float32) for name in loaded.outputs}
        outputs = {name: _bound(loaded, context, card, name, page) for name, page in results.items()}

        def enqueue() -> None:
            if not context.execute_async_v3(stream.handle):
                raise EngineError(f"TensorRT failed on a batch of {shape}: {loaded.library.told()}")

        stream.upload(host, feed)
        enqueue()  # shapes that the library still had to settle must not end up in the graph
        stream.wait()
        try:
            run, graphed = stream.capture(enqueue), True
        except CaptureError:
            run, graphed = enqueue, False  # the same kernels, each started by the host
        return cls(stream, host, results, graphed, feed, outputs, scratch, context, run)

    def send(self, pixels: NDArray[np.uint8]) -> None:
        """Start a batch; slots behind its end keep whatever stood there, and nobody reads them."""
        self.host.array[: len(pixels)] = pixels
        self.stream.upload(self.host, self._input)
        self._run()
        for name, page in self.results.items():
            self.stream.download(self._outputs[name], page)

    def take(self, out: Mapping[str, NDArray[np.float32]], start: int) -> None:
        """Wait for the batch and copy its slots to their places."""
        self.stream.wait()
        for name, whole in out.items():
            room = whole[start : start + len(self.host.array)]
            room[:] = self.results[name].array[: len(room)]

    def close(self) -> None:
        """Let go of the graph, then of the context; no sooner than the GPU has let go of the buffers."""
        _settle(self.stream)
        self._run = _nothing
        self._context = None


def _settle(stream: Stream) -> None:
    """Wait until nothing is in flight: memory that is given back is another's at once. What went wrong is known."""
    with suppress(EngineError, RuntimeError):
        stream.wait()


def _nothing() -> None:
    raise EngineError("the engine is closed")


def _context(
    loaded: Loaded, card: Card, profile: int, shape: tuple[int, ...], stream: Stream
) -> tuple[Any, Block | None]:
    """Return a context for a shape with its working memory, taken for that shape and not for the profile's largest."""
    library, engine = loaded.library, loaded.engine
    library.log.take()
    context = engine.create_execution_context(library.trt.ExecutionContextAllocationStrategy.USER_MANAGED)
    if context is None:
        raise CardFullError(f"TensorRT makes no context: {library.told()}")
    if not context.set_optimization_profile_async(profile, stream.handle):
        raise EngineError(f"TensorRT does not take profile {profile}: {library.told()}")
    stream.wait()
    if not context.set_input_shape(INPUT, shape):
        raise EngineError(f"TensorRT does not take batches of {shape}: {library.told()}")
    try:
        missing = context.infer_shapes()
    except RuntimeError as error:
        raise EngineError(
            f"TensorRT cannot tell the results' shapes of a batch of {shape}: {one_line(error)}"
        ) from error
    if missing:
        raise EngineError(f"TensorRT wants to know more of {', '.join(missing)} for a batch of {shape}")
    # zero may mean that it failed, or that this shape needs none while another does: then take what suits every shape
    size = context.update_device_memory_size_for_shapes() or engine.device_memory_size_v2
    if not size:
        return context, None
    scratch = _aligned(card.block(size))
    context.set_device_memory(scratch.address, size)
    return context, scratch


def _shape_of(loaded: Loaded, context: Any, name: str) -> tuple[int, ...]:
    shape = tuple(int(side) for side in context.get_tensor_shape(name))
    if not shape or min(shape) < 1:
        raise EngineError(f"TensorRT does not know the shape of {name}: {shape}, {loaded.library.told()}")
    return shape


def _bound(loaded: Loaded, context: Any, card: Card, name: str, page: Page) -> Block:
    """Give a tensor its memory."""
    block = _aligned(card.block(page.array.nbytes))
    if not context.set_tensor_address(name, block.address):
        raise EngineError(f"TensorRT does not take the memory for {name}: {loaded.library.told()}")
    return block


def _aligned(block: Block) -> Block:
    if block.address % ALIGNED:
        raise EngineError(f"memory at {block.address:#x} is not aligned to {ALIGNED} bytes")
    return block
