"""One composite: its pixels, region by region, and its cells, site by site.

Laws. A region's pixels depend on spec, source and number, not on how the canvas is cut into regions. A box is that of
the whole cell, cut by the canvas's and its piece's edge. A cell of which a smaller share than `keep` can be seen (cut
off, or covered by later pieces), or that is cut at all where the edge rule is `drop`, is no cell: what is left of it
is a crowd.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from pbsbatch.datasets.compose.layout import Layer, Part, touches
from pbsbatch.datasets.compose.source import Item, Source
from pbsbatch.datasets.compose.spec import ComposeSpec
from pbsbatch.datasets.pixels import clipped, resized
from pbsbatch.models.scale import RED_CELL_UM

__all__ = ["Composite", "Placed"]

Image = NDArray[np.uint8]
F32 = NDArray[np.float32]

MIN_SIDE_PX = 2.0
"""A box must keep so much of each side."""
POINTS = 24
"""A cell that may be covered is looked at in so many rows and columns of points."""
WHOLE = 0.999
GAIN = (0.5, 2.0)
"""Glass is made no darker and no brighter than by this."""
SEEN = (0.8, 0.94)
"""A single cell is seen wholly up to here and fades out to there, in radii of its piece's ellipse."""
LIGHT = (0.3, 0.7)
"""How much of a mixup is its first composite."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A cell on the canvas."""

    kind: int
    box: tuple[float, float, float, float]
    scale: float  # canvas pixels per pixel of its picture
    red_cell_px: float  # on the canvas; NaN where the data does not tell
    source: str  # the picture's name
    light: float  # below 1 in a mixup
    crowd: bool  # what is left of a cell that is none


@dataclass(frozen=True, eq=False)
class Composite:
    """A canvas with known cells."""

    spec: ComposeSpec
    source: Source
    number: int

    @property
    def width(self) -> int:
        """Return the canvas's width."""
        return self.spec.width

    @property
    def height(self) -> int:
        """Return the canvas's height."""
        return self.spec.height

    @property
    def mpp(self) -> float | None:
        """Return um per pixel where a red cell has one size everywhere."""
        return RED_CELL_UM / (self.spec.diameter * self.spec.scales[0]) if self.spec.one_scale else None

    @cached_property
    def layers(self) -> tuple[tuple[Layer, float], ...]:
        """Return the layers and how much of each is seen."""
        rng = np.random.default_rng((self.spec.seed, self.number))
        mosaic, mixed, light = rng.random() < self.spec.mosaic, rng.random() < self.spec.mixup, rng.uniform(*LIGHT)
        lights = (light, 1 - light) if mixed else (1.0,)
        return tuple((Layer(self.spec, self.source, self.number, k, mosaic), s) for k, s in enumerate(lights))

    @cached_property
    def paper(self) -> NDArray[np.uint8]:
        """Return the colour where no piece lies."""
        if self.spec.background == "blank":
            return np.full(3, 255, np.uint8)
        rng = np.random.default_rng((self.spec.seed, self.number, 1))
        return self.source.items[self.source.draw_item(rng, balance=False)].glass

    def render(self, x: int, y: int, w: int, h: int) -> Image:
        """Return the pixels (h, w, 3) RGB of a region."""
        seen = [self._layer(layer, x, y, w, h) for layer, _ in self.layers]
        if len(seen) == 1:
            return seen[0]
        light = self.layers[0][1]
        return np.asarray(cv2.addWeighted(seen[0], light, seen[1], 1 - light, 0.0), np.uint8)

    def _layer(self, layer: Layer, x: int, y: int, w: int, h: int) -> Image:
        out = np.empty((h, w, 3), np.uint8)
        out[:] = self.paper
        for part in layer.parts_near(x, y, w, h):
            self._draw(part, out, x, y)
        return out

    def _draw(self, part: Part, out: Image, x: int, y: int) -> None:
        """Draw what a region shows of a piece."""
        px, py, pw, ph = part.place
        x0, y0 = max(px, x), max(py, y)
        x1, y1 = min(px + pw, x + out.shape[1]), min(py + ph, y + out.shape[0])
        item = self.source.items[part.item]
        piece = _piece(item, part.crop, (pw, ph))[y0 - py : y1 - py, x0 - px : x1 - px]
        here = out[y0 - y : y1 - y, x0 - x : x1 - x]
        if self.spec.background == "matched":
            piece = _tinted(piece, item.glass, self.paper)
            if part.cell >= 0:
                soft = _soft(pw, ph)[y0 - py : y1 - py, x0 - px : x1 - px, None]
                piece = np.asarray(here + (piece.astype(np.float32) - here) * soft + 0.5, np.uint8)
        here[:] = piece

    def rows(self) -> int:
        """Return how many rows of sites there are over all layers."""
        return sum(layer.sites[1] for layer, _ in self.layers)

    def cells(self) -> Iterator[list[Placed]]:
        """Yield the cells of one row of sites after the other, layer by layer; crowds are among them."""
        for layer, light in self.layers:
            columns, rows = layer.sites
            for row in range(rows):
                sites = (layer.parts(row, column) for column in range(columns))
                yield [cell for parts in sites for part in parts for cell in self._placed(layer, part, light)]

    def parts(self) -> Iterator[Part]:
        """Yield all pieces."""
        for layer, _ in self.layers:
            columns, rows = layer.sites
            for row in range(rows):
                for column in range(columns):
                    yield from layer.parts(row, column)

    def _placed(self, layer: Layer, part: Part, light: float) -> Iterator[Placed]:
        item = self.source.items[part.item]
        rows = np.arange(len(item.boxes)) if part.cell < 0 else np.array([part.cell])
        whole = _moved(item.boxes[rows], part)
        x, y, w, h = part.place
        edge = np.array([max(0, x), max(0, y), min(self.width, x + w), min(self.height, y + h)], np.float32)
        boxes, shares = clipped(whole, edge)
        above = self._above(layer, part)
        for row, box, full, share in zip(rows.tolist(), boxes, whole, shares.tolist(), strict=True):
            seen = share if not above else _uncovered(full, edge, above)
            if seen <= 0 or (box[2:] - box[:2] < MIN_SIDE_PX).any():
                continue
            cut = self.spec.edge == "drop" and share < WHOLE
            x0, y0, x1, y1 = (round(float(v), 2) for v in box)
            yield Placed(
                int(item.classes[row]), (x0, y0, x1, y1), part.scale, part.scale * item.red_cell_px, item.name, light,
                crowd=cut or seen < self.spec.keep,
            )  # fmt: skip

    def _above(self, layer: Layer, part: Part) -> list[Part]:
        """Return the pieces that lie above a piece and touch it."""
        if not self.spec.overlap:
            return []
        near = list(layer.parts_near(*part.place))
        return [p for p in near[near.index(part) + 1 :] if touches(p.place, part.place)]


