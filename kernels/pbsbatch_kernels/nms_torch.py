"""Suppress boxes of a batch of images with plain torch: the reference of nms_triton, and what it shares with it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["batched_nms_torch", "limit_of", "rank", "thresholds"]

MOST_BOXES = 4096  # of one image: nms_triton holds all of them in one program


def batched_nms_torch(
    boxes: Tensor, scores: Tensor, classes: Tensor, counts: Tensor, iou: float | Tensor, keep_at_most: int
) -> tuple[Tensor, Tensor]:
    """Return per image which boxes stay, best first, as int64 (B, K) filled up with -1, and how many, int32 (B,).

    Boxes are float32 (B, N, 4), scores float32 (B, N), classes integers (B, N); image b has counts[b] boxes, what
    lies beyond may hold anything. Law: the first K of what nms.nms keeps of these boxes. `iou` is one
    threshold or what `thresholds` returned. No step waits for the device, so the values are not looked at:
    it is the caller's to see that no score is NaN, no box inverted, and every class has its threshold.
    """
    limit = limit_of(iou)
    order, ranked, kinds, real = rank(boxes, scores, classes, counts, keep_at_most)
    n = scores.shape[1]
    limits = limit if isinstance(limit, float) else limit[kinds.long()]
    x0, y0, x1, y1 = ranked.unbind(2)
    areas, place = (x1 - x0) * (y1 - y0), torch.arange(n, device=boxes.device)
    kept = torch.full((len(boxes), keep_at_most), -1, dtype=torch.int64, device=boxes.device)
    for k in range(min(keep_at_most, n)):
        first = real.to(torch.uint8).argmax(1, keepdim=True)  # the best that is left, or 0
        some = real.gather(1, first)
        kept[:, k : k + 1] = torch.where(some, order.gather(1, first), -1)
        left, top, right, bottom, area, kind = (a.gather(1, first) for a in (x0, y0, x1, y1, areas, kinds))
        wide = (torch.minimum(x1, right) - torch.maximum(x0, left)).clamp(min=0)
        tall = (torch.minimum(y1, bottom) - torch.maximum(y0, top)).clamp(min=0)
        both = wide * tall
        beaten = (both / (areas + area - both) > limits) & (kinds == kind)
        real = real & (place > first) & ~beaten
    return kept, (kept >= 0).sum(1, dtype=torch.int32)


def rank(
    boxes: Tensor, scores: Tensor, classes: Tensor, counts: Tensor, keep_at_most: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Check the shapes; return the boxes' order, and the boxes, classes (int32) and which are real, in that order.

    Law: by score descending, then index ascending; what lies beyond an image's count comes last, with class 0.
    """
    if boxes.ndim != 3 or boxes.shape[2] != 4 or scores.shape != boxes.shape[:2] or classes.shape != scores.shape:
        shapes = f"{tuple(boxes.shape)}, {tuple(scores.shape)}, {tuple(classes.shape)}"
        raise ValueError(f"batched nms: boxes, scores and classes must be (B, N, 4), (B, N), (B, N), not {shapes}")
    if counts.shape != boxes.shape[:1]:
        raise ValueError(f"batched nms: {tuple(counts.shape)} counts for {len(boxes)} images")
    if boxes.dtype != torch.float32 or scores.dtype != torch.float32:
        raise ValueError(f"batched nms: boxes and scores must be float32, not {boxes.dtype} and {scores.dtype}")
    if any(a.is_floating_point() or a.is_complex() or a.dtype == torch.bool for a in (classes, counts)):
        raise ValueError("batched nms: classes and counts must be integers")
    if len({a.device for a in (boxes, scores, classes, counts)}) > 1:
        raise ValueError("batched nms: boxes, scores, classes and counts must be on one device")
    if boxes.shape[1] > MOST_BOXES or keep_at_most < 1:
        raise ValueError(
            f"batched nms: at most {MOST_BOXES} boxes and at least one to keep, not {boxes.shape[1]} and {keep_at_most}"
        )
    real = torch.arange(boxes.shape[1], device=boxes.device) < counts[:, None]
    order = scores.masked_fill(~real, -math.inf).sort(dim=1, descending=True, stable=True).indices
    ranked = boxes.gather(1, order[..., None].expand(-1, -1, 4))
    return order, ranked, classes.masked_fill(~real, 0).gather(1, order).to(torch.int32), real


def thresholds(iou: Sequence[float], device: torch.device | str) -> Tensor:
    """Return one threshold per class, on the device, for many calls.

    Law: each is the largest float32 not above the given number, so that a float32 IoU is above the one
    exactly if it is above the other.
    """
    return torch.tensor([limit_of(limit) for limit in iou], dtype=torch.float32, device=device)


def limit_of(iou: float | Tensor) -> float | Tensor:
    """Return the largest float32 not above one threshold; let what thresholds() returned pass."""
    if isinstance(iou, Tensor):
        if iou.ndim != 1 or iou.dtype != torch.float32:
            raise ValueError("batched nms: thresholds per class come from thresholds()")
        return iou
    if not 0.0 <= iou <= 1.0:
        raise ValueError(f"batched nms: a threshold must lie in [0, 1], not {iou}")
    near = np.float32(iou)
    return float(near if float(near) <= iou else np.nextafter(near, np.float32(0)))
