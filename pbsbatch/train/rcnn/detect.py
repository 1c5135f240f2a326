"""Run a two-stage network over whole fields, through the steps that runs use."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torchvision.models.detection import FasterRCNN

from pbsbatch.datasets.samples import names_of
from pbsbatch.engines.rcnn import RcnnEngine
from pbsbatch.engines.rcnn_torch import TorchParts
from pbsbatch.models.rcnn_facts import RcnnFacts
from pbsbatch.train.detect import DOUBT, Cells, inside, padded
from pbsbatch.train.fields import Loaded

__all__ = ["detect"]


def detect(net: FasterRCNN, facts: RcnnFacts, fields: Sequence[Loaded], device: torch.device) -> list[Cells]:
    """Return the cells that the network finds in fields at the working scale."""
    before = net.training
    net.eval()
    engine = RcnnEngine(TorchParts(net, facts, device), facts)
    names = names_of(fields)
    kinds = np.array([names.index(name) for name in facts.network_classes])
    found = []
    for field in fields:
        raw = engine(padded(field.pixels)[None])
        count = int(raw["count"][0, 0])
        chance = np.clip(np.asarray(raw["scores"][0, :count], np.float64), DOUBT, 1 - DOUBT)
        boxes = np.asarray(raw["boxes"][0, :count], np.float32)
        classes = kinds[np.asarray(raw["kinds"][0, :count], np.int64)]
        found.append(inside(boxes, classes, np.log(chance / (1 - chance)), field.size))
    net.train(before)
    return found
