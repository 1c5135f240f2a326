"""A classifier small enough for tests: random weights whose outputs vary, as a model folder."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch

from pbsbatch.models.classifier_facts import ClassifierFacts
from pbsbatch.models.folder import ClassifierFolder, write_classifier
from pbsbatch.models.taxonomy import KINDS
from pbsbatch.nets.classifier import ClassifierNet, ClassifierSize
from pbsbatch.nets.export import export_weights
from pbsbatch.train.classifier.export import calibrated_net, export_classifier
from pbsbatch.train.classifier.finish import Calibrated
from pbsbatch.train.classifier.strange import learn

FACTS = ClassifierFacts(
    name="tiny-types", version="1", kinds=KINDS, crop_mpp=0.25, crop_px=32, channels=(8, 8, 16, 16), blocks=(0, 1, 1),
    mean=(128.0, 128.0, 128.0), std=(64.0, 64.0, 64.0), sure_from=0.2, strange_from=30.0, licence="Apache-2.0",
    training_data=(("random numbers", "CC0-1.0"),), metrics={"step": 1},
)  # fmt: skip


@cache
def tiny_net() -> tuple[ClassifierNet, Calibrated]:
    torch.manual_seed(5)
    net = ClassifierNet(len(KINDS), ClassifierSize(FACTS.crop_px, FACTS.channels, FACTS.blocks)).eval()
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 2)
        net.kinds.weight.normal_(0, 0.3)
    features = np.random.default_rng(0).normal(1, 1, (200, FACTS.channels[-1]))
    return net, Calibrated(1.3, FACTS.sure_from, FACTS.strange_from, learn(features, np.arange(200) % 7))


@cache
def tiny_files() -> tuple[bytes, bytes]:
    return export_classifier(*tiny_net()), export_weights(calibrated_net(*tiny_net()))


def tiny_classifier(path: Path) -> ClassifierFolder:
    onnx, weights = tiny_files()
    return write_classifier(path, FACTS, onnx=onnx, weights=weights)
