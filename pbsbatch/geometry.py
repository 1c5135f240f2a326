"""Boxes, levels, tiles and the ownership law. Pure integers; no I/O.

Two pixel grids occur. Level-0 pixels are the slide's own. Work pixels are the grid that a model
sees: work pixel i covers the level-0 interval [i * scale, (i + 1) * scale), so the grid is locked
to the slide's origin and never to a tile's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Box", "Level", "Tile"]


@dataclass(frozen=True, slots=True, order=True)
class Box:
    """A half-open rectangle [x, x + w) x [y, y + h) on an integer grid."""

    x: int
    y: int
    w: int
    h: int

    def __post_init__(self) -> None:
        if self.w < 0 or self.h < 0:
            raise ValueError(f"a box cannot have a negative size: {self}")

    @property
    def x1(self) -> int:
        return self.x + self.w

    @property
    def y1(self) -> int:
        return self.y + self.h

    @property
    def area(self) -> int:
        return self.w * self.h

    @classmethod
    def between(cls, x0: int, y0: int, x1: int, y1: int) -> Box:
        """Return the box from one corner to the other; empty where they cross."""
        return cls(x0, y0, max(0, x1 - x0), max(0, y1 - y0))

    def intersect(self, other: Box) -> Box:
        """Return the common part, empty (zero area) where there is none."""
        x0, y0 = max(self.x, other.x), max(self.y, other.y)
        return Box.between(x0, y0, min(self.x1, other.x1), min(self.y1, other.y1))

    def grow(self, margin: int) -> Box:
        """Return the box with a margin added on all four sides."""
        return Box(self.x - margin, self.y - margin, self.w + 2 * margin, self.h + 2 * margin)

    def contains(self, other: Box) -> bool:
        """Say whether other lies wholly inside."""
        return self.x <= other.x and self.y <= other.y and other.x1 <= self.x1 and other.y1 <= self.y1


@dataclass(frozen=True, slots=True)
class Level:
    """One resolution of a slide. downsample is level-0 pixels per pixel of this level, exact."""

    index: int
    width: int
    height: int
    downsample: float


@dataclass(frozen=True, slots=True)
class Tile:
    """What is read and what is owned, in work pixels.

    Law: the cores of a plan's tiles cover its region of interest, and no point lies in two cores.
    """

    index: int
    row: int
    col: int
    read: Box
    core: Box

    def owns(self, points: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Return, for points (N, 2) as (x, y) in work pixels, which lie in the half-open core."""
        x, y = points[:, 0], points[:, 1]
        inside: NDArray[np.bool_] = (x >= self.core.x) & (x < self.core.x1) & (y >= self.core.y) & (y < self.core.y1)
        return inside
