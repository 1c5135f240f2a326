"""Small classifiers of the studies: stacks of convolution, ReLU and pooling, and a narrow one with batch norms.

Law: features are what the last but one dense layer gives, after its ReLU.
"""

from __future__ import annotations

from torch import Tensor, nn

from pbsbatch.nets.classifier import KindsNet

__all__ = ["CrpNet", "MicrocellNet"]

WIDTHS = (32, 64, 128, 256)
DENSE, EXTRA = 128, 64
MICRO = (16, 32, 64, 96, 128)


class _UnitNet(KindsNet):
    """Pixels go from 0 to 1, as in the studies."""

    mean = (0.0, 0.0, 0.0)
    std = (255.0, 255.0, 255.0)


class CrpNet(_UnitNet):
    """Two, three or four stacks (C-R-P), flattened, two dense layers or three: CRP-CRP-F-FC-FC and its kin."""

    def __init__(self, kinds: int, crop_px: int, stacks: int, extra: bool, dropout: float = 0.0) -> None:
        super().__init__(crop_px)
        layers: list[nn.Module] = []
        for inp, out in zip((3, *WIDTHS), WIDTHS[:stacks], strict=False):
            layers += [nn.Conv2d(inp, out, 3, 1, 1), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
        self.stacks = nn.Sequential(*layers)
        dense: list[nn.Module] = [nn.Flatten(), nn.Linear(WIDTHS[stacks - 1] * (crop_px >> stacks) ** 2, DENSE)]
        dense += [nn.ReLU(inplace=True)]
        if extra:
            dense += [nn.Linear(DENSE, EXTRA), nn.ReLU(inplace=True)]
        self.dense = nn.Sequential(*dense)
        self.close(EXTRA if extra else DENSE, kinds, dropout)

    def features(self, x: Tensor) -> Tensor:
        return self.dense(self.stacks(x))  # type: ignore[no-any-return]


class MicrocellNet(_UnitNet):
    """Five narrow convolutions with batch norm, four poolings, the mean over places and a dense layer.

    Made in the manner of Microcell-Net, not after its table of layers.
    """

    def __init__(self, kinds: int, crop_px: int, dropout: float = 0.0) -> None:
        super().__init__(crop_px)
        layers: list[nn.Module] = []
        for i, (inp, out) in enumerate(zip((3, *MICRO), MICRO, strict=False)):
            layers += [nn.Conv2d(inp, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)]
            layers += [nn.MaxPool2d(2)] if i < len(MICRO) - 1 else []
        self.stacks = nn.Sequential(*layers)
        self.dense = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(MICRO[-1], EXTRA), nn.ReLU(inplace=True)
        )
        self.close(EXTRA, kinds, dropout)

    def features(self, x: Tensor) -> Tensor:
        return self.dense(self.stacks(x))  # type: ignore[no-any-return]
