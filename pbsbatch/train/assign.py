"""Decide which place of the grid answers for which cell, and what it should say.

Laws. A place answers for one cell at most. Of the places inside a cell those answer that already score and
fit best (task-aligned assignment), each to be taught a score as good as its fit, the best of them the cell's
best fit. Work grows with the cells' area, not with cells times places.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Assigned", "assign", "box_iou", "decode_boxes", "places"]

TOP = 9
"""Places per cell."""
FIT_POWER = 6.0
"""How much more a place's fit weighs in the choice than its score."""
MIN_REACH = 0.75
"""Places within so many strides of a cell's centre may answer for it even when they lie outside a small box."""


@dataclass(frozen=True, slots=True)
class Assigned:
    """The places that answer for a cell: place = slot * places per slot + place in it; score is what to teach."""

    place: Tensor  # (K,) int64
    cell: Tensor  # (K,) int64
    score: Tensor  # (K,) float32


def places(height: int, width: int, stride: int, device: torch.device) -> Tensor:
    """Return the centres (P, 2) of the grid's places in pixels, row by row."""
    y, x = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij")
    return (torch.stack([x, y], -1).reshape(-1, 2).float() + 0.5) * stride


def decode_boxes(raw: Tensor, centres: Tensor, stride: int) -> Tensor:
    """Return boxes (..., P, 4) x0 y0 x1 y1 from raw (..., P, 4): centre offset and log size, both in strides."""
    middle = centres + raw[..., :2] * stride
    half = raw[..., 2:].clamp(-4.0, 5.0).exp() * (stride / 2)
    return torch.cat([middle - half, middle + half], -1)


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """Return the IoU of boxes that broadcast against each other over all but the last axis."""
    low = torch.maximum(a[..., :2], b[..., :2])
    high = torch.minimum(a[..., 2:], b[..., 2:])
    both = (high - low).clamp(min=0).prod(-1)
    area = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1)
    return both / (area - both).clamp(min=1e-6)


@torch.no_grad()
def assign(
    scores: Tensor, boxes: Tensor, grid: tuple[int, int], stride: int, cells: Tensor, classes: Tensor, slots: Tensor
) -> Assigned:
    """Assign the places of a batch to cells.

    scores (B * P, C) are probabilities, boxes (B * P, 4) what the places say now; cells (N, 4), classes (N,) and
    slots (N,) are the truth.
    """
    cell, place = _inside(grid, stride, cells, slots)
    fit = box_iou(cells[cell], boxes[place])
    merit = scores[place, classes[cell]].clamp(min=1e-9) * fit**FIT_POWER + 1e-12
    chosen = _rank(merit, cell) < TOP
    cell, place, fit, merit = cell[chosen], place[chosen], fit[chosen], merit[chosen]
    best = torch.full((len(scores),), -1.0, device=fit.device).scatter_reduce_(0, place, fit, "amax")
    wins = fit == best[place]
    owner = torch.full((len(scores),), -1, dtype=torch.long, device=fit.device)
    owner.scatter_reduce_(0, place[wins], cell[wins], "amax")  # two cells that fit alike: the later one
    wins &= owner[place] == cell
    cell, place, fit, merit = cell[wins], place[wins], fit[wins], merit[wins]
    top_merit = torch.zeros(len(cells), device=fit.device).scatter_reduce_(0, cell, merit, "amax")
    top_fit = torch.zeros(len(cells), device=fit.device).scatter_reduce_(0, cell, fit, "amax")
    return Assigned(place, cell, merit / top_merit[cell] * top_fit[cell])


def _inside(grid: tuple[int, int], stride: int, cells: Tensor, slots: Tensor) -> tuple[Tensor, Tensor]:
    """Return every pair of a cell and a place inside it, sorted by cell."""
    height, width = grid
    middle = (cells[:, :2] + cells[:, 2:]) / 2
    half = ((cells[:, 2:] - cells[:, :2]) / 2).clamp(min=MIN_REACH * stride)
    limit = torch.tensor([width, height], device=cells.device)
    first = ((middle - half) / stride - 0.5).ceil().long().clamp(min=0)
    last = torch.minimum(((middle + half) / stride - 0.5).floor().long() + 1, limit)
    span = (last - first).clamp(min=0)
    count = span.prod(-1)
    cell = torch.repeat_interleave(torch.arange(len(cells), device=cells.device), count)
    nth = torch.arange(len(cell), device=cells.device) - (count.cumsum(0) - count)[cell]
    x = first[cell, 0] + nth % span[cell, 0]
    y = first[cell, 1] + nth // span[cell, 0]
    return cell, slots[cell] * (height * width) + y * width + x


def _rank(merit: Tensor, group: Tensor) -> Tensor:
    """Return each entry's place in its group by falling merit; the groups are sorted."""
    order = merit.argsort(descending=True, stable=True)
    order = order[group[order].argsort(stable=True)]
    rank = torch.empty_like(order)
    start = torch.searchsorted(group, group, right=False)
    rank[order] = torch.arange(len(order), device=order.device)
    return rank - start
