"""The reference engine: PyTorch, fp32 on the CPU; fp16 or bf16 on a CUDA card.

Slots are run one at a time on the CPU and in batches of one fixed size on a card, the last one padded: the choice of
an algorithm may depend on the batch's size, and with it the last bits of a result.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor, nn

from pbsbatch.engines.base import checked, own_threads
from pbsbatch.errors import EngineError, GpuLostError, ModelError, one_line
from pbsbatch.models.base import Raw
from pbsbatch.models.folder import WEIGHTS, ClassifierFolder, ModelFolder
from pbsbatch.models.taxonomy import TYPES
from pbsbatch.nets.architectures import build
from pbsbatch.nets.classifier import CalibratedNet, ClassifierSize
from pbsbatch.nets.detector import DetectorNet, NetSize, Served

if TYPE_CHECKING:
    from pbsbatch.engines.cuda import CudaRunner

__all__ = ["TorchEngine", "device_of", "moving", "served"]

CPU_PRECISIONS = ("fp32",)
CUDA_PRECISIONS = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


def served(folder: ModelFolder | ClassifierFolder) -> Served:
    """Return the network of a model folder, ready to run in fp32. No pickle is read: weights are safetensors."""
    net, facts = _net(folder), folder.facts
    try:
        net.load_state_dict(load_tensors(folder.read(WEIGHTS)))
    except (SafetensorError, RuntimeError) as error:
        raise ModelError(
            f"its weights do not fit model.json: {one_line(error)[:300]}", path=folder.path / WEIGHTS,
            cure="Copy the folder again from where it came",
        ) from error  # fmt: skip
    return Served(net, facts.mean, facts.std).eval().requires_grad_(False)


def _net(folder: ModelFolder | ClassifierFolder) -> nn.Module:
    if isinstance(folder, ClassifierFolder):
        size = ClassifierSize(folder.facts.crop_px, folder.facts.channels, folder.facts.blocks)
        return CalibratedNet(build(folder.facts.arch, len(folder.facts.kinds), size), len(TYPES))
    facts = folder.facts
    return DetectorNet(len(facts.classes), NetSize(facts.channels, facts.head_channels, facts.blocks, facts.stride))


class TorchEngine:
    """Run a model folder with PyTorch. Law: the precision is the one that was asked for, or there is an error."""

    name = "torch"

    def __init__(
        self, folder: ModelFolder | ClassifierFolder, precision: str = "auto", device: str = "auto",
        threads: int | None = None,
    ) -> None:  # fmt: skip
        self.notes: list[str] = []
        place = device_of(device)
        cuda = place.type == "cuda"
        self.device = torch.cuda.get_device_name(place) if cuda else "cpu"
        known = tuple(CUDA_PRECISIONS) if cuda else CPU_PRECISIONS
        self.precision = known[0] if precision == "auto" else precision
        if self.precision not in known:
            raise EngineError(
                f"torch does not compute in {self.precision} on {place}", cure=f"Precisions: {', '.join(known)}"
            )
        self._lock, self._outputs = Lock(), folder.outputs
        self._net: Served | None = served(folder).to(memory_format=torch.channels_last)
        self._cuda: CudaRunner | None = None
        if cuda:
            from pbsbatch.engines.cuda import CudaRunner

            with moving():
                self._cuda = CudaRunner(self._net, place, CUDA_PRECISIONS[self.precision])
        else:
            torch.set_num_threads(own_threads() if threads is None else threads)  # of the whole process

    @property
    def lanes(self) -> int:
        """Return 1 on the CPU, whose cores a single call uses already."""
        return 1 if self.device == "cpu" else 0

    def __call__(self, pixels: NDArray[np.uint8]) -> Raw:
        """Return what the model's network gives, float32, of a batch (B, H, W, 3)."""
        pixels = checked(pixels)
        with self._lock, torch.inference_mode():
            if self._net is None:
                raise EngineError("the engine is closed")
            if len(pixels) == 0:
                blank = np.zeros((1, *pixels.shape[1:]), np.uint8)
                return {name: values[:0] for name, values in zip(self._outputs, self._run(blank), strict=True)}
            return dict(zip(self._outputs, self._run(pixels), strict=True))

    def warm_up(self, height: int, width: int) -> None:
        """Run a tile of that shape once."""
        self(np.zeros((1, height, width, 3), np.uint8))

    def close(self) -> None:
        """Let go of the network; a closed engine refuses to run."""
        with self._lock:
            self._net = self._cuda = None

    def _run(self, pixels: NDArray[np.uint8], *, again: bool = False) -> tuple[NDArray[np.float32], ...]:
        assert self._net is not None
        try:
            if self._cuda is not None:
                return self._cuda(pixels)
            return _one_by_one(self._net, pixels)
        except torch.OutOfMemoryError as error:
            if self._cuda is not None and not again and self._cuda.halve(pixels.shape[1], pixels.shape[2]):
                self.notes.append("the GPU's memory was full: half as many tiles at once from now on")
                return self._run(pixels, again=True)
            raise EngineError(
                f"the memory is full with a batch of {pixels.shape}: {one_line(error)[:200]}",
                cure="Use fewer --workers, or close what else runs on the GPU",
            ) from error
        except RuntimeError as error:
            kind = EngineError if self._cuda is None else GpuLostError  # an error of CUDA stays with its process
            raise kind(f"torch failed on a batch of {pixels.shape}: {one_line(error)[:300]}") from error


def _one_by_one(net: Served, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
    slots: list[tuple[Tensor, ...]] = [net(torch.from_numpy(pixels[i : i + 1])) for i in range(len(pixels))]
    return tuple(torch.cat(parts).contiguous().numpy() for parts in zip(*slots, strict=True))


@contextmanager
def moving() -> Iterator[None]:
    """Give a network to a card: one without room, or of a kind that PyTorch has no kernels for, is an EngineError."""
    try:
        yield
    except RuntimeError as error:
        raise EngineError(
            f"PyTorch cannot use this GPU: {one_line(error)[:300]}",
            cure="Close what else runs on it, mend the driver, or use --engine openvino",
        ) from error


def device_of(asked: str) -> torch.device:
    """Return the device that is asked for, or an error with its cure."""
    if asked == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if asked not in ("cpu", "cuda"):
        raise EngineError(f"there is no device {asked!r}", cure="Devices: auto, cpu, cuda")
    if asked == "cuda" and not torch.cuda.is_available():
        raise EngineError("PyTorch finds no CUDA card here", cure="Use --engine openvino, or mend the driver")
    return torch.device(asked)
