"""What an engine is: fixed-shape pixels in, named raw arrays out, nothing else."""

from __future__ import annotations

import os
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pbsbatch.errors import EngineError
from pbsbatch.models.base import Raw
from pbsbatch.plan import STEP_PX

__all__ = ["DenseEngine", "Engine", "checked", "own_threads"]


class Engine(Protocol):
    """Runs a model's dense part. Law: slot i of the output depends on slot i of the input alone."""

    @property
    def name(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def lanes(self) -> int:
        """Return how many calls it runs at a time, each on a core of this process; 0: it computes on a device."""
        ...

    @property
    def device(self) -> str:
        """Return "cpu", or the name of the GPU that it runs on."""
        ...

    @property
    def notes(self) -> list[str]:
        """Return what whoever runs it should be told, in the order it came up; whoever has told it empties the list."""
        ...

    def __call__(self, pixels: NDArray[np.uint8]) -> Raw:
        """Run a batch (B, H, W, 3) of RGB pixels."""
        ...

    def close(self) -> None: ...


class DenseEngine(Engine, Protocol):
    """An engine that compiles. Laws: any thread may call it, `lanes` calls run at a time and further ones wait; after
    an error it still works.
    """

    def warm_up(self, height: int, width: int) -> None:
        """Compile for tiles of a shape before they are there."""
        ...


def checked(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a batch in one piece, or refuse one that a network cannot take."""
    shape = pixels.shape
    if pixels.dtype != np.uint8 or len(shape) != 4 or shape[3] != 3:
        raise EngineError(f"a batch is uint8 (batch, height, width, 3), not {pixels.dtype} {shape}")
    if min(shape[1:3]) < STEP_PX or shape[1] % STEP_PX or shape[2] % STEP_PX:
        raise EngineError(f"the sides of a tile are multiples of {STEP_PX} px, not {shape[1]} x {shape[2]}")
    return np.ascontiguousarray(pixels)


def own_threads() -> int:
    """Return how many threads an engine of this process may keep busy.

    OMP_NUM_THREADS says it, which a Dask worker has from whoever started it; without one, every core this process may
    use.
    """
    given = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, int(given)) if given.isdecimal() else len(os.sched_getaffinity(0))
