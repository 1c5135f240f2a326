"""The labelled pictures that composites are made of, as an index: pixels are decoded when a piece of them is drawn.

Laws. A picture with a bad record is left out, as in training, and named. Memory follows the labels, not the pictures.
Balanced draws take every class equally often; others take every picture, or every cell, equally often.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pbsbatch.datasets.pixels import glass
from pbsbatch.datasets.readers import DataError, DataSet, Problems, fields, read_folders
from pbsbatch.datasets.readers.fields import cut_box, picture
from pbsbatch.datasets.readers.problems import RecordError
from pbsbatch.datasets.samples import BORDER_PX, CLASSES, RED, decode, red_cell_diameter
from pbsbatch.models.words import class_of_word

__all__ = ["Item", "Source", "load_source"]

Image = NDArray[np.uint8]

MARGIN = 0.15
"""A single cell is cut out with so much of its sides around it."""
APART = 0.78
"""Other boxes keep so far from its middle, in radii of the ellipse that is cut out: that is the cell's own."""


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One labelled picture."""

    path: Path
    name: str
    size: tuple[int, int]  # width, height
    boxes: NDArray[np.float32]  # (N, 4)
    classes: NDArray[np.int64]  # (N,) index into Source.classes
    red_cell_px: float  # NaN where nothing tells it

    @property
    def pixels(self) -> Image:
        """Return the picture (H, W, 3) RGB."""
        return _decoded(self.path)[0]

    @property
    def glass(self) -> NDArray[np.uint8]:
        """Return the colour of its glass."""
        return _decoded(self.path)[1]


@lru_cache(maxsize=16)
def _decoded(path: Path) -> tuple[Image, NDArray[np.uint8]]:
    pixels = decode(path.read_bytes())
    if pixels is None:
        raise DataError("the picture cannot be decoded any more", path=path, cure="Compose again from whole files")
    pixels.flags.writeable = False
    return pixels, glass(pixels)


@dataclass(frozen=True, eq=False)
class Source:
    """Labelled pictures and how they are drawn."""

    classes: tuple[str, ...]
    items: Sequence[Item]
    left_out: tuple[str, ...] = ()  # what is wrong with the pictures that are not here

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Return how many cells each class has."""
        return np.bincount(np.concatenate([i.classes for i in self.items]), minlength=len(self.classes))

    @cached_property
    def single(self) -> NDArray[np.int64]:
        """Return (K, 2) item and row of the cells that can be cut out: whole, and away from the others."""
        return np.array([(k, row) for k, item in enumerate(self.items) for row in _alone(item)], np.int64).reshape(
            -1, 2
        )

    def draw_item(self, rng: np.random.Generator, balance: bool) -> int:
        """Return which picture is taken."""
        weights = self._item_weights if balance else None
        return int(rng.choice(len(self.items), p=weights))

    def draw_cell(self, rng: np.random.Generator, balance: bool) -> tuple[int, int]:
        """Return which picture and cell of it is taken."""
        item, row = self.single[int(rng.choice(len(self.single), p=self._cell_weights if balance else None))]
        return int(item), int(row)

    @cached_property
    def _item_weights(self) -> NDArray[np.float64]:
        share = 1.0 / np.maximum(self.counts, 1)
        weights = np.array([share[item.classes].sum() for item in self.items])
        return np.asarray(weights / weights.sum(), np.float64)

    @cached_property
    def _cell_weights(self) -> NDArray[np.float64]:
        kinds = np.array([self.items[k].classes[row] for k, row in self.single], np.int64)
        weights = 1.0 / np.bincount(kinds, minlength=len(self.classes))[kinds]
        return np.asarray(weights / weights.sum(), np.float64)


def _alone(item: Item) -> NDArray[np.int64]:
    """Return the rows of cells that the picture's border does not cut, and whose ellipse no other box reaches into."""
    cut = with_margin(item.boxes)
    inside = (cut[:, :2] >= 0).all(1) & (cut[:, 2:] <= np.array(item.size, np.float32)).all(1)
    centre, half = (cut[:, None, :2] + cut[:, None, 2:]) / 2, (cut[:, None, 2:] - cut[:, None, :2]) / 2
    nearest = np.clip(centre, item.boxes[None, :, :2], item.boxes[None, :, 2:])  # point of every other box
    touch = (((nearest - centre) / half) ** 2).sum(axis=2) < APART**2
    np.fill_diagonal(touch, False)
    whole = np.all(item.boxes[:, 2:] - item.boxes[:, :2] > BORDER_PX, axis=1)
    return np.flatnonzero(inside & whole & ~touch.any(axis=1))


def with_margin(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return boxes with the margin that single cells are cut out with."""
    side = (boxes[:, 2:] - boxes[:, :2]) * MARGIN
    return np.concatenate([boxes[:, :2] - side, boxes[:, 2:] + side], 1)


def load_source(sets: Sequence[DataSet]) -> Source:
    """Return the pictures with at least one cell; a picture of a class folder is one cell, from border to border."""
    problems = Problems()
    names: dict[str, int] = {}
    items = [item for data in sets for item in (_folder if data.format == "folder" else _fields)(data, problems, names)]
    items = [item for item in items if len(item.boxes)]
    bad = tuple(str(p) for p in problems.found)
    if not items:
        raise DataError("no picture with a usable cell", path=sets[0].root, cure=bad[0] if bad else "Label some cells")
    known = [i.red_cell_px for i in items if np.isfinite(i.red_cell_px)]
    if known:  # as training does within a source: a field of few red cells takes the others' median
        middle = float(np.median(known))
        items = [i if np.isfinite(i.red_cell_px) else replace(i, red_cell_px=middle) for i in items]
    return Source(tuple(names), items, bad)


def _fields(data: DataSet, problems: Problems, names: dict[str, int]) -> list[Item]:
    found = []
    for field in fields(data, problems):
        with problems.field(field.labels):
            marks = [(cut_box(c, field.size, field.labels, problems), c.name) for c in field.cells]
            kept = [(box, name) for box, name in marks if box is not None]
            boxes = np.array([box for box, _ in kept], np.float32).reshape(-1, 4)
            kinds = np.array([names.setdefault(name, len(names)) for _, name in kept], np.int64)
            red = np.array([class_of_word(name) == CLASSES[RED] for _, name in kept], np.bool_)
            measured = red_cell_diameter(boxes, np.where(red, RED, RED + 1).astype(np.uint8), field.size)
            px = measured if np.isfinite(measured) else data.red_cell_px
            found.append(Item(field.image, field.name, field.size, boxes, kinds, px))
    return found


def _folder(data: DataSet, problems: Problems, names: dict[str, int]) -> list[Item]:
    found = []
    for cell in read_folders(data.root):
        with problems.field(cell.path):
            _, size = picture(cell.path)
            if min(size) < 4:
                raise RecordError(f"{size[0]}x{size[1]} pixels are no cell", "Take it away")
            kind = np.array([names.setdefault(cell.kind, len(names))], np.int64)
            box = np.array([[0, 0, *size]], np.float32)
            found.append(Item(cell.path, f"{cell.kind}/{cell.path.stem}", size, box, kind, data.red_cell_px))
    return found
