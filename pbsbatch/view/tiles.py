"""Where the tiles of a slide lie. Pure.

Level k has one pixel for 2**k by 2**k level-0 pixels; a negative k enlarges. A tile has SIDE pixels of its level on
each side. Law: the tiles of a level cover the slide, and each point of it lies in one of them.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DEEPEST", "SIDE", "Grid", "Place"]

SIDE = 512
DEEPEST = -4
"""The finest level of tiles of cells: 32 level-0 px on a side."""


@dataclass(frozen=True, slots=True)
class Place:
    """A tile of a slide: its box in level-0 pixels, which may reach beyond the slide."""

    level: int
    column: int
    row: int

    @property
    def side(self) -> int:
        """Return the side in level-0 pixels."""
        return SIDE << self.level if self.level >= 0 else SIDE >> -self.level

    @property
    def x(self) -> int:
        """Return the left border."""
        return self.column * self.side

    @property
    def y(self) -> int:
        """Return the upper border."""
        return self.row * self.side


@dataclass(frozen=True, slots=True)
class Grid:
    """The tiles of one slide."""

    width: int  # level-0 px
    height: int

    @property
    def coarsest(self) -> int:
        """Return the level at which one tile holds the whole slide."""
        return max(0, (max(self.width, self.height) - 1) // SIDE).bit_length()

    def tile(self, level: int, column: int, row: int) -> Place | None:
        """Return a tile, or None where there is none."""
        if not DEEPEST <= level <= self.coarsest or min(column, row) < 0:
            return None
        place = Place(level, column, row)
        return place if place.x < self.width and place.y < self.height else None

    def shape(self, level: int) -> tuple[int, int]:
        """Return how many rows and columns of tiles a level has."""
        side = Place(level, 0, 0).side
        return -(-self.height // side), -(-self.width // side)