def _moved(boxes: F32, part: Part) -> F32:
    """Return where boxes of a picture lie on the canvas."""
    x, y, w, h = part.crop
    zoom = np.array([part.place[2] / w, part.place[3] / h] * 2, np.float32)
    shift = np.array(part.place[:2] * 2, np.float32)
    return np.asarray((boxes - np.array([x, y, x, y], np.float32)) * zoom + shift, np.float32)


def _uncovered(box: F32, edge: F32, above: list[Part]) -> float:
    """Return the share of a box that is on its piece and under no later one, by a grid of points."""
    steps = (np.arange(POINTS) + 0.5) / POINTS
    px, py = box[0] + (box[2] - box[0]) * steps[None, :], box[1] + (box[3] - box[1]) * steps[:, None]
    seen = (px >= edge[0]) & (px < edge[2]) & (py >= edge[1]) & (py < edge[3])
    for part in above:
        x, y, w, h = part.place
        if part.cell < 0:
            seen &= ~((px >= x) & (px < x + w) & (py >= y) & (py < y + h))
        else:  # a single cell covers what its soft ellipse shows
            far = ((px - x - w / 2) / (w / 2)) ** 2 + ((py - y - h / 2) / (h / 2)) ** 2
            seen &= far > (sum(SEEN) / 2) ** 2
    return float(seen.mean())


@lru_cache(maxsize=48)
def _piece(item: Item, crop: tuple[int, int, int, int], size: tuple[int, int]) -> Image:
    x, y, w, h = crop
    return resized(item.pixels[y : y + h, x : x + w], size, cv2.INTER_CUBIC)


@lru_cache(maxsize=256)
def _soft(width: int, height: int) -> F32:
    """Return how much of a single cell's piece is seen: all of the ellipse of its box, nothing of its corners."""
    x, y = (np.arange(n, dtype=np.float32) + 0.5 - n / 2 for n in (width, height))
    far = np.sqrt((x[None, :] / (width / 2)) ** 2 + (y[:, None] / (height / 2)) ** 2)
    soft: F32 = np.clip((SEEN[1] - far) / (SEEN[1] - SEEN[0]), 0, 1).astype(np.float32)
    soft.flags.writeable = False
    return soft


def _tinted(piece: Image, glass: NDArray[np.uint8], paper: NDArray[np.uint8]) -> Image:
    """Return a piece as it would look on the canvas's glass: densities stay, the light changes."""
    gain = np.clip(paper.astype(np.float32) / np.maximum(glass, 1), *GAIN)
    levels = np.arange(256, dtype=np.float32)[:, None] * gain
    return np.asarray(cv2.LUT(piece, np.clip(levels + 0.5, 0, 255).astype(np.uint8)[:, None, :]), np.uint8)
