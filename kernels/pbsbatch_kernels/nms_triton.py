"""Suppress boxes of a batch of images on the GPU: one program per image, and nothing waits for the host."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from pbsbatch_kernels.nms_torch import limit_of, rank

__all__ = ["OPTIONS", "batched_nms_gpu"]

OPTIONS = {"num_warps": 8, "enable_fp_fusion": False}
"""A fused multiply-add rounds once where the CPU rounds twice."""


def batched_nms_gpu(
    boxes: Tensor, scores: Tensor, classes: Tensor, counts: Tensor, iou: float | Tensor, keep_at_most: int
) -> tuple[Tensor, Tensor]:
    """Return per image which boxes stay, best first, as int64 (B, K) filled up with -1, and how many, int32 (B,).

    Law: the same as batched_nms_torch, bit by bit, for any input.
    """
    limit = limit_of(iou)
    order, ranked, kinds, _ = rank(boxes, scores, classes, counts, keep_at_most)
    if not boxes.is_cuda and isinstance(suppress, triton.JITFunction):
        raise ValueError(f"batched nms: boxes on {boxes.device}; batched_nms_torch works there")
    images, n = scores.shape
    kept = torch.full((images, keep_at_most), -1, dtype=torch.int64, device=boxes.device)
    many = torch.zeros(images, dtype=torch.int32, device=boxes.device)
    if images and n:
        each = isinstance(limit, Tensor)
        block = triton.next_power_of_2(n)
        suppress[(images,)](
            ranked, order, kinds, counts.contiguous(), limit if each else ranked, 0.0 if each else limit, kept, many,
            n, keep_at_most, EACH=each, BLOCK=block, **OPTIONS,
        )  # fmt: skip
    return kept, many


@triton.jit
def suppress(  # type: ignore[no-untyped-def]
    boxes, order, kinds, counts, limits, limit, kept, many, n, keep_at_most, EACH: tl.constexpr, BLOCK: tl.constexpr
):
    """Hold one image's boxes, best first, in registers; take the best that is left until none is."""
    image = tl.program_id(0).to(tl.int64)
    place = tl.arange(0, BLOCK)
    boxes += image * n * 4
    order += image * n
    kinds += image * n
    kept += image * keep_at_most
    alive = place < tl.minimum(tl.load(counts + image), n)
    x0 = tl.load(boxes + place * 4, mask=alive, other=0.0)
    y0 = tl.load(boxes + place * 4 + 1, mask=alive, other=0.0)
    x1 = tl.load(boxes + place * 4 + 2, mask=alive, other=0.0)
    y1 = tl.load(boxes + place * 4 + 3, mask=alive, other=0.0)
    kind = tl.load(kinds + place, mask=alive, other=0)
    areas = (x1 - x0) * (y1 - y0)
    first = tl.min(tl.where(alive, place, BLOCK))
    k = 0
    while (first < BLOCK) & (k < keep_at_most):
        tl.store(kept + k, tl.load(order + first))
        left, top = tl.load(boxes + first * 4), tl.load(boxes + first * 4 + 1)
        right, bottom = tl.load(boxes + first * 4 + 2), tl.load(boxes + first * 4 + 3)
        mine = tl.load(kinds + first)
        if EACH:
            limit = tl.load(limits + mine)
        wide = tl.maximum(tl.minimum(x1, right) - tl.maximum(x0, left), 0.0)
        tall = tl.maximum(tl.minimum(y1, bottom) - tl.maximum(y0, top), 0.0)
        both = wide * tall
        # `/` is an approximation on the GPU, off by 2 ulp
        iou = tl.div_rn(both, areas + (right - left) * (bottom - top) - both)
        alive = alive & (place > first) & ~((iou > limit) & (kind == mine))
        first = tl.min(tl.where(alive, place, BLOCK))
        k += 1
    tl.store(many + image, k)
