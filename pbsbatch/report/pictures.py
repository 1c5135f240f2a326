"""Pictures of a slide for its page, as data URIs: its preview, maps over it, and crops of its white cells.

Law: label and macro images are never looked at; a crop comes from the slide's own pixels, or there is none.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pbsbatch.errors import PbsbatchError
from pbsbatch.slides import open_slide
from pbsbatch.store import BlockRows, StoredSlide

__all__ = ["Crop", "Layer", "crops", "layers", "picture", "thumbnail"]

Image = NDArray[np.uint8]

PAGE_PX, THUMB_PX, CROP_PX = 1000, 132, 76
MOST_CROPS = 80
"""White cells that a page shows: those that most need a look."""
CROP_ROOM = 1.35
"""Side of a crop in the longer sides of the cell's box."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A map over the slide's picture: blue is low, yellow is high."""

    name: str
    uri: str
    low: str
    high: str


@dataclass(frozen=True, slots=True)
class Crop:
    """One white cell as a person would look at it."""

    id: int
    name: str  # its type, or its class
    score: float
    uri: str


def picture(store: StoredSlide) -> str:
    """Return the slide as its page shows it."""
    return _jpeg(_fitted(store.preview(0), PAGE_PX), 80)


def thumbnail(store: StoredSlide) -> str:
    """Return the slide as the table shows it."""
    return _jpeg(_fitted(store.preview(0), THUMB_PX), 70)


def layers(store: StoredSlide) -> list[Layer]:
    """Return the maps that the slide's blocks give, each as a picture of one pixel per block."""
    blocks = store.tiles.blocks
    if len(blocks) < 4:
        return []
    sums = {name: blocks[name].astype(np.float64) for name in ("red", "overlapping", "samples", "bare", "failed")}
    with np.errstate(divide="ignore", invalid="ignore"):
        maps = {
            "red cells per megapixel": 1e6 * sums["red"] / blocks.area,
            "share of red cells that touch": sums["overlapping"] / sums["red"],
            "share covered by cells": 1 - sums["bare"] / sums["samples"],
        }
    found = [_layer(name, blocks, values) for name, values in maps.items()]
    if sums["failed"].any():
        found.append(_layer("could not be read", blocks, np.where(sums["failed"] > 0, 1.0, np.nan)))
    return [layer for layer in found if layer is not None]


def _layer(name: str, blocks: BlockRows, values: NDArray[np.float64]) -> Layer | None:
    known = np.isfinite(values)
    if not known.any():
        return None
    low, high = np.quantile(values[known], [0.02, 0.98])
    grey = np.clip((values - low) / max(high - low, 1e-9) * 255, 0, 255)
    grid = np.zeros((int(blocks.at[:, 1].max()) + 1, int(blocks.at[:, 0].max()) + 1), np.uint8)
    there = np.zeros(grid.shape, np.uint8)
    col, row = blocks.at[known, 0], blocks.at[known, 1]
    grid[row, col], there[row, col] = grey[known].astype(np.uint8), 255
    colours = cv2.applyColorMap(grid, cv2.COLORMAP_CIVIDIS)
    return Layer(name, _uri("png", np.dstack([colours, there])), f"{low:.3g}", f"{high:.3g}")


def crops(store: StoredSlide, slide: Path | None, mpp: float | None) -> list[Crop]:
    """Return crops of the white cells that most need a look, least sure first; none where the slide is gone."""
    if slide is None or "WBC" not in store.classes:
        return []
    chosen = sorted(_white(store), key=lambda cell: cell[2])[:MOST_CROPS]
    try:
        opened = open_slide(slide, id=store.path.stem, mpp=mpp)
    except PbsbatchError:  # it was there when the run began; the page says that it shows none
        return []
    found: list[Crop] = []
    try:
        for number, name, score, box in chosen:
            side = max(8, round(CROP_ROOM * max(box[2] - box[0], box[3] - box[1])))
            x, y = round((box[0] + box[2] - side) / 2), round((box[1] + box[3] - side) / 2)
            try:
                pixels = opened.read_scaled(1.0, x, y, side, side)
            except PbsbatchError:  # a tile that cannot be read: its cells are no loss to the gallery
                continue
            found.append(Crop(number, name, score, _jpeg(_fitted(pixels, CROP_PX * 2), 82)))
    finally:
        opened.close()
    return found


def _white(store: StoredSlide) -> Iterator[tuple[int, str, float, Sequence[float]]]:
    """Yield id, name, score and box of the white cells, the type's score where there is one."""
    kind, rows = store.classes.index("WBC"), 1 << 18
    for first in range(0, store.info.cells, rows):
        table: Mapping[str, NDArray[Any]] = store.rows(first, min(first + rows, store.info.cells))
        for i in np.flatnonzero(table["class"] == kind).tolist():
            sort = int(table["type"][i])
            typed = sort < len(store.types)
            name = store.types[sort] if typed else "WBC"
            score = float(table["type_score" if typed else "score"][i])
            yield int(table["id"][i]), name, score, [float(table[side][i]) for side in ("x0", "y0", "x1", "y1")]


def _fitted(pixels: Image, side: int) -> Image:
    height, width = pixels.shape[:2]
    shrink = side / max(height, width)
    if shrink >= 1:
        return pixels
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def _jpeg(pixels: Image, quality: int) -> str:
    return _uri("jpeg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])


def _uri(kind: str, pixels: Image, settings: Sequence[int] = ()) -> str:
    done, file = cv2.imencode(f".{kind}", pixels, settings)
    assert done
    return f"data:image/{kind};base64,{base64.b64encode(file.tobytes()).decode()}"
