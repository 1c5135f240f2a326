"""Through which glasses a classifier knows another laboratory's cells best: another size, the colours it was taught in.

Laws. One pair of glasses is for the whole target: a laboratory's stain and scale are what its cells share, a single
cell's colours are its own. The pair is chosen without labels, by how strange cells are to the classifier through it;
the target's own look is one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pbsbatch.train.adapt.task import Model
from pbsbatch.train.classifier.looks import USUAL, Look, look_of, redressed
from pbsbatch.train.classifier.pictures import Cell

__all__ = ["PLAIN", "Glasses", "best_glasses", "common_look"]

Image = NDArray[np.uint8]

ZOOMS = (0.7, 0.8, 0.9, 1.0, 1.12, 1.25, 1.4)
ASKED = 150
"""Cells that glasses are chosen by."""


@dataclass(frozen=True, slots=True)
class Glasses:
    """What is done to a picture before the classifier sees it."""

    zoom: float = 1.0  # so much larger
    was: Look | None = None  # the target's look, where it is changed to the usual one

    def seen(self, cell: Cell) -> Cell:
        """Return a cell as it is seen through them."""
        pixels = cell.pixels if self.was is None else redressed(cell.pixels, self.was, USUAL)
        return replace(cell, pixels=pixels, mpp=cell.mpp * self.zoom)

    def crops(self, cells: Sequence[Cell], model: Model) -> list[Image]:
        """Return the crops of cells."""
        return model.crops([self.seen(cell) for cell in cells])


PLAIN = Glasses()


def common_look(cells: Sequence[Cell]) -> Look:
    """Return the look that a laboratory's cells share: the median of each density."""
    looks = [look_of(cell.pixels, cell.mpp) for cell in cells]
    return Look(*(np.median([getattr(look, name) for look in looks], 0) for name in Look.__slots__))


def best_glasses(model: Model, cells: Sequence[Cell], seed: int = 1, zooms: Sequence[float] = ZOOMS) -> Glasses:
    """Return the glasses through which a classifier finds the cells least strange."""
    some = np.random.default_rng(seed).permutation(len(cells))[:ASKED]
    asked = [cells[i] for i in np.sort(some)]
    look = common_look(asked)
    pairs = [Glasses(zoom, was) for was in (None, look) for zoom in zooms]
    strange = [np.median(model.ordinary.of(model.look(pair.crops(asked, model))[1])) for pair in pairs]
    return pairs[int(np.argmin(strange))]
