"""The exponential moving average of a network's weights, which is what is judged and shipped."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

__all__ = ["Ema"]

Net = TypeVar("Net", bound=nn.Module)


class Ema(Generic[Net]):
    """A second network that follows the first one slowly, and quickly while training begins."""

    def __init__(self, net: Net, decay: float) -> None:
        self.net = copy.deepcopy(net).eval().requires_grad_(False)
        self.decay = decay
        pairs = list(zip(self.net.state_dict().values(), net.state_dict().values(), strict=True))
        self._weights = [(a, b) for a, b in pairs if a.dtype.is_floating_point]
        self._counts = [(a, b) for a, b in pairs if not a.dtype.is_floating_point]

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Move towards the network after its step number `step`."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for mean, now in self._weights:
            mean.lerp_(now, 1 - decay)
        for mean, now in self._counts:
            mean.copy_(now)
