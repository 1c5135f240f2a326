"""The cell classifier: a crop with one cell in its middle in; a logit for each kind of cell, and what led to it, out.

Laws. Plain convolutions with ReLU and batch norm that folds away: an engine may quantise them. A crop is whole, so
what is found in it is pooled; under a window that falls towards its border, for the neighbours are not asked about.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pbsbatch.nets.detector import _Conv, _stage

__all__ = ["STRIDE", "CalibratedNet", "ClassifierNet", "ClassifierSize", "KindsNet"]

STRIDE = 16
"""Of the pooled map: a crop's side is a multiple of it."""
Colour = tuple[float, float, float]
_REACH = 0.6
"""The window's standard deviation in halves of the side."""


@dataclass(frozen=True, slots=True)
class ClassifierSize:
    """What decides the cost: side of the crop, channels at strides 2, 4, 8, 16; blocks at 4, 8, 16."""

    crop_px: int = 96
    channels: tuple[int, int, int, int] = (16, 40, 72, 112)
    blocks: tuple[int, int, int] = (1, 1, 2)

    def __post_init__(self) -> None:
        if self.crop_px < STRIDE or self.crop_px % STRIDE:
            raise ValueError(f"the side of a crop must be a multiple of {STRIDE}, not {self.crop_px}")
        if min(self.channels) < 1 or min(self.blocks) < 0:
            raise ValueError("a network needs at least one channel everywhere and no negative number of blocks")


class KindsNet(nn.Module):
    """Return logits (B, K) and the features (B, F) that they are a line of, of normalised pixels (B, 3, S, S).

    What training, export and engines ask of any classifier's network. Say `features`; `mean` and `std` of RGB bytes
    are those that its pixels are to be normalised by.
    """

    mean: Colour = (128.0, 128.0, 128.0)
    std: Colour = (64.0, 64.0, 64.0)

    drop: nn.Dropout
    kinds: nn.Linear

    def __init__(self, crop_px: int) -> None:
        super().__init__()
        self.crop_px = crop_px

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(x)
        return self.kinds(self.drop(features)), features

    def features(self, x: Tensor) -> Tensor:
        """Return what the last layer reads. Training runs that layer in float32."""
        raise NotImplementedError

    def close(self, features: int, kinds: int, dropout: float) -> None:
        """Add the last layer, which begins by knowing nothing, and draw the weights of all that ReLUs follow.

        It comes last, so that a seed goes on giving the shipped network the weights that it always gave.
        """
        self.drop = nn.Dropout(dropout)
        self.kinds = nn.Linear(features, kinds)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear) and module is not self.kinds:
                dense = isinstance(module, nn.Linear)
                nn.init.kaiming_normal_(module.weight, mode="fan_in" if dense else "fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.kinds.weight, std=0.01)
        nn.init.zeros_(self.kinds.bias)


class ClassifierNet(KindsNet):
    """The shipped network."""

    window: Tensor

    def __init__(self, kinds: int, size: ClassifierSize, dropout: float = 0.0) -> None:
        c2, c4, c8, c16 = size.channels
        super().__init__(size.crop_px)
        self.stem = _Conv(3, c2, 3, 2)
        self.stage4 = _stage(c2, c4, size.blocks[0])
        self.stage8 = _stage(c4, c8, size.blocks[1])
        self.stage16 = _stage(c8, c16, size.blocks[2])
        self.register_buffer("window", _window(size.crop_px // STRIDE), persistent=False)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flat = nn.Flatten()
        self.close(c16, kinds, dropout)

    def features(self, x: Tensor) -> Tensor:
        found = self.stage16(self.stage8(self.stage4(self.stem(x))))
        return self.flat(self.pool(found * self.window))  # type: ignore[no-any-return]


class CalibratedNet(nn.Module):
    """Return logits (B, K), whose softmax is calibrated, and strangeness (B) of normalised pixels (B, 3, S, S).

    Strangeness is the distance of the features from the nearest type's mean, once both are whitened.
    """

    whiten: Tensor
    means: Tensor

    def __init__(self, net: KindsNet, types: int) -> None:
        super().__init__()
        features = net.kinds.in_features
        self.net = net
        self.register_buffer("whiten", torch.zeros(features, features))
        self.register_buffer("means", torch.zeros(types, features))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits, features = self.net(x)
        off = (features @ self.whiten)[:, None] - self.means
        return logits, off.square().sum(2).amin(1).sqrt()


def _window(side: int) -> Tensor:
    """Return weights (1, 1, side, side) of mean 1, largest in the middle."""
    at = (torch.arange(side) + 0.5) * (2 / side) - 1
    line = torch.exp(-0.5 * (at / _REACH) ** 2)
    window = line[:, None] * line[None, :]
    return (window / window.mean())[None, None]
