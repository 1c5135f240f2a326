"""Feed the network: canvases composed by other processes, gathered into tensors.

Law: canvas n of a run depends on the seed and n alone, whichever process composes it and wherever the run began.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pbsbatch.train.compose import Canvas, Composer
from pbsbatch.train.loss import Targets

__all__ = ["MEAN", "STD", "Batch", "batches", "normalised"]

MEAN, STD = (128.0, 128.0, 128.0), (64.0, 64.0, 64.0)
"""Of RGB bytes. Round numbers: smears differ more from each other than from these."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Some canvases and their cells."""

    pixels: Tensor  # (B, S, S, 3) uint8
    truth: Targets

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        there = {name: getattr(self.truth, name).to(device) for name in Targets.__slots__}
        return Batch(self.pixels.to(device), replace(self.truth, **there))


def batches(
    composer: Composer, seed: int, size: int, stride: int, *, first: int = 0, loaders: int = 0
) -> Iterator[Batch]:
    """Yield batches without end, the first of them number `first`."""
    cv2.setNumThreads(
        1
    )  # before the fork: OpenCV's own threads would not live on in a loader, which would wait for them
    numbers = (list(range(n * size, (n + 1) * size)) for n in count(first))
    yield from DataLoader(
        _Canvases(composer, seed), batch_sampler=_Numbers(numbers), collate_fn=_Gather(stride), num_workers=loaders,
        prefetch_factor=4 if loaders else None, worker_init_fn=_quiet_worker,
        multiprocessing_context="fork" if loaders else None,  # the fields are shared, not copied
    )  # fmt: skip


def normalised(
    pixels: Tensor, mean: tuple[float, float, float] = MEAN, std: tuple[float, float, float] = STD
) -> Tensor:
    """Return bytes (B, H, W, 3) as the network takes them (B, 3, H, W), channels last in memory."""
    middle, width = (torch.tensor(v, device=pixels.device).view(1, 3, 1, 1) for v in (mean, std))
    x = (pixels.permute(0, 3, 1, 2).float() - middle) / width
    return x.contiguous(memory_format=torch.channels_last)


class _Canvases(Dataset[Canvas]):
    def __init__(self, composer: Composer, seed: int) -> None:
        self.composer, self.seed = composer, seed

    def __getitem__(self, number: int) -> Canvas:
        return self.composer.compose(self.seed, 0, number)


class _Numbers:
    """The numbers of each batch; can be walked once."""

    def __init__(self, numbers: Iterator[list[int]]) -> None:
        self.numbers = numbers

    def __iter__(self) -> Iterator[list[int]]:
        return self.numbers


@dataclass(frozen=True, slots=True)
class _Gather:
    """Canvases into a batch."""

    stride: int

    def __call__(self, canvases: Sequence[Canvas]) -> Batch:
        slots = np.repeat(np.arange(len(canvases)), [len(c.boxes) for c in canvases])
        return Batch(
            torch.from_numpy(np.stack([c.image for c in canvases])),
            Targets(
                boxes=torch.from_numpy(np.concatenate([c.boxes for c in canvases])),
                classes=torch.from_numpy(np.concatenate([c.classes for c in canvases]).astype(np.int64)),
                outlines=torch.from_numpy(np.concatenate([c.outlines for c in canvases])),
                slots=torch.from_numpy(slots),
                unsure=torch.from_numpy(np.stack([self._unsure(c) for c in canvases])),
            ),
        )

    def _unsure(self, canvas: Canvas) -> NDArray[np.bool_]:
        """Return the places (h, w) that an unsure box touches."""
        side = canvas.image.shape[0] // self.stride
        out = np.zeros((side, side), np.bool_)
        low = np.floor(canvas.unsure[:, :2] / self.stride).clip(0, side).astype(int)
        high = np.ceil(canvas.unsure[:, 2:] / self.stride).clip(0, side).astype(int)
        for (x0, y0), (x1, y1) in zip(low, high, strict=True):
            out[y0:y1, x0:x1] = True
        return out


def _quiet_worker(_: int) -> None:
    """Let the parent decide about signals: it finishes its step and saves, for which it needs its batches."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
