"""Where pieces lie: a site of the canvas and its pieces, each a function of (seed, number, layer, row, column) alone.

Laws. Sites tile the canvas; a piece lies within its site, or with overlap in a grid at most REACH of the site's sides
beyond it; later pieces (by row, column, and in a site by turn) lie above earlier ones. Nothing else is held: a canvas
of any size is made site by site. Without overlap no two pieces share a pixel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from pbsbatch.datasets.compose.source import Source, with_margin
from pbsbatch.datasets.compose.spec import ComposeSpec
from pbsbatch.datasets.pixels import span

__all__ = ["Layer", "Part"]

Rect = tuple[int, int, int, int]

SITE_PX = 2048
"""Sites of places at random are no longer: within one, pieces lie truly anywhere."""
TRIES, FULL = 32, 6
"""A piece is thrown so often, and a site is full when so many found no place: with balanced classes when one did, for
small cells would fill what large ones leave."""
REACH = 0.12
MIDDLE = (0.3, 0.7)
"""Where the four pieces of a mosaic meet, as a share of the site."""
MIN_PX = 4


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a picture as it lies on the canvas."""

    item: int
    cell: int  # the only cell that it shows; -1: a piece of a field
    crop: Rect  # x, y, w, h in the picture
    place: Rect  # x, y, w, h on the canvas; may reach beyond it
    scale: float  # canvas pixels per pixel of the picture, as asked; the place is rounded


@dataclass(frozen=True, eq=False)
class Layer:
    """The pieces of one composite, or of one of the two that a mixup shows."""

    spec: ComposeSpec
    source: Source
    number: int
    layer: int
    mosaic: bool

    @property
    def sites(self) -> tuple[int, int]:
        """Return columns and rows of sites."""
        if self.spec.grid is not None and not self.mosaic:
            return self.spec.grid
        return -(-self.spec.width // SITE_PX), -(-self.spec.height // SITE_PX)

    def site(self, row: int, column: int) -> Rect:
        """Return a site's x, y, w, h."""
        columns, rows = self.sites
        x, y = self.spec.width * column // columns, self.spec.height * row // rows
        return x, y, self.spec.width * (column + 1) // columns - x, self.spec.height * (row + 1) // rows - y

    def parts(self, row: int, column: int) -> tuple[Part, ...]:
        """Return a site's pieces, the lowest first."""
        return _parts(self, row, column)

    def parts_near(self, x: int, y: int, w: int, h: int) -> Iterator[Part]:
        """Yield the pieces that touch a region, the lowest first."""
        columns, rows = self.sites
        tall, wide = self.spec.height / rows, self.spec.width / columns
        far_x, far_y = (wide * REACH + 1, tall * REACH + 1) if self.spec.overlap else (1, 1)
        for row in range(max(0, int((y - far_y) / tall) - 1), min(rows, int((y + h + far_y) / tall) + 2)):
            for column in range(max(0, int((x - far_x) / wide) - 1), min(columns, int((x + w + far_x) / wide) + 2)):
                yield from (p for p in self.parts(row, column) if touches(p.place, (x, y, w, h)))


def touches(a: Rect, b: Rect) -> bool:
    """Say whether two rectangles share a pixel."""
    return a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]


@lru_cache(maxsize=4096)
def _parts(layer: Layer, row: int, column: int) -> tuple[Part, ...]:
    rng = np.random.default_rng((layer.spec.seed, layer.number, layer.layer, row, column))
    site = layer.site(row, column)
    if layer.mosaic:
        corners = ((1, 1), (0, 1), (1, 0), (0, 0))  # where the others meet it
        slots = zip(_quarters(layer, site, rng), corners, strict=True)
        return tuple(_filled(layer, slot, rng, fit=False, corner=c) for slot, c in slots if min(slot[2:]) > 0)
    if layer.spec.grid is not None:
        return (_filled(layer, _wider(layer, site), rng, fit=True),)
    return tuple(_thrown(layer, site, rng))


