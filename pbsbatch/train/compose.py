"""Compose a training image from fields at the working scale: a canvas cut into pieces, or whole fields on white.

Laws. A cell keeps its box wherever it lands; where its piece is cut the box ends where the rest of the cell does. What
is cut away too far to be named is unsure, never background. The same seed, epoch and number give the same canvas,
whatever process composes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pbsbatch.datasets.pixels import clipped, glass, resized, span
from pbsbatch.datasets.samples import BORDER_PX, Sample
from pbsbatch.train.settings import Variety
from pbsbatch.train.stain import restain, worsen

__all__ = ["Canvas", "Composer"]

F32 = NDArray[np.float32]
_Truth = tuple[F32, NDArray[np.uint8], F32, F32]
"""Boxes, classes, outlines, unsure boxes."""

KEEP = 0.15
"""A cell of whose box less than this is left by a cut is unsure: of a round one, a fifth of its width."""
WHOLE = 0.97
"""A cell of which so much is left keeps its outline."""
MIN_PX = 2.0
LEAF_CELLS = (4.0, 9.0)
"""Sides of the rectangles, in red cells."""
GAP_PX, LEAST_ROOM_PX = (8, 24), 48
"""White between whole fields, and the least room in which one more, or what fits of it, is shown."""
SCALE_SIGMA, WIDE_SHARE, WIDE, STRETCH = 0.12, 0.15, (0.6, 1.6), 0.03
"""Cells vary about the working scale, and now and then the scale itself is wrong."""

USUAL = Variety()


@dataclass(frozen=True, slots=True)
class Canvas:
    """A training image and its truth."""

    image: NDArray[np.uint8]  # (S, S, 3) RGB
    boxes: F32
    classes: NDArray[np.uint8]
    outlines: F32
    unsure: F32  # (K, 4)


@dataclass(frozen=True)
class Composer:
    """Draws canvases from samples, each as often as its weight says."""

    samples: Sequence[Sample]
    weights: NDArray[np.float64]  # one per sample, sum 1
    size: int
    red_cell_px: float
    variety: Variety = USUAL

    def compose(self, seed: int, epoch: int, number: int) -> Canvas:
        """Return one canvas."""
        rng = np.random.default_rng((seed, epoch, number))
        image = np.full((self.size, self.size, 3), 255, np.uint8)
        whole = rng.random() < self.variety.whole
        parts = list(self._shelves(image, rng) if whole else self._pieces(image, rng))
        boxes, classes, outlines, unsure = (np.concatenate(each) for each in zip(*parts, strict=True))
        return Canvas(image, boxes, classes, outlines, unsure)

    def _pieces(self, image: NDArray[np.uint8], rng: np.random.Generator) -> Iterator[_Truth]:
        """Cut the canvas into rectangles, fill each with a piece of a field, and yield what it shows."""
        for x, y, width, height in _cut((0, 0, self.size, self.size), self.red_cell_px, rng):
            sample, view, piece = self._draw(width, height, rng)
            tall, wide = piece.shape[:2]
            left, top = x + int(rng.integers(width - wide + 1)), y + int(rng.integers(height - tall + 1))
            if (wide, tall) != (width, height):
                image[y : y + height, x : x + width] = _paper(piece, rng)
            image[top : top + tall, left : left + wide] = piece
            yield _truth(sample, view, left, top, wide, tall)

    def _shelves(self, image: NDArray[np.uint8], rng: np.random.Generator) -> Iterator[_Truth]:
        """Lay fields on the white canvas row by row, whole where they fit, as runs see them; yield what each shows.

        Half of the red cells of small fields lie at a border: only so are they learned as they will be met.
        """
        most, least = int(LEAF_CELLS[1] * self.red_cell_px), min(LEAST_ROOM_PX, self.size // 2)
        y = int(rng.integers(*GAP_PX))
        while self.size - y >= least:
            x, row = int(rng.integers(*GAP_PX)), 0
            while self.size - x >= least:
                sample, view, piece = self._draw(min(most, self.size - x), min(most, self.size - y), rng)
                tall, wide = piece.shape[:2]
                image[y : y + tall, x : x + wide] = piece
                yield _truth(sample, view, x, y, wide, tall)
                x, row = x + wide + int(rng.integers(*GAP_PX)), max(row, tall)
            y += row + int(rng.integers(*GAP_PX))

    def _draw(self, width: int, height: int, rng: np.random.Generator) -> tuple[Sample, _View, NDArray[np.uint8]]:
        """Return a field, what is shown of it in at most so much room, and the pixels."""
        sample = self.samples[int(rng.choice(len(self.samples), p=self.weights))]
        view = _View.draw(sample, width, height, self.red_cell_px, self.variety, rng)
        piece = restain(view.pixels(sample.image), rng, self.variety.stain)
        return sample, view, worsen(piece, rng, self.variety.harm)


def _truth(sample: Sample, view: _View, left: int, top: int, wide: int, tall: int) -> _Truth:
    """Return the boxes, classes, outlines and unsure boxes of a view that lies there on the canvas."""
    edge = np.array([left, top, left + wide, top + tall], np.float32)
    shift = np.array([left, top, left, top], np.float32)
    size = np.array(sample.size, np.float32)
    inside = [sample.boxes[:, :2] > BORDER_PX, sample.boxes[:, 2:] < size - BORDER_PX]
    round_ = np.asarray(np.concatenate(inside, axis=1).all(1), np.bool_)
    boxes, share = clipped(view.boxes(sample.boxes) + shift, edge, round_)
    lost = (share < KEEP) | ((boxes[:, 2:] - boxes[:, :2]) < MIN_PX).any(1)
    named, unsure = ~lost, lost & (share > 0)
    outlines = view.outlines(sample.outlines[named])
    outlines[share[named] < WHOLE] = np.nan
    doubt, doubt_share = clipped(view.boxes(sample.unsure) + shift, edge)
    return boxes[named], sample.classes[named], outlines, np.concatenate([boxes[unsure], doubt[doubt_share > 0]])


@dataclass(frozen=True, slots=True)
class _View:
    """A crop of a field as it lands on the canvas: scaled, flipped, turned."""

    crop: tuple[int, int, int, int]  # x, y, w, h in the field
    size: tuple[int, int]  # w, h scaled, before turning
    flip_x: bool
    flip_y: bool
    turned: bool  # x and y exchanged, last

    @classmethod
    def draw(
        cls, sample: Sample, width: int, height: int, red_cell_px: float, variety: Variety, rng: np.random.Generator
    ) -> _View:
        """Choose a view that is at most width x height large."""
        much = variety.scale
        wide = rng.random() < WIDE_SHARE * much
        zoom = rng.uniform(*WIDE) if wide else np.exp(rng.normal(0.0, SCALE_SIGMA * much))
        stretch = np.exp(rng.normal(0.0, STRETCH * much))
        zoom *= red_cell_px / sample.red_cell_px
        flip_x, flip_y, turned = (bool(b) for b in rng.random(3) < variety.turns / 2)
        if turned:
            width, height = height, width
        x, w, to_w = span(sample.size[0], width, zoom * stretch, rng)
        y, h, to_h = span(sample.size[1], height, zoom / stretch, rng)
        return cls((x, y, w, h), (to_w, to_h), flip_x, flip_y, turned)

    def pixels(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the pixels of the view."""
        x, y, w, h = self.crop
        out = resized(image[y : y + h, x : x + w], self.size)
        out = out[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]
        return np.ascontiguousarray(out.transpose(1, 0, 2) if self.turned else out, np.uint8)

    def boxes(self, boxes: F32) -> F32:
        """Return where boxes of the field lie in the view; they may reach beyond it."""
        x, y, w, h = self.crop
        zoom = np.array([self.size[0] / w, self.size[1] / h] * 2, np.float32)
        out = (boxes - np.array([x, y, x, y], np.float32)) * zoom
        if self.flip_x:
            out[:, [0, 2]] = self.size[0] - out[:, [2, 0]]
        if self.flip_y:
            out[:, [1, 3]] = self.size[1] - out[:, [3, 1]]
        return np.ascontiguousarray(out[:, [1, 0, 3, 2]] if self.turned else out, np.float32)

    def outlines(self, outlines: F32) -> F32:
        """Return outlines turned with the pixels: direction k of the view was another one of the field."""
        rays = outlines.shape[1]
        k = np.arange(rays)
        if self.turned:
            k = rays // 4 - k
        if self.flip_y:
            k = -k
        if self.flip_x:
            k = rays // 2 - k
        return np.ascontiguousarray(outlines[:, k % rays])


def _cut(
    box: tuple[int, int, int, int], red_cell_px: float, rng: np.random.Generator
) -> Iterator[tuple[int, int, int, int]]:
    """Yield rectangles x, y, w, h that tile the box, cut in halves of random size until none is too long."""
    x, y, w, h = box
    longest = rng.uniform(*LEAF_CELLS) * red_cell_px
    if max(w, h) <= max(longest, 16.0):
        yield box
    elif w >= h:
        at = int(w * rng.uniform(0.35, 0.65))
        yield from _cut((x, y, at, h), red_cell_px, rng)
        yield from _cut((x + at, y, w - at, h), red_cell_px, rng)
    else:
        at = int(h * rng.uniform(0.35, 0.65))
        yield from _cut((x, y, w, at), red_cell_px, rng)
        yield from _cut((x, y + at, w, h - at), red_cell_px, rng)


def _paper(piece: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return the colour outside a field: white as outside a slide, black, or the field's own glass."""
    pick = rng.random()
    if pick < 0.6:
        return np.full(3, 255, np.uint8)
    if pick < 0.7:
        return np.zeros(3, np.uint8)
    return glass(piece)
