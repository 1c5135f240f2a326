"""What running a plan needs of a GPU: memory, page-locked memory, streams, and the capture of a CUDA graph.

A protocol, so that the order of things is tested against a fake that fails in every way a GPU can; and the real thing,
from PyTorch's allocator, so that an engine and PyTorch share one pool.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pbsbatch.errors import EngineError, GpuLostError, one_line

if TYPE_CHECKING:
    import torch

__all__ = ["ALIGNED", "Block", "CaptureError", "Card", "CardFullError", "Page", "Stream", "TorchCard"]

Kind = type[np.uint8] | type[np.float32]
ALIGNED = 256
"""Bytes: every address that TensorRT is given is a multiple."""


class CardFullError(EngineError):
    """The GPU has no memory left for a batch."""


class CaptureError(EngineError):
    """The work could not be recorded as a CUDA graph."""


class Block(Protocol):
    """A piece of the GPU's memory; it goes with its last owner."""

    @property
    def address(self) -> int: ...


class Page(Protocol):
    """Page-locked memory of the host: copies to and from it run beside other work."""

    @property
    def array(self) -> NDArray[Any]: ...


class Stream(Protocol):
    """Work in order. Nothing waits but `wait`."""

    @property
    def handle(self) -> int: ...

    def upload(self, page: Page, block: Block) -> None: ...

    def download(self, block: Block, page: Page) -> None: ...

    def wait(self) -> None:
        """Wait until all of it is done; an error of the GPU comes out here."""
        ...

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record what `work` enqueues and return what enqueues it again. CaptureError where that fails."""
        ...


class Card(Protocol):
    """A GPU."""

    def block(self, size: int) -> Block:
        """Return so many bytes. CardFullError where there are not so many."""
        ...

    def page(self, shape: tuple[int, ...], kind: Kind) -> Page: ...

    def stream(self) -> Stream: ...


@dataclass(frozen=True, slots=True)
class _TorchBlock:
    memory: torch.Tensor
    address: int


@dataclass(frozen=True, slots=True)
class _TorchPage:
    memory: torch.Tensor
    array: NDArray[Any]


class _TorchStream:
    def __init__(self, device: torch.device) -> None:
        import torch

        self.torch = torch
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.handle = int(self.stream.cuda_stream)

    def upload(self, page: Page, block: Block) -> None:
        host, card = self._bytes(page, block)
        with self.torch.cuda.stream(self.stream):
            card.copy_(host, non_blocking=True)

    def download(self, block: Block, page: Page) -> None:
        host, card = self._bytes(page, block)
        with self.torch.cuda.stream(self.stream):
            host.copy_(card, non_blocking=True)

    def wait(self) -> None:
        try:
            self.stream.synchronize()
        except RuntimeError as error:
            raise GpuLostError(f"the GPU failed: {one_line(error)[:300]}") from error

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        graph = self.torch.cuda.CUDAGraph()
        try:
            # only this thread is recorded: another one may read tiles or load a model meanwhile
            with self.torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
                work()
        except RuntimeError as error:
            raise CaptureError(f"no CUDA graph could be recorded: {one_line(error)[:300]}") from error

        def replay() -> None:
            with self.torch.cuda.stream(self.stream):
                graph.replay()

        return replay

    def _bytes(self, page: Page, block: Block) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both ends of a copy as bytes of one length."""
        assert isinstance(page, _TorchPage) and isinstance(block, _TorchBlock)
        return page.memory.view(-1).view(self.torch.uint8), block.memory[: page.array.nbytes]


class TorchCard:
    """A GPU through PyTorch."""

    def __init__(self, index: int = 0) -> None:
        import torch

        self.torch = torch
        self.device = torch.device("cuda", index)

    def block(self, size: int) -> Block:
        try:
            memory = self.torch.empty(max(1, size), dtype=self.torch.uint8, device=self.device)
        except self.torch.OutOfMemoryError as error:
            raise CardFullError(f"the GPU has no {size / 1e6:.0f} MB left: {one_line(error)[:200]}") from error
        return _TorchBlock(memory, int(memory.data_ptr()))

    def page(self, shape: tuple[int, ...], kind: Kind) -> Page:
        wanted = self.torch.uint8 if kind is np.uint8 else self.torch.float32
        memory = self.torch.zeros(shape, dtype=wanted, pin_memory=True)
        return _TorchPage(memory, memory.numpy())

    def stream(self) -> Stream:
        return _TorchStream(self.device)
