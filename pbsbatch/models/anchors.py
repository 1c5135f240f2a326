"""The places that a torchvision detector speaks of, and what its numbers about one of them mean.

Laws. Boxes are those that torchvision decodes from the same numbers: its anchors begin at the grid's corner and are
rounded. Level k lies at stride 8 * 2**k; a side of the grid that is odd is halved upwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["ANCHOR_PX", "ASPECTS", "anchors", "boxes_of_distances", "boxes_of_shifts"]

F32 = NDArray[np.float32]

FIRST_STRIDE = 8
LONGEST = float(np.log(1000 / 16))
"""Of the logarithm of a side, in anchors."""
ANCHOR_PX: dict[str, tuple[tuple[float, ...], ...]] = {
    "fcos": tuple((8.0 * 2**k,) for k in range(5)),
    "retinanet": tuple(tuple(float(int(32 * 2**k * 2 ** (n / 3))) for n in range(3)) for k in range(5)),
}
ASPECTS = {"fcos": (1.0,), "retinanet": (0.5, 1.0, 2.0)}
"""Sides of the anchors by level, and height by width, where the model was built as it comes."""


@cache
def anchors(side: int, sizes: Sequence[Sequence[float]], aspects: Sequence[float]) -> F32:
    """Return the corners (N, 4) of every anchor of a square tile, in the order of the network's rows."""
    out, grid = [], -(-side // FIRST_STRIDE)
    for own in sizes:
        high = np.sqrt(np.array(aspects, np.float32))
        scale = np.array(own, np.float32)
        w, h = ((1 / high)[:, None] * scale).ravel(), (high[:, None] * scale).ravel()
        base = np.round(np.stack([-w, -h, w, h], 1) / 2)
        y, x = np.mgrid[0:grid, 0:grid].astype(np.float32) * np.float32(side // grid)
        shift = np.stack([x, y, x, y], -1).reshape(-1, 1, 4)
        out.append((shift + base).reshape(-1, 4))
        grid = -(-grid // 2)
    made = np.concatenate(out).astype(np.float32)
    made.flags.writeable = False
    return made


def boxes_of_distances(values: F32, places: F32) -> F32:
    """Return corners from the distances (N, 4) of the four sides to a place's centre, in anchors: FCOS."""
    centre, size = (places[:, :2] + places[:, 2:]) / 2, places[:, 2:] - places[:, :2]
    return np.concatenate([centre - values[:, :2] * size, centre + values[:, 2:] * size], axis=1)


def boxes_of_shifts(values: F32, places: F32) -> F32:
    """Return corners from shifts of the centre, in anchors, and logarithms of the sides (N, 4): RetinaNet."""
    size = places[:, 2:] - places[:, :2]
    centre = places[:, :2] + size / 2 + values[:, :2] * size
    half = np.exp(np.minimum(values[:, 2:], np.float32(LONGEST))) * size / 2
    return np.concatenate([centre - half, centre + half], axis=1)
