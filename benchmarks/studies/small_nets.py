"""Two-stage networks small enough to be taught without a GPU, beside torchvision's."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from pbsbatch.nets.rcnn import Arch

__all__ = ["SMALL"]

CHANNELS = (32, 64, 96, 128)


class SmallBody(nn.Module):
    """A residual network of four layers, narrow enough to be taught without a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 24, 3, 2, 1, bias=False), nn.BatchNorm2d(24), nn.ReLU())
        for number, (inp, out) in enumerate(zip((24, *CHANNELS[:3]), CHANNELS, strict=True)):
            shorter = nn.Sequential(nn.Conv2d(inp, out, 1, 2, bias=False), nn.BatchNorm2d(out))
            layer = nn.Sequential(BasicBlock(inp, out, 2, shorter), BasicBlock(out, out))
            setattr(self, f"layer{number + 1}", layer)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for number in range(len(CHANNELS)):
            x = getattr(self, f"layer{number + 1}")(x)
        return x


SMALL = {
    "fasterrcnn-small": Arch(SmallBody, CHANNELS, second=False, masks=False, pyramid=64, hidden=256),
    "maskrcnn-small": Arch(SmallBody, CHANNELS, second=False, masks=True, pyramid=64, hidden=256),
}
"""By name; who uses them puts them beside pbsbatch.nets.rcnn.ARCHS."""
