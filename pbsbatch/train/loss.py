"""What a wrong score, box and outline cost."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pbsbatch.train.assign import assign, decode_boxes, places

__all__ = ["Losses", "Targets", "detector_loss"]

OUTLINE_WEIGHT = 2.0
"""Of an outline's loss beside a score's."""


@dataclass(frozen=True, slots=True)
class Targets:
    """The cells of a batch, one behind the other."""

    boxes: Tensor  # (N, 4) pixels
    classes: Tensor  # (N,) int64
    outlines: Tensor  # (N, RAYS) as fractions of the ellipse within the box; NaN where unknown
    slots: Tensor  # (N,) int64: whose image
    unsure: Tensor  # (B, h, w) bool on the grid: nothing is taught to be background there


@dataclass(frozen=True, slots=True)
class Losses:
    """The parts of a batch's loss; total is what is minimised."""

    total: Tensor
    score: Tensor
    box: Tensor
    outline: Tensor


def detector_loss(
    output: tuple[Tensor, Tensor, Tensor], truth: Targets, stride: int, box_weight: float = 5.0
) -> Losses:
    """Return the loss of raw network output."""
    batch, _, height, width = output[0].shape
    scores, raw_boxes, outlines = (t.permute(0, 2, 3, 1).flatten(0, 2).float() for t in output)
    centres = places(height, width, stride, scores.device).repeat(batch, 1)
    boxes = decode_boxes(raw_boxes, centres, stride)
    found = assign(
        scores.detach().sigmoid(), boxes.detach(), (height, width), stride, truth.boxes, truth.classes, truth.slots
    )
    place, cell, weight = found.place, found.cell, found.score
    wanted = torch.zeros_like(scores)
    wanted[place, truth.classes[cell]] = weight
    norm = weight.sum().clamp(min=1.0)
    taught = ~truth.unsure.flatten()
    taught[place] = True
    each = F.binary_cross_entropy_with_logits(scores, wanted, reduction="none").sum(-1)
    score_loss = (each * taught).sum() / norm
    box_loss = (_ciou_loss(boxes[place], truth.boxes[cell]) * weight).sum() / norm
    outline_loss = _outline_loss(outlines[place] + 1.0, truth.outlines[cell], weight)
    total = score_loss + box_weight * box_loss + OUTLINE_WEIGHT * outline_loss
    return Losses(total, score_loss.detach(), box_loss.detach(), outline_loss.detach())


def _outline_loss(found: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    """Return the mean distance between outlines, over the cells whose outline is known."""
    known = ~wanted[:, :1].isnan().any(-1)
    miss = (found - wanted.nan_to_num(1.0)).abs().mean(-1)
    return (miss * weight * known).sum() / (weight * known).sum().clamp(min=1.0)


def _ciou_loss(a: Tensor, b: Tensor) -> Tensor:
    """Return 1 - complete IoU: overlap, distance of the centres and difference of the aspect."""
    low, high = torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:])
    both = (high - low).clamp(min=0).prod(-1)
    size_a, size_b = (a[:, 2:] - a[:, :2]).clamp(min=1e-3), (b[:, 2:] - b[:, :2]).clamp(min=1e-3)
    iou = both / (size_a.prod(-1) + size_b.prod(-1) - both).clamp(min=1e-6)
    hull = torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])
    apart = ((a[:, :2] + a[:, 2:] - b[:, :2] - b[:, 2:]) ** 2).sum(-1) / 4
    angle = torch.atan(size_b[:, 0] / size_b[:, 1]) - torch.atan(size_a[:, 0] / size_a[:, 1])
    aspect = (4 / torch.pi**2) * angle**2
    with torch.no_grad():
        trade = aspect / (1 - iou + aspect + 1e-6)
    return 1 - iou + apart / (hull**2).sum(-1).clamp(min=1e-6) + trade * aspect
