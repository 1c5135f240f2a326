"""A two-stage network small enough for tests: torchvision's, around a body of a few convolutions.

Importing this puts the plans `fasterrcnn-tiny` and `maskrcnn-tiny` beside those of pbsbatch.nets.rcnn. Their names stay
in this process: a run's workers take the folder's graphs, which know no plan.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN

from pbsbatch.engines.rcnn_torch import TorchParts
from pbsbatch.models.rcnn_facts import RcnnFacts
from pbsbatch.models.rcnn_folder import RcnnFolder
from pbsbatch.nets.rcnn import ARCHS, Arch, build
from pbsbatch.nets.rcnn_export import export_rcnn
from pbsbatch.testing.engines import tiles

__all__ = ["FACTS", "MASKED", "TinyBody", "folder_of", "random_net"]

CHANNELS = (16, 24, 32, 32)


class TinyBody(nn.Module):
    """Four layers as a ResNet has them, each of one convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv(3, 12)
        for number, (inp, out) in enumerate(zip((12, *CHANNELS[:3]), CHANNELS, strict=True)):
            setattr(self, f"layer{number + 1}", _conv(inp, out))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer4(self.layer3(self.layer2(self.layer1(self.stem(x)))))  # type: ignore[no-any-return, operator]


def _conv(inp: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inp, out, 3, 2, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU())


ARCHS["fasterrcnn-tiny"] = Arch(TinyBody, CHANNELS, second=False, masks=False, pyramid=24, hidden=48)
ARCHS["maskrcnn-tiny"] = Arch(TinyBody, CHANNELS, second=True, masks=True, pyramid=24, hidden=48)

FACTS = RcnnFacts(
    name="tiny", version="1", arch="fasterrcnn-tiny", network_classes=("RBC", "WBC", "Platelet"), input_px=192,
    work_mpp=0.4, max_cell_um=30.0, context_px=16, anchors=((8.0,), (16.0,), (24.0,), (40.0,), (64.0,)),
    ratios=(0.7, 1.0, 1.4), mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), pre_nms=1000, post_nms=300,
    rpn_nms_iou=0.7, thresholds=(0.3, 0.3, 0.3), nms_iou=(0.5, 0.5, 0.5), cross_iou=1.0, detections=300, masks=False,
    norm_eps=1e-5, licence="Apache-2.0", training_data=(("random numbers", "CC0-1.0"),),
)  # fmt: skip
MASKED = replace(FACTS, arch="maskrcnn-tiny", masks=True)


def random_net(facts: RcnnFacts, seed: int = 3) -> FasterRCNN:
    """Return a network whose norms and heads are random and strong, so that places differ and every part matters."""
    torch.manual_seed(seed)
    net = build(facts).eval().requires_grad_(False)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.8, 1.6)
            nn.init.normal_(module.bias, 0, 0.3)
    heads = net.roi_heads
    for head, spread in (
        (net.rpn.head.cls_logits, 0.5), (net.rpn.head.bbox_pred, 0.02), (heads.box_predictor.cls_score, 2.0),
        (heads.box_predictor.bbox_pred, 0.2),
    ):  # fmt: skip
        nn.init.normal_(head.weight, 0, spread)
    parts = TorchParts(net, facts, torch.device("cpu"))
    first = parts.first(tiles(1, (facts.input_px, facts.input_px), seed=5)[0])
    boxes = np.array([(x, y, x + 24, y + 20) for x in range(0, 160, 16) for y in range(0, 160, 16)], np.float32)
    logits, judge = torch.from_numpy(parts.judged(first, boxes)[0]), heads.box_predictor.cls_score
    judge.weight /= logits.std(0)[:, None] / 2  # no class prevails
    judge.bias.copy_(-2 * logits.mean(0) / logits.std(0))
    if facts.masks:
        nn.init.normal_(heads.mask_predictor.mask_fcn_logits.weight, 0, 1.0)
    return net


@cache
def folder_of(facts_name: str) -> RcnnFolder:
    """Return the folder of a random network: "boxes" or "masks"."""
    facts = {"boxes": FACTS, "masks": MASKED}[facts_name]
    room = Path(tempfile.mkdtemp(prefix="pbsbatch-rcnn-"))
    atexit.register(shutil.rmtree, room, ignore_errors=True)
    return export_rcnn(random_net(facts), facts, room / "model")
