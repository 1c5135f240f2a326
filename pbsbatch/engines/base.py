"""What an engine is: fixed-shape pixels in, named raw arrays out, nothing else."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pbsbatch.models.base import Raw

__all__ = ["Engine"]


class Engine(Protocol):
    """Runs a model's dense part. Law: slot i of the output depends on slot i of the input alone."""

    @property
    def name(self) -> str: ...
    @property
    def precision(self) -> str: ...

    def __call__(self, pixels: NDArray[np.uint8]) -> Raw:
        """Run a batch (B, H, W, 3) of RGB pixels."""
        ...

    def close(self) -> None: ...
