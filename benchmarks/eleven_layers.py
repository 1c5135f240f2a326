"""The eleven-layer network of the weak-mask study (C-R-P three times, two dense layers), taught on drawn white cells.

Small and deterministic: under a minute on one core. Its seeds are none of those that masks are measured on.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.weak_masks import MPP, cells
from pbsbatch.nets.architectures import build
from pbsbatch.nets.classifier import ClassifierSize
from pbsbatch.train.classifier.crops import plain
from pbsbatch.train.classifier.gradcam import Looker
from pbsbatch.train.classifier.pictures import Cell

__all__ = ["taught"]

SEEDS, HELD_OUT = range(3000, 3016), range(3016, 3020)
SIDE, CROP_MPP = 48, 0.5
BATCH, STEPS, RATE = 32, 500, 1e-3


def taught(steps: int = STEPS, seeds: range = SEEDS, held_out: range = HELD_OUT) -> tuple[Looker, float]:
    """Return the network as what can be asked where it looks, and its accuracy on cells that it never saw."""
    torch.manual_seed(7)
    torch.set_num_threads(1)
    rng = np.random.default_rng(7)
    crops, kinds, names = _crops(seeds)
    net = build("crp-3", len(names), ClassifierSize(SIDE))
    looker = Looker(net, SIDE, CROP_MPP, net.mean, net.std)
    optimiser, loss = torch.optim.Adam(net.parameters(), RATE), nn.CrossEntropyLoss()
    weights = 1 / np.bincount(kinds, minlength=len(names)).clip(1)[kinds]
    for _ in range(steps):
        chosen = rng.choice(len(crops), BATCH, p=weights / weights.sum())
        turned = [np.rot90(crops[i], rng.integers(4))[:: rng.choice((-1, 1))].copy() for i in chosen]
        logits, _ = net(torch.cat([looker.input(crop) for crop in turned]))
        optimiser.zero_grad()
        loss(logits, torch.from_numpy(kinds[chosen])).backward()
        optimiser.step()
    net.eval().requires_grad_(False)
    others, true, other_names = _crops(held_out)
    with torch.no_grad():
        found = [names[int(net(looker.input(crop))[0].argmax())] for crop in others]
    return looker, float(np.mean([name == other_names[k] for name, k in zip(found, true, strict=True)]))


def _crops(seeds: range) -> tuple[list[NDArray[np.uint8]], NDArray[np.int64], list[str]]:
    drawn = [(kind, plain(Cell("", "", image, MPP), SIDE, CROP_MPP)) for kind, image, _ in cells(seeds, 120)]
    names = sorted({kind for kind, _ in drawn})
    return [crop for _, crop in drawn], np.array([names.index(kind) for kind, _ in drawn]), names
