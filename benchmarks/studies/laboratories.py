"""Laboratories for the study of adaptation: cells of pbc, and the same cells under a made stain, scale and lens.

Laws. No group of pictures (of one cell, or of overlapping ones) is in two parts: not what adapts and what judges, nor
what taught the shipped classifier and either. A made laboratory changes optical densities linearly, beyond what the
shipped classifier was taught to bear.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.studies.classifiers import thinned
from pbsbatch.train.classifier.crops import eased
from pbsbatch.train.classifier.pictures import Cell, Split, by_groups, read_all, some_cells
from pbsbatch.train.classifier.settings import Settings, read_settings
from pbsbatch.train.stain import densities, of_densities

__all__ = ["Parts", "Shift", "few_of", "parts_of", "unnamed"]


@dataclass(frozen=True)
class Shift:
    """A made laboratory."""

    name: str
    density: Sequence[Sequence[float]]  # (3, 3): its densities of red, green, blue from those at home
    glass: Sequence[float]  # density of its glass
    zoom: float = 1.0  # it says so many times too many um per pixel
    blur_um: float = 0.0

    def of(self, split: Split) -> Split:
        """Return cells as this laboratory has them."""
        return Split([self._of(cell) for cell in split.cells])

    def _of(self, cell: Cell) -> Cell:
        pixels = of_densities(densities(cell.pixels), np.array(self.density), np.array(self.glass))
        if self.blur_um:
            pixels = np.asarray(cv2.GaussianBlur(pixels, (0, 0), self.blur_um / cell.mpp), np.uint8)
        return replace(cell, pixels=pixels, mpp=cell.mpp * self.zoom)


@dataclass(frozen=True)
class Parts:
    """Cells of pbc by what they are for."""

    one: Split  # taught the shipped classifier; half of its groups
    other: Split  # the other half
    guard: Split
    learn: Split  # held out by the shipped training: what is adapted to
    judge: Split  # held out, too


def parts_of(settings: Mapping[str, Any], data: Path) -> Parts:
    """Return the parts; settings: `first`, so many cells of all, for a smoke run; `most`, cells in a half of one."""
    with resources.as_file(resources.files("pbsbatch.train") / "configs") as folder:
        base = read_settings(folder / "classifier.toml")
    if settings.get("first"):
        return Parts(*(Split(part) for part in _dealt(base, data, settings["first"])))
    cells, groups = read_all(base, data)
    odd = {cell.name for cell, number in zip(cells, groups.of.tolist(), strict=True) if number % 2}
    dealt = by_groups(base, cells, groups)
    halves = [
        thinned(Split(eased([c for c in dealt[part] if (c.name in odd) is which], base.crop_mpp)), settings["most"])
        for part in ("train", "hold-out") for which in (False, True)
    ]  # fmt: skip
    one, other, learn, judge = (Split(half) for half in halves)
    guard = thinned(Split(eased(dealt["calibration"], base.crop_mpp)), settings["most"])
    return Parts(one, other, Split(guard), learn, judge)


def _dealt(base: Settings, data: Path, first: int) -> Iterator[list[Cell]]:
    cells = eased(some_cells(base, data, first), base.crop_mpp)
    kinds = len({cell.label for cell in cells})
    for part in range(5):
        yield [cell for i, cell in enumerate(cells) if i // kinds % 5 == part]


def few_of(split: Split, each: int, seed: int) -> tuple[list[Cell], Split]:
    """Return a split's cells without labels, and so many of each type with them, which are taken from it."""
    order = np.random.default_rng(seed).permutation(len(split.cells))
    types = split.types[order]
    nth = np.array([int((types[:i] == t).sum()) for i, t in enumerate(types)])
    known = {int(i) for i in order[nth < each]}
    return unnamed([c for i, c in enumerate(split.cells) if i not in known]), Split([split.cells[i] for i in known])


def unnamed(cells: Sequence[Cell]) -> list[Cell]:
    """Return cells without their labels."""
    return [replace(cell, label="") for cell in cells]