def _quarters(layer: Layer, site: Rect, rng: np.random.Generator) -> list[Rect]:
    """Return the four rectangles of a mosaic, row by row."""
    x, y, w, h = site
    across, down = (round(n * rng.uniform(*MIDDLE)) for n in (w, h))
    slots = [
        (x, y, across, down), (x + across, y, w - across, down), (x, y + down, across, h - down),
        (x + across, y + down, w - across, h - down),
    ]  # fmt: skip
    return [_wider(layer, s) for s in slots]


def _wider(layer: Layer, slot: Rect) -> Rect:
    """Return a slot with what it may cover of its neighbours to the right and below."""
    if not layer.spec.overlap:
        return slot
    x, y, w, h = slot
    return x, y, w + int(w * REACH), h + int(h * REACH)


def _scale(spec: ComposeSpec, rng: np.random.Generator) -> float:
    if spec.between:
        return float(rng.uniform(spec.scales[0], spec.scales[1]))
    return spec.scales[int(rng.integers(len(spec.scales)))]


def _zoom(layer: Layer, item: int, rng: np.random.Generator) -> float:
    """Return canvas pixels per pixel of the picture."""
    scale, known = _scale(layer.spec, rng), layer.source.items[item].red_cell_px
    return scale if layer.spec.diameter != layer.spec.diameter else scale * layer.spec.diameter / known


def _filled(
    layer: Layer, slot: Rect, rng: np.random.Generator, *, fit: bool, corner: tuple[int, int] | None = None
) -> Part:
    """Return one piece, cropped where it is larger than its slot, else somewhere in it or in one of its corners."""
    x, y, width, height = slot
    spec = layer.spec
    if spec.units == "cells":
        item, cell = layer.source.draw_cell(rng, spec.balance)
        left, top, wide, tall = _cut_out(layer.source, item, cell)
    else:
        item, cell = layer.source.draw_item(rng, spec.balance), -1
        left, top, (wide, tall) = 0, 0, layer.source.items[item].size
    zoom = _zoom(layer, item, rng)
    if fit and not np.isfinite(spec.diameter):
        zoom *= min(width / wide, height / tall)
    cx, cw, to_w = span(wide, width, zoom, rng)
    cy, ch, to_h = span(tall, height, zoom, rng)
    place = _anywhere((x, y, to_w, to_h), slot, rng)
    if corner is not None:
        place = (x + (width - to_w) * corner[0], y + (height - to_h) * corner[1], to_w, to_h)
    return Part(item, cell, (left + cx, top + cy, cw, ch), place, zoom)


def _thrown(layer: Layer, site: Rect, rng: np.random.Generator) -> Iterator[Part]:
    """Yield pieces at random places until the site is as full as asked, or no further one finds a place."""
    found: list[Part] = []
    covered, failed, spec = 0, 0, layer.spec
    while failed < (1 if spec.balance else FULL) and covered < spec.fill * site[2] * site[3]:
        part = _filled(layer, site, rng, fit=False)
        places = (_anywhere(part.place, site, rng) for _ in range(TRIES))
        free = (p for p in places if spec.overlap or not any(touches(p, other.place) for other in found))
        place = next(free, None) if min(part.place[2:]) >= MIN_PX else None
        if place is None:
            failed += 1
            continue
        covered += place[2] * place[3]
        found.append(replace(part, place=place))
        yield found[-1]


def _anywhere(place: Rect, site: Rect, rng: np.random.Generator) -> Rect:
    x, y, width, height = site
    _, _, w, h = place
    return x + int(rng.integers(width - w + 1)), y + int(rng.integers(height - h + 1)), w, h


def _cut_out(source: Source, item: int, cell: int) -> Rect:
    """Return the pixels around a cell with its margin."""
    x0, y0, x1, y1 = with_margin(source.items[item].boxes[[cell]])[0].tolist()
    left, top = int(np.floor(x0)), int(np.floor(y0))
    return left, top, int(np.ceil(x1)) - left, int(np.ceil(y1)) - top
