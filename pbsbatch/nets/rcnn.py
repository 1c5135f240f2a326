"""torchvision's two-stage detectors, and the parts of them that engines run one by one.

Law: a part shares the weights of the network that it is cut from, and gives what that network computes inside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn
from torchvision.models import ResNet, resnet50, resnet101
from torchvision.models.detection import FasterRCNN, MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from pbsbatch.errors import ModelError
from pbsbatch.models.rcnn_facts import RcnnFacts
from pbsbatch.models.rcnn_folder import BOX_BINS

__all__ = ["ARCHS", "Arch", "BoxNet", "FeaturesNet", "MaskNet", "arch_of", "build", "thawed"]

RETURNED = {"layer1": "0", "layer2": "1", "layer3": "2", "layer4": "3"}


@dataclass(frozen=True, slots=True)
class Arch:
    """A network's plan. second: torchvision's `_v2` heads; a body has layer1 to layer4, at strides 4 to 32."""

    body: Callable[[], nn.Module]
    channels: tuple[int, int, int, int]  # of the body's layers
    second: bool
    masks: bool
    pyramid: int = 256  # channels of the maps
    hidden: int = 1024  # of the head that judges boxes


def _r50() -> ResNet:
    return resnet50(weights=None)


def _r101() -> ResNet:
    return resnet101(weights=None)


_WIDE = (256, 512, 1024, 2048)
ARCHS: dict[str, Arch] = {
    "fasterrcnn-r50-fpn": Arch(_r50, _WIDE, second=False, masks=False),
    "fasterrcnn-r50-fpn-v2": Arch(_r50, _WIDE, second=True, masks=False),
    "maskrcnn-r50-fpn-v2": Arch(_r50, _WIDE, second=True, masks=True),
    "maskrcnn-r101-fpn": Arch(_r101, _WIDE, second=False, masks=True),
}
"""By name: torchvision's builders, and its ResNet-101 by the same plan. Tests put a tiny one beside them."""


def arch_of(name: str) -> Arch:
    """Return a plan by its name."""
    if name not in ARCHS:
        raise ModelError(f"there is no architecture {name!r}", cure=f"Those that exist: {', '.join(ARCHS)}")
    return ARCHS[name]


def build(facts: RcnnFacts) -> FasterRCNN:
    """Return torchvision's network as the facts describe it, with random weights; it takes tiles as they are."""
    arch, classes = arch_of(facts.arch), len(facts.network_classes) + 1
    norm = nn.BatchNorm2d if arch.second else None
    body = arch.body()
    for module in body.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = facts.norm_eps
    backbone = BackboneWithFPN(
        body, RETURNED, list(arch.channels), arch.pyramid, extra_blocks=LastLevelMaxPool(), norm_layer=norm
    )
    anchors = AnchorGenerator(facts.anchors, (facts.ratios,) * len(facts.anchors))
    settings = {
        "rpn_anchor_generator": anchors, "min_size": facts.input_px, "max_size": facts.input_px,
        "image_mean": [m / 255 for m in facts.mean], "image_std": [s / 255 for s in facts.std],
        "rpn_head": RPNHead(arch.pyramid, anchors.num_anchors_per_location()[0], conv_depth=2 if arch.second else 1),
        "rpn_pre_nms_top_n_test": facts.pre_nms, "rpn_post_nms_top_n_test": facts.post_nms,
        "rpn_nms_thresh": facts.rpn_nms_iou, "box_score_thresh": min(facts.thresholds),
        "box_nms_thresh": max(facts.nms_iou), "box_detections_per_img": facts.detections,
        "box_head": _box_head(arch), "box_predictor": FastRCNNPredictor(arch.hidden, classes),
    }  # fmt: skip
    if not arch.masks:
        return FasterRCNN(backbone, **settings)
    return MaskRCNN(
        backbone, **settings, mask_head=MaskRCNNHeads(arch.pyramid, [arch.pyramid] * 4, 1, norm_layer=norm),
        mask_predictor=MaskRCNNPredictor(arch.pyramid, arch.pyramid, classes),
    )  # fmt: skip


def _box_head(arch: Arch) -> nn.Module:
    if arch.second:
        cut = (arch.pyramid, BOX_BINS, BOX_BINS)
        second: nn.Module = FastRCNNConvFCHead(cut, [arch.pyramid] * 4, [arch.hidden], norm_layer=nn.BatchNorm2d)
        return second
    first: nn.Module = TwoMLPHead(arch.pyramid * BOX_BINS**2, arch.hidden)
    return first


def thawed(module: nn.Module) -> nn.Module:
    """Replace every frozen batch norm by a batch norm of the same numbers, in place."""
    for name, child in module.named_children():
        if isinstance(child, FrozenBatchNorm2d):
            norm = nn.BatchNorm2d(len(child.weight), eps=child.eps)
            norm.load_state_dict(child.state_dict(), strict=False)
            setattr(module, name, norm.eval())
        else:
            thawed(child)
    return module


class FeaturesNet(nn.Module):
    """The first stage: normalised pixels in, maps and what each grid proposes out, channels last.

    Sides must be multiples of 32: then each map is twice as large as the next one, and enlarging needs no sizes.
    """

    def __init__(self, net: FasterRCNN) -> None:
        super().__init__()
        self.body = net.backbone.body
        self.sides = nn.ModuleList(net.backbone.fpn.inner_blocks)
        self.mixes = nn.ModuleList(net.backbone.fpn.layer_blocks)
        self.up, self.last = nn.Upsample(scale_factor=2.0, mode="nearest"), nn.MaxPool2d(1, 2, 0)
        self.conv = net.rpn.head.conv
        self.objectness, self.moves = net.rpn.head.cls_logits, net.rpn.head.bbox_pred

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        seen = self.body(x)
        layers = [seen[name] for name in RETURNED.values()]
        merged = [self.sides[3](layers[3])]
        for level in (2, 1, 0):
            merged.insert(0, self.sides[level](layers[level]) + self.up(merged[0]))
        maps = [mix(one) for mix, one in zip(self.mixes, merged, strict=True)]
        grids = [self.conv(one) for one in (*maps, self.last(maps[3]))]
        outputs = [*maps, *(self.objectness(one) for one in grids), *(self.moves(one) for one in grids)]
        return tuple(one.permute(0, 2, 3, 1) for one in outputs)


class BoxNet(nn.Module):
    """The second stage: cut boxes (N, 7, 7, C) in, logits (N, 1 + classes) and moves (N, 4 * (1 + classes)) out."""

    def __init__(self, net: FasterRCNN) -> None:
        super().__init__()
        head = net.roi_heads.box_head
        if isinstance(head, TwoMLPHead):
            head = nn.Sequential(nn.Flatten(), head.fc6, nn.ReLU(), head.fc7, nn.ReLU())
        self.head = head
        self.logits, self.moves = net.roi_heads.box_predictor.cls_score, net.roi_heads.box_predictor.bbox_pred

    def forward(self, cut: Tensor) -> tuple[Tensor, Tensor]:
        x = self.head(cut.permute(0, 3, 1, 2))
        return self.logits(x), self.moves(x)


class MaskNet(nn.Module):
    """The mask branch: cut boxes (N, 14, 14, C) in, logits of masks (N, 1 + classes, 28, 28) out."""

    def __init__(self, net: MaskRCNN) -> None:
        super().__init__()
        self.head, self.masks = net.roi_heads.mask_head, net.roi_heads.mask_predictor

    def forward(self, cut: Tensor) -> tuple[Tensor]:
        return (self.masks(self.head(cut.permute(0, 3, 1, 2))),)
