"""What fields say of the network that is to learn from them, and canvases as torchvision takes them.

Laws. Classes are those that occur, by the data's own words. Anchors span the cells' own sizes, so that none is taught
by a box of another order. Images without cells are kept: they teach what is none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pbsbatch.datasets.samples import Sample, names_of
from pbsbatch.models.rcnn_facts import LEVELS, RcnnFacts
from pbsbatch.models.words import plain
from pbsbatch.train.batches import Batch
from pbsbatch.train.rcnn.settings import RcnnSettings
from pbsbatch.train.rcnn.shape import IMAGENET_MEAN, IMAGENET_STD
from pbsbatch_kernels.outlines import fill

__all__ = ["RATIOS", "facts_for", "images_of", "targets_of"]

RATIOS = (0.7, 1.0, 1.4)
"""Cells are rounder than what COCO shows."""
SMALL, LARGE = 10, 90
"""Percentiles of a class's sizes between which its cells usually lie."""
ROOM = 1.5
"""A tile may hold so many times more cells than the densest field."""
LEAST_DETECTIONS, LEAST_PROPOSALS = 100, 1000
PROPOSALS_PER_CELL = 2
LEAST_PX = 1.0
LEAST_SCORE = 0.05


def facts_for(settings: RcnnSettings, fields: Sequence[Sample], masks: bool) -> RcnnFacts:
    """Return the facts of a network for these fields, whose thresholds let nearly all through."""
    names = names_of(fields)
    kinds = sorted({int(k) for f in fields for k in np.unique(f.classes)})
    zoom = [settings.red_cell_px / f.red_cell_px for f in fields]
    sizes = [np.sqrt((f.boxes[:, 2:] - f.boxes[:, :2]).prod(1)) * z for f, z in zip(fields, zoom, strict=True)]
    every, classes = np.concatenate(sizes), np.concatenate([f.classes for f in fields])
    ends = [np.percentile(every[classes == k], (SMALL, LARGE)) for k in kinds]
    least, largest = min(e[0] for e in ends), max(e[1] for e in ends)
    steps = np.geomspace(least, max(largest, least + 1), LEVELS + 1)
    sides = [float(round(s, 1)) for s in steps]
    share = [len(f.boxes) / (f.size[0] * f.size[1] * z * z) for f, z in zip(fields, zoom, strict=True)]
    most = max(LEAST_DETECTIONS, 50 * math.ceil(ROOM * max(share) * settings.input_px**2 / 50))
    n = len(kinds)
    data = [(t.name or t.path, t.licence) for t in settings.data if settings.synthetic.share < 1]
    data += [("drawn smears (pbsbatch.synth)", "Apache-2.0")] if settings.synthetic.share > 0 else []
    return RcnnFacts(
        name=settings.name, version=settings.version, arch=settings.arch,
        network_classes=tuple(names[k] for k in kinds), input_px=settings.input_px, work_mpp=settings.work_mpp,
        max_cell_um=settings.max_cell_um, context_px=settings.context_px,
        anchors=tuple((sides[i], sides[i + 1]) for i in range(LEVELS)), ratios=RATIOS, mean=IMAGENET_MEAN,
        std=IMAGENET_STD, pre_nms=max(LEAST_PROPOSALS, PROPOSALS_PER_CELL * most),
        post_nms=max(LEAST_PROPOSALS, PROPOSALS_PER_CELL * most), rpn_nms_iou=0.7, thresholds=(LEAST_SCORE,) * n,
        nms_iou=(settings.nms_iou,) * n, cross_iou=settings.cross_iou, detections=min(10_000, most), masks=masks,
        norm_eps=1e-5, licence=settings.licence, training_data=tuple(dict.fromkeys(data)),
        count_as={names[k]: said for k in kinds if (said := _said(settings, names[k]))},
    )  # fmt: skip


def _said(settings: RcnnSettings, name: str) -> str | None:
    """Return what the settings say that a class is counted as."""
    return next((counted for word, counted in settings.count_as.items() if plain(word) == plain(name)), None)


def images_of(batch: Batch) -> list[Tensor]:
    """Return a batch's canvases as torchvision takes pictures: (3, S, S) from 0 to 1."""
    return list(batch.pixels.permute(0, 3, 1, 2).float() / 255)


def targets_of(batch: Batch, facts: RcnnFacts, names: Sequence[str]) -> list[dict[str, Tensor]]:
    """Return what torchvision is to find on each canvas; names are of the batch's classes.

    An unknown outline is the ellipse within the box.
    """
    side = batch.pixels.shape[1]
    label = torch.full((len(names),), -1)
    for position, name in enumerate(facts.network_classes):
        label[names.index(name)] = 1 + position
    boxes = batch.truth.boxes.clamp(0, side)
    good = ((boxes[:, 2:] - boxes[:, :2]) >= LEAST_PX).all(1) & (label[batch.truth.classes] > 0)
    out = []
    for slot in range(len(batch.pixels)):
        own = torch.nonzero(good & (batch.truth.slots == slot))[:, 0]
        target = {"boxes": boxes[own], "labels": label[batch.truth.classes[own]]}
        if facts.masks:
            target["masks"] = _masks(boxes[own], batch.truth.outlines[own], side)
        out.append(target)
    return out


def _masks(boxes: Tensor, outlines: Tensor, side: int) -> Tensor:
    """Return masks (N, S, S) of outlines, which are fractions of the ellipses."""
    shapes = torch.nan_to_num(outlines - 1.0, nan=0.0).numpy().astype(np.float32)
    windows, parts = fill(np.ascontiguousarray(boxes.numpy()), shapes, side, side)
    out = np.zeros((len(boxes), side, side), np.uint8)
    for mask, (x, y, w, h), part in zip(out, windows.tolist(), parts, strict=True):
        mask[y : y + h, x : x + w] = part
    return torch.from_numpy(out)
