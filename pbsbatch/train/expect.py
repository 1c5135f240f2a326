"""Where a cell's border is expected before its pixels are looked at, from its box and those of its neighbours.

Laws. A box inside the picture holds an ellipse. A box at the picture's border holds what the border left of
one, as round as a cell is; so the expected outline fills the corners there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pbsbatch.datasets.outlines import centre_and_half, directions
from pbsbatch.datasets.samples import RED

__all__ = ["expected_outlines", "free_reach", "rivals", "whole_boxes"]

Floats = NDArray[np.float32]

EDGE_PX = 2.0
"""A box so near the picture's border belongs to a cell that the border cuts."""
OVER_BOX = 1.06
"""How far a border may lie outside its box."""
WINDOW = 1.4
"""A cell is no rival further than this from its centre, in halves of its box."""


def whole_boxes(boxes: Floats, classes: NDArray[np.uint8], size: tuple[int, int], red_cell_px: float) -> Floats:
    """Return the boxes (N, 4) that the cells would have if the picture's border did not cut them."""
    out = boxes.copy()
    low = boxes[:, :2] <= EDGE_PX
    high = boxes[:, 2:] >= np.array(size, np.float32) - EDGE_PX
    cut = low | high
    sides = boxes[:, 2:] - boxes[:, :2]
    corner = cut.all(1)
    for axis in (0, 1):
        depth, chord = sides[:, axis], sides[:, 1 - axis]
        across = np.where(depth < chord / 2, depth + chord**2 / (4 * depth), chord)  # a circle's, from its segment
        usual = np.where(classes == RED, red_cell_px, 0.0)
        across = np.where(corner, np.maximum(sides.max(1), usual), across)
        across = np.maximum(across, depth)
        only_low, only_high = low[:, axis] & ~high[:, axis], high[:, axis] & ~low[:, axis]
        out[:, axis] = np.where(only_low, boxes[:, 2 + axis] - across, boxes[:, axis])
        out[:, 2 + axis] = np.where(only_high, boxes[:, axis] + across, boxes[:, 2 + axis])
    return out


def expected_outlines(boxes: Floats, whole: Floats) -> Floats:
    """Return the outlines (N, RAYS) of the whole cells' ellipses cut to the boxes."""
    centre, half = centre_and_half(boxes)
    middle, radius = centre_and_half(whole)
    start = ((centre - middle) / radius)[:, None]
    way = (half / radius)[:, None] * directions()
    a, b, c = (way**2).sum(2), (start * way).sum(2), (start**2).sum(2) - 1.0
    root = (np.sqrt(np.maximum(b * b - a * c, 0.0)) - b) / a
    side = OVER_BOX / np.abs(directions()).max(1)
    return np.asarray(np.clip(root, 0.3, side), np.float32)


def free_reach(boxes: Floats, size: tuple[int, int]) -> Floats:
    """Return how far (N, RAYS) each ray goes until it leaves the picture, in units of an outline."""
    centre, half = centre_and_half(boxes)
    way = half[:, None] * directions()
    room = np.where(way > 0, np.array(size, np.float32) - centre[:, None], -centre[:, None])
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = np.where(np.abs(way) > 1e-6, room / way, np.inf)
    return np.asarray(reach.min(2), np.float32)


def rivals(
    points: Floats, whole: Floats, small: NDArray[np.bool_], size: tuple[int, int], claim: float, step: int
) -> NDArray[np.bool_]:
    """Return which points (N, ..., 2) of each cell lie nearer to another cell's centre, both in halves of their boxes.

    Nearer is less than `claim` of the own distance; the other's is looked up in steps of so many pixels. Small cells
    lie on others: only another small one is their rival.
    """
    width, height = -(-size[0] // step), -(-size[1] // step)
    nearest = np.full((2, height, width), np.inf, np.float32)
    second = nearest.copy()
    owner = np.full((2, height, width), -1, np.int32)
    for i, box in enumerate(whole / np.float32(step)):
        for layer in (0, 1) if small[i] else (0,):
            _enter(nearest[layer], second[layer], owner[layer], box, i)
    place = (points / np.float32(step)).astype(np.int32)
    column, row = np.clip(place[..., 0], 0, width - 1), np.clip(place[..., 1], 0, height - 1)
    shape = (-1,) + (1,) * (points.ndim - 2)
    plane = small.astype(np.int32).reshape(shape)
    mine = owner[plane, row, column] == np.arange(len(whole)).reshape(shape)
    other = np.where(mine, second[plane, row, column], nearest[plane, row, column])
    middle, half = centre_and_half(whole)
    wide = (*shape, 2)
    own = np.sqrt((((points - middle.reshape(wide)) / half.reshape(wide)) ** 2).sum(-1))
    return np.asarray(other < claim * own)


def _enter(nearest: Floats, second: Floats, owner: NDArray[np.int32], box: Floats, index: int) -> None:
    """Enter a cell's distances into the maps of the nearest and second nearest cell."""
    middle, half = centre_and_half(box)
    first = np.floor(middle - WINDOW * half).astype(int).clip(0)
    last = np.ceil(middle + WINDOW * half).astype(int).clip(0)
    window = np.s_[first[1] : last[1], first[0] : last[0]]
    near, next_, who = nearest[window], second[window], owner[window]
    x = ((np.arange(near.shape[1]) + first[0] + 0.5 - middle[0]) / half[0]).astype(np.float32)
    y = ((np.arange(near.shape[0]) + first[1] + 0.5 - middle[1]) / half[1]).astype(np.float32)
    distance = np.sqrt(x[None] ** 2 + y[:, None] ** 2)
    wins = distance < near
    next_[...] = np.where(wins, near, np.minimum(next_, distance))
    near[wins] = distance[wins]
    who[wins] = index
