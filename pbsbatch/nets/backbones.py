"""Classifiers on the bodies of torchvision and timm: global average pooling and dense layers of 128, 32 and K.

Laws. Nothing is fetched: a body begins random or with the weights of a file. A frozen body's weights and its batch
norms' statistics stay as they are. Bodies end with their last map; what classified it is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

from torch import Tensor, nn

from pbsbatch.errors import ModelError, UsageError
from pbsbatch.nets.classifier import KindsNet
from pbsbatch.nets.rcnn_checkpoint import tensors_of

__all__ = ["OF_TIMM", "OF_TORCHVISION", "BackboneNet", "body_file", "fill_body", "least_px"]

OF_TORCHVISION = ("resnet50", "resnet101", "vgg16", "inception_v3")
OF_TIMM = ("xception", "inception_resnet_v2", "nasnetalarge")
_TIMM_NAMES = {"xception": "legacy_xception"}  # the study's network, as timm calls it since 1.0
_IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
_HALF = ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5))
"""What the published weights of torchvision and of timm expect."""
FIRST, SECOND = 128, 32
_HEADS = ("fc.", "classifier.", "AuxLogits.", "last_linear.", "classif.")
"""Layers of their files that bodies end before."""
_LEAST_PX = {"inception_v3": 80, "inception_resnet_v2": 80, "nasnetalarge": 64}
"""The smallest crop whose last map is not empty; 16 else."""


class BackboneNet(KindsNet):
    """A body, the mean over places, and two dense layers before the kinds."""

    def __init__(self, arch: str, kinds: int, crop_px: int, dropout: float = 0.0, *, frozen: bool = False) -> None:
        if crop_px < least_px(arch):
            raise UsageError(f"{arch} needs crops of {least_px(arch)} px at least, not {crop_px}")
        super().__init__(crop_px)
        body, channels = _of_timm(arch) if arch in OF_TIMM else _of_torchvision(arch)
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, FIRST), nn.ReLU(inplace=True),
            nn.Linear(FIRST, SECOND), nn.ReLU(inplace=True),
        )  # fmt: skip
        self.close(SECOND, kinds, dropout)  # before the body is there, which draws its own
        self.arch, self.frozen = arch, frozen
        self.mean, self.std = _HALF if arch in OF_TIMM else _IMAGENET
        self.body = body.requires_grad_(not frozen)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.frozen:
            self.body.eval()
        return self

    def features(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))  # type: ignore[no-any-return]

    def pooled(self, x: Tensor) -> Tensor:
        """Return the mean over places of the body's last map (B, C)."""
        return self.head[1](self.head[0](self.body(x)))  # type: ignore[no-any-return]


def least_px(arch: str) -> int:
    """Return the side of the smallest crop that a body takes."""
    return _LEAST_PX.get(arch, 32)


def fill_body(net: BackboneNet, path: Path) -> None:
    """Give a body the weights of a file as torchvision or timm name them, or of a body saved here."""
    if not path.is_file():
        raise UsageError("there is no such file", path=path, cure=_where_from(net.arch))
    tensors = {n.removeprefix("body."): t for n, t in tensors_of(path).items() if not n.startswith(_HEADS)}
    own = net.body.state_dict()
    renamed = _renamed(net.arch, tensors)
    wrong = [n for n in own if n not in renamed and not n.endswith("num_batches_tracked")]
    wrong += [n for n in own if n in renamed and renamed[n].shape != own[n].shape]
    if wrong:
        raise ModelError(
            f"its weights are not those of {net.arch}: {len(wrong)} of {len(own)} are missing or of another shape, "
            f"{wrong[0]} among them", path=path, cure=_where_from(net.arch),
        )  # fmt: skip
    net.body.load_state_dict({n: renamed.get(n, own[n]) for n in own})


def body_file(arch: str) -> str:
    """Return what torchvision calls the file of a body's weights."""
    from torchvision.models import get_model_weights

    return Path(get_model_weights(arch).IMAGENET1K_V1.url).name


def _where_from(arch: str) -> str:
    if arch in OF_TIMM:
        name = _TIMM_NAMES.get(arch, arch)
        return f"timm.create_model({name!r}, pretrained=True) fetches them where it may; torch.save its state_dict()"
    named = f"torchvision.models.get_model_weights({arch!r}).IMAGENET1K_V1.url"
    return f"Torchvision's file is {body_file(arch)}; {named} says where it lies"


def _of_torchvision(arch: str) -> tuple[nn.Module, int]:
    _need("torchvision")
    from torchvision import models

    if arch == "vgg16":
        return models.vgg16(weights=None).features, 512
    if arch == "inception_v3":
        whole = models.inception_v3(weights=None, aux_logits=False, transform_input=False, init_weights=True)
        ends: tuple[str, ...] = ("avgpool", "dropout", "fc")
    else:
        whole = {"resnet50": models.resnet50, "resnet101": models.resnet101}[arch](weights=None)
        ends = ("avgpool", "fc")
    parts = [(name, part) for name, part in whole.named_children() if name not in ends and part is not None]
    body = nn.Sequential()
    for name, part in parts:
        body.add_module(name, part)
    return body, 2048


def _renamed(arch: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors by the names of a body's layers: vgg16's file calls them features."""
    prefix = "features." if arch == "vgg16" else ""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}


def _of_timm(arch: str) -> tuple[nn.Module, int]:
    _need("timm")
    import timm

    whole: Any = timm.create_model(_TIMM_NAMES.get(arch, arch), pretrained=False, num_classes=0, global_pool="")
    for name, part in list(whole.named_modules()):
        if type(part).__name__ == "ConvNormAct":
            above, _, own = name.rpartition(".")
            setattr(whole.get_submodule(above), own, _unrolled(part))
    return whole, int(whole.num_features)


def _unrolled(part: Any) -> nn.Sequential:
    """Return timm's convolution, norm and activation in one as layers that can be traced, by the same names."""
    norm = nn.BatchNorm2d(part.bn.num_features, part.bn.eps, part.bn.momentum)
    out = nn.Sequential()
    for name, layer in (("conv", part.conv), ("bn", norm), ("act", part.bn.act)):
        out.add_module(name, layer)
    return out


def _need(package: str) -> None:
    if find_spec(package) is None:
        raise ModelError(f"this architecture needs {package}", cure='Install it with: pip install "pbsbatch[train]"')
