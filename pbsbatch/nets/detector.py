"""The dense detector: pixels in; a score, a box and an outline for every place of a coarse grid out.

Laws. No global operation: what a place says depends on pixels within the receptive field alone. Plain
convolutions with ReLU and batch norm that folds away: an engine may quantise them. Nothing but
convolutions, sums and nearest enlargement, so that every runtime has them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["RAYS", "DetectorNet", "NetSize", "Served"]

RAYS = 32
"""Directions of an outline."""
_PRIOR = 0.01
"""Score that every place begins training with: most places hold no cell."""


@dataclass(frozen=True, slots=True)
class NetSize:
    """What decides the cost: channels at strides 2, 4, 8, 16, of the head; blocks at 4, 8, 16; the grid's stride."""

    channels: tuple[int, int, int, int] = (16, 32, 64, 128)
    head: int = 64
    blocks: tuple[int, int, int] = (1, 2, 3)
    stride: int = 4

    def __post_init__(self) -> None:
        if self.stride not in (4, 8):
            raise ValueError(f"the stride is 4 or 8, not {self.stride}")
        if min(*self.channels, self.head) < 1 or min(self.blocks) < 0:
            raise ValueError("a network needs at least one channel everywhere and no negative number of blocks")


class _Conv(nn.Sequential):
    """Convolution, batch norm, ReLU."""

    def __init__(self, inp: int, out: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inp, out, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)
        )


class _Block(nn.Module):
    """Two convolutions around a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _Conv(channels, channels)
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels))
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x + self.second(self.first(x)))  # type: ignore[no-any-return]


def _stage(inp: int, out: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(_Conv(inp, out, 3, 2), *(_Block(out) for _ in range(blocks)))


class DetectorNet(nn.Module):
    """Return scores (B, C, h, w) as logits, boxes (B, 4, h, w) and outlines (B, RAYS, h, w) of normalised pixels.

    Boxes are centre offset in strides and log size in strides; outlines are the distance of the border from
    the box's centre along each direction, less that of the ellipse within the box.
    """

    def __init__(self, classes: int, size: NetSize) -> None:
        super().__init__()
        c2, c4, c8, c16 = size.channels
        self.size = size
        self.stem = _Conv(3, c2, 3, 2)
        self.stage4 = _stage(c2, c4, size.blocks[0])
        self.stage8 = _stage(c4, c8, size.blocks[1])
        self.stage16 = _stage(c8, c16, size.blocks[2])
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.top16 = _Conv(c16, size.head, 1)
        self.side8 = _Conv(c8, size.head, 1)
        self.mix8 = _Conv(size.head, size.head)
        if size.stride == 4:
            self.side4 = _Conv(c4, size.head, 1)
            self.mix4 = _Conv(size.head, size.head)
        self.kind = _Conv(size.head, size.head)
        self.place = _Conv(size.head, size.head)
        self.scores = nn.Conv2d(size.head, classes, 1)
        self.boxes = nn.Conv2d(size.head, 4, 1)
        self.outlines = nn.Conv2d(size.head, RAYS, 1)
        self._begin()

    def _begin(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        for head in (self.scores, self.boxes, self.outlines):
            nn.init.normal_(head.weight, std=0.01)
            assert head.bias is not None
            nn.init.zeros_(head.bias)
        assert self.scores.bias is not None and self.boxes.bias is not None
        nn.init.constant_(self.scores.bias, float(torch.logit(torch.tensor(_PRIOR))))
        nn.init.constant_(self.boxes.bias[2:], float(torch.log(torch.tensor(28.0 / self.size.stride))))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.heads(*self.features(x))

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the heads read: one map for the kind of cell, one for its place."""
        at4 = self.stage4(self.stem(x))
        at8 = self.stage8(at4)
        at16 = self.stage16(at8)
        y = self.mix8(self.up(self.top16(at16)) + self.side8(at8))
        if self.size.stride == 4:
            y = self.mix4(self.up(y) + self.side4(at4))
        return self.kind(y), self.place(y)

    def heads(self, kind: Tensor, place: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the outputs. Training runs them in float32: eight bits of mantissa blur a box by a pixel."""
        return self.scores(kind), self.boxes(place), self.outlines(place)


class Served(nn.Module):
    """A network as engines run it: RGB bytes (B, H, W, 3) in, its float outputs out, normalisation folded in."""

    scale: Tensor
    shift: Tensor

    def __init__(self, net: nn.Module, mean: tuple[float, float, float], std: tuple[float, float, float]) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("scale", (1.0 / torch.tensor(std)).view(1, 3, 1, 1))
        self.register_buffer("shift", (-torch.tensor(mean) / torch.tensor(std)).view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        x = pixels.permute(0, 3, 1, 2).to(self.scale.dtype) * self.scale + self.shift
        return self.net(x)  # type: ignore[no-any-return]
