"""A detector small enough for tests: random weights whose outputs vary, as a network and as a model folder."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

from pbsbatch.models.facts import DetectorFacts
from pbsbatch.models.folder import ModelFolder, write_folder
from pbsbatch.nets.detector import DetectorNet, NetSize
from pbsbatch.nets.export import export_onnx, export_weights, quantise_onnx
from pbsbatch.testing.engines import tiles

FACTS = DetectorFacts(
    name="tiny", version="1", classes=("RBC", "WBC", "Platelet"), work_mpp=0.25, max_cell_um=25.0, context_px=40,
    stride=4, channels=(8, 8, 16, 16), head_channels=16, blocks=(1, 1, 1), mean=(210.0, 190.0, 205.0),
    std=(40.0, 50.0, 40.0), thresholds=(0.5, 0.5, 0.4), calibration=((1.0, 0.0), (1.1, -0.2), (0.9, 0.1)),
    nms_iou=0.55, cross_iou=0.75, licence="Apache-2.0", training_data=(("random numbers", "CC0-1.0"),),
    metrics={"ap50": 0.1},
)  # fmt: skip


def tiny_net(seed: int = 0, stride: int = 4) -> DetectorNet:
    """Return a network whose norms and heads are random, so that folding and every output matter."""
    torch.manual_seed(seed)
    net = DetectorNet(3, NetSize(FACTS.channels, FACTS.head_channels, FACTS.blocks, stride)).eval()
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 2)
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.3)
        for head in (net.scores, net.boxes, net.outlines):
            head.weight.normal_(0, 0.1)
    return net


@cache
def tiny_onnx() -> bytes:
    return export_onnx(tiny_net(), FACTS.mean, FACTS.std)


@cache
def tiny_weights() -> bytes:
    return export_weights(tiny_net())


@cache
def tiny_int8() -> bytes:
    return quantise_onnx(export_onnx(tiny_net(), FACTS.mean, FACTS.std, half=False), tiles(12, (64, 96), seed=7))


def tiny_folder(path: Path, *, int8: bool = False) -> ModelFolder:
    return write_folder(path, FACTS, onnx=tiny_onnx(), weights=tiny_weights(), int8=tiny_int8() if int8 else None)
