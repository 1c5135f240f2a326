"""PyTorch on a GPU without room: half as many tiles, once, and said; any other error of CUDA ends the process."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pbsbatch.engines.cuda import PART_PX, CudaRunner
from pbsbatch.engines.torch import TorchEngine
from pbsbatch.errors import EngineError, GpuLostError
from pbsbatch.models.folder import ModelFolder
from pbsbatch.testing.engines import tiles


class FakeRunner(CudaRunner):
    """The real one's rules for memory, the network on the CPU, and errors in turn."""

    def __init__(self, inner: TorchEngine, errors: list[Exception]) -> None:
        self._part_px, self._halved = PART_PX, False
        self.inner, self.errors, self.parts = inner, errors, list[int]()

    def __call__(self, pixels):  # type: ignore[no-untyped-def]
        self.parts.append(self._part(pixels.shape[1], pixels.shape[2]))
        if self.errors:
            raise self.errors.pop(0)
        return tuple(self.inner(pixels).values())


def engine_with(folder: ModelFolder, *errors: Exception) -> tuple[TorchEngine, FakeRunner]:
    engine = TorchEngine(folder, device="cpu", threads=1)
    runner = FakeRunner(TorchEngine(folder, device="cpu", threads=1), list(errors))
    engine._cuda = runner
    return engine, runner


def test_a_full_gpu_gets_half_a_batch_once(folder: ModelFolder) -> None:
    engine, runner = engine_with(folder, torch.OutOfMemoryError("full"))
    pixels = tiles(3, (64, 96))
    expected = TorchEngine(folder, device="cpu", threads=1)(pixels)
    assert all(np.array_equal(v, expected[k]) for k, v in engine(pixels).items())
    assert runner.parts == [PART_PX // (64 * 96), PART_PX // (64 * 96) // 2]
    assert engine.notes == ["the GPU's memory was full: half as many tiles at once from now on"]
    runner.errors = [torch.OutOfMemoryError("full again")]
    with pytest.raises(EngineError, match=r"memory is full.*full again.*fewer --workers"):
        engine(pixels)
    assert len(engine.notes) == 1


def test_one_tile_cannot_be_halved(folder: ModelFolder) -> None:
    engine, runner = engine_with(folder, torch.OutOfMemoryError("full"))
    runner._part_px = 1
    with pytest.raises(EngineError, match="memory is full"):
        engine(tiles(1, (64, 96)))
    assert engine.notes == []


def test_an_error_of_cuda_means_that_the_gpu_is_lost_to_this_process(folder: ModelFolder) -> None:
    engine, _ = engine_with(folder, RuntimeError("CUDA error: unspecified launch failure\nCompile with ..."))
    with pytest.raises(GpuLostError, match="unspecified launch failure") as caught:
        engine(tiles(1, (64, 96)))
    assert "\n" not in str(caught.value)
