"""Feed the classifier: crops made by other processes, gathered into tensors.

Law: batch n of a run depends on the seed and n alone, whichever process makes it and wherever the run began.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pbsbatch.train.batches import _Numbers, _quiet_worker

__all__ = ["Batch", "Cuts", "batches"]


class Cuts(Protocol):
    """What makes the crops that a network is taught on."""

    def cut(self, seed: int, number: int) -> tuple[NDArray[np.uint8], int]:
        """Return one crop and which cell it shows: by seed and number alone."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Some crops and what they may be."""

    pixels: Tensor  # (B, S, S, 3) uint8
    kinds: Tensor  # (B, K) bool

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        return Batch(self.pixels.to(device), self.kinds.to(device))


def batches(
    cutter: Cuts, kinds: NDArray[np.bool_], seed: int, size: int, *, first: int = 0, loaders: int = 0
) -> Iterator[Batch]:
    """Yield batches without end, the first of them number `first`."""
    cv2.setNumThreads(1)  # before the fork: a loader would wait for OpenCV's threads, which do not live on in it
    numbers = (list(range(n * size, (n + 1) * size)) for n in count(first))
    yield from DataLoader(
        _Crops(cutter, seed), batch_sampler=_Numbers(numbers), collate_fn=_Gather(kinds), num_workers=loaders,
        prefetch_factor=4 if loaders else None, worker_init_fn=_quiet_worker,
        multiprocessing_context="fork" if loaders else None,  # the pictures are shared, not copied
    )  # fmt: skip


class _Crops(Dataset[tuple[NDArray[np.uint8], int]]):
    def __init__(self, cutter: Cuts, seed: int) -> None:
        self.cutter, self.seed = cutter, seed

    def __getitem__(self, number: int) -> tuple[NDArray[np.uint8], int]:
        return self.cutter.cut(self.seed, number)


@dataclass(frozen=True, slots=True)
class _Gather:
    """Crops into a batch."""

    kinds: NDArray[np.bool_]

    def __call__(self, crops: Sequence[tuple[NDArray[np.uint8], int]]) -> Batch:
        pixels, which = zip(*crops, strict=True)
        return Batch(torch.from_numpy(np.stack(pixels)), torch.from_numpy(self.kinds[list(which)]))
