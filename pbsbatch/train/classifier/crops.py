"""Cut the crop that the classifier sees: a cell in its middle, at the classifier's own scale.

Laws. A crop depends on the seed and its number alone, whichever process makes it. A plain crop changes nothing but
the scale; a taught one looks as if another laboratory had stained the cell, another scanner seen it and the detector
found it a little beside its middle.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from pbsbatch.train.classifier.augment_study import apply
from pbsbatch.train.classifier.looks import Look, drawn_look, look_of, redressed
from pbsbatch.train.classifier.pictures import Cell
from pbsbatch.train.stain import restain, worsen

__all__ = ["Cutter", "StudyCutter", "eased", "plain"]

Image = NDArray[np.uint8]

ZOOM = 1.25
"""Cells are up to so much larger or smaller: scales are estimated, and dried cells spread."""
STRETCH = 0.04
JITTER_UM = 1.5
"""The detector's box lies up to so far beside the cell's middle, along either axis."""
CUT_SHARE, CUT_UM = 0.35, (8.0, 13.0)
"""So often something else begins at such a distance: another cell, or the end of the slide."""
NOTHING = 0.3
"""Share of cuts behind which there is nothing."""
DRESSED = 0.85
"""Share of crops that take on colours of another laboratory."""
BLURRED, BLUR_UM = 0.6, 0.55
"""Share of crops that are seen through a softer lens, and the most of its blur: other laboratories' cells are three
to four times as soft as those of the analyser that the pictures are from."""


def eased(cells: Sequence[Cell], mpp: float) -> list[Cell]:
    """Return cells with no more pixels than crops of a scale need: those left out would come back as noise."""
    return [cell if cell.mpp * ZOOM >= mpp else _coarser(cell, cell.mpp * ZOOM / mpp) for cell in cells]


def _coarser(cell: Cell, zoom: float) -> Cell:
    height, width = (max(1, round(length * zoom)) for length in cell.pixels.shape[:2])
    pixels = np.asarray(cv2.resize(cell.pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    return replace(cell, pixels=pixels, mpp=cell.mpp / zoom)


@dataclass(frozen=True)
class Cutter:
    """Makes taught crops of cells, each as often as its weight says."""

    cells: Sequence[Cell]
    weights: NDArray[np.float64]  # one per cell, sum 1
    side: int
    mpp: float
    strength: float = 1.0  # the most that a stain is changed by; most crops are changed far less

    def cut(self, seed: int, number: int) -> tuple[Image, int]:
        """Return one crop and which cell it shows."""
        rng = np.random.default_rng((seed, number))
        which = self._draw(rng)
        crop = self._seen(self.cells[which], rng, JITTER_UM)
        if rng.random() < CUT_SHARE:
            self._cut_off(crop, rng)
        crop = self._dressed(crop, self._looks[which], rng)
        return worsen(_blurred(restain(crop, rng, rng.random()), rng, self.mpp), rng), which

    @cached_property
    def _looks(self) -> list[Look]:
        return [look_of(cell.pixels, cell.mpp) for cell in self.cells]

    def _dressed(self, crop: Image, was: Look, rng: np.random.Generator) -> Image:
        """Return a crop on its way to another laboratory."""
        if rng.random() >= DRESSED:
            return crop
        return redressed(crop, was, was.between(drawn_look(rng), min(1.0, self.strength * rng.random() ** 0.5)))

    def _draw(self, rng: np.random.Generator) -> int:
        return int(rng.choice(len(self.cells), p=self.weights))

    def _seen(self, cell: Cell, rng: np.random.Generator, jitter_um: float) -> Image:
        """Return a cell turned, mirrored, scaled and moved."""
        zoom = self.mpp / cell.mpp * math.exp(rng.triangular(-1, 0, 1) * math.log(ZOOM))
        angle = rng.uniform(0, 2 * math.pi)
        stretch = math.exp(rng.normal(0, STRETCH))
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        square = zoom * turn @ np.diag([stretch, 1 / stretch]) @ np.diag([rng.choice((-1, 1)), 1])
        height, width = cell.pixels.shape[:2]
        middle = np.array([width - 1, height - 1]) / 2 + rng.uniform(-jitter_um, jitter_um, 2) / cell.mpp
        start = middle - square @ np.full(2, (self.side - 1) / 2)
        return np.asarray(cv2.warpAffine(
            cell.pixels, np.hstack([square, start[:, None]]), (self.side, self.side),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REFLECT_101,
        ), np.uint8)  # fmt: skip

    def _cut_off(self, crop: Image, rng: np.random.Generator) -> None:
        """Put something else behind a line that passes the cell."""
        angle, far = rng.uniform(0, 2 * math.pi), rng.uniform(*CUT_UM) / self.mpp
        at = np.arange(self.side) - (self.side - 1) / 2
        behind = at[None, :] * math.cos(angle) + at[:, None] * math.sin(angle) > far
        if rng.random() < NOTHING:
            crop[behind] = rng.choice((0, 255))
        else:
            other = self._seen(self.cells[self._draw(rng)], rng, 0.0)
            moved = round(far + rng.uniform(0.2, 0.6) * self.side)
            shift = np.array([[1, 0, moved * math.cos(angle)], [0, 1, moved * math.sin(angle)]])
            beside = cv2.warpAffine(other, shift, (self.side, self.side), borderMode=cv2.BORDER_REFLECT_101)
            crop[behind] = beside[behind]


def _blurred(crop: Image, rng: np.random.Generator, mpp: float) -> Image:
    if rng.random() >= BLURRED:
        return crop
    return np.asarray(cv2.GaussianBlur(crop, (0, 0), max(0.2, rng.random() * BLUR_UM / mpp)), np.uint8)


@dataclass(frozen=True)
class StudyCutter:
    """Makes crops as the studies do: each cell once in an epoch, in an order of its own, then the switches.

    weights: draw cells by them instead.
    """

    crops: Sequence[Image]
    vector: Sequence[str]
    weights: NDArray[np.float64] | None = None

    def cut(self, seed: int, number: int) -> tuple[Image, int]:
        """Return one crop and which cell it shows."""
        if self.weights is not None:
            which = int(np.random.default_rng((seed, number)).choice(len(self.crops), p=self.weights))
        else:
            epoch, at = divmod(number, len(self.crops))
            which = int(_order(seed, epoch, len(self.crops))[at])
        return apply(self.vector, self.crops[which][None], seed, number)[0], which


@lru_cache(2)
def _order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, epoch)).permutation(count)


def plain(cell: Cell, side: int, mpp: float) -> Image:
    """Return a cell as it is, at the classifier's scale."""
    height, width = (max(1, round(length * cell.mpp / mpp)) for length in cell.pixels.shape[:2])
    smaller = cv2.resize(
        cell.pixels, (width, height), interpolation=cv2.INTER_AREA if cell.mpp < mpp else cv2.INTER_LINEAR
    )
    room = [max(0, side - length) for length in (height, width)]
    if any(room):
        edges = [(r // 2, r - r // 2) for r in room]
        smaller = np.pad(smaller, [*edges, (0, 0)], mode="symmetric")
    top, left = ((length - side) // 2 for length in smaller.shape[:2])
    return np.ascontiguousarray(smaller[top : top + side, left : left + side], np.uint8)
