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

from pbsbatch.colours import ZONE_COLOURS
from pbsbatch.detections import DISAGREE
from pbsbatch.errors import PbsbatchError
from pbsbatch.quality import figures_of
from pbsbatch.quality.zones import ZONES, zones_of
from pbsbatch.slides import open_slide
from pbsbatch.store import BlockRows, StoredSlide

__all__ = ["Crop", "Layer", "crops", "layers", "picture", "thumbnail"]

Image = NDArray[np.uint8]

PAGE_PX, THUMB_PX, CROP_PX = 1000, 132, 76
MOST_CROPS = 80
"""White cells that a page shows: those that most need a look."""
FIGURES = {
    "rbc_per_mpx": "red cells per megapixel", "overlap": "share of red cells that touch",
    "covered": "share covered by cells", "edge_px": "blur: width of red cells' rims, working px",
}  # fmt: skip
"""Maps, by the names of figures_of."""
CROP_ROOM = 1.35
"""Side of a crop in the longer sides of the cell's box."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A map over the slide's picture: blue is low, yellow is high."""

    name: str
    uri: str
    wide: float  # over the slide's picture, per cent: blocks reach beyond the slide
    tall: float
    low: str = ""
    high: str = ""
    names: tuple[tuple[str, str], ...] = ()  # of a map of kinds: each with its colour


@dataclass(frozen=True, slots=True)
class Crop:
    """One white cell as a person would look at it."""

    id: int
    name: str  # its type, or its class
    score: float
    uri: str
    second: str = ""  # what a second opinion says of it, with its chance
    doubt: int = 0  # its second_flags


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
    figures = figures_of(blocks.sums, blocks.area)
    found = [_layer(store, said, figures[name]) for name, said in FIGURES.items()]
    if blocks["failed"].any():
        found.append(_layer(store, "could not be read", np.where(blocks["failed"] > 0, 1.0, np.nan)))
    return [*(layer for layer in found if layer is not None), _zones(store)]


def _layer(store: StoredSlide, name: str, values: NDArray[np.float64]) -> Layer | None:
    known = np.isfinite(values)
    if not known.any():
        return None
    low, high = np.quantile(values[known], [0.02, 0.98])
    grey = np.clip((values[known] - low) / max(high - low, 1e-9) * 255, 0, 255).astype(np.uint8)
    colours = cv2.applyColorMap(grey[:, None], cv2.COLORMAP_CIVIDIS)[:, 0]
    return Layer(name, *_laid_out(store.tiles.blocks, known, colours, store), low=f"{low:.3g}", high=f"{high:.3g}")


def _zones(store: StoredSlide) -> Layer:
    """Return the parts of the smear: where densities come from, what is out of focus, what could not be read."""
    zone = zones_of(store.tiles.blocks)
    palette = np.array([[int(ZONE_COLOURS[name][i : i + 2], 16) for i in (5, 3, 1)] for name in ZONES], np.uint8)
    laid = _laid_out(store.tiles.blocks, np.ones(len(zone), np.bool_), palette[zone], store)
    names = tuple((name, ZONE_COLOURS[name]) for k, name in enumerate(ZONES) if (zone == k).any())
    return Layer("parts of the smear", *laid, names=names)


def _laid_out(
    blocks: BlockRows, known: NDArray[np.bool_], colours: NDArray[np.uint8], store: StoredSlide
) -> tuple[str, float, float]:
    """Return a picture of the blocks' grid, and how wide and high it is over the slide's picture, per cent."""
    grid = np.zeros((int(blocks.at[:, 1].max()) + 1, int(blocks.at[:, 0].max()) + 1, 4), np.uint8)
    col, row = blocks.at[known].T
    grid[row, col, :3], grid[row, col, 3] = colours, 255
    about = store.attributes["store"]
    wide, high = (blocks.box[:, 2:] - blocks.box[:, :2]).max(0).tolist()  # of a block that nothing cuts
    return (
        _uri("png", grid),
        100 * grid.shape[1] * wide / about["width_px"],
        100 * grid.shape[0] * high / about["height_px"],
    )


def crops(store: StoredSlide, slide: Path | None, mpp: float | None) -> list[Crop]:
    """Return crops of the white cells that most need a look, none where the slide is gone.

    First those on which a second opinion disagrees, then those of which it or the first is torn, then the least sure.
    """
    if slide is None or "WBC" not in store.classes:
        return []
    chosen = sorted(_white(store), key=_urgency)[:MOST_CROPS]
    try:
        opened = open_slide(slide, id=store.path.stem, mpp=mpp)
    except PbsbatchError:  # it was there when the run began; the page says that it shows none
        return []
    found: list[Crop] = []
    try:
        for cell in chosen:
            box = cell.box
            side = max(8, round(CROP_ROOM * max(box[2] - box[0], box[3] - box[1])))
            x, y = round((box[0] + box[2] - side) / 2), round((box[1] + box[3] - side) / 2)
            try:
                pixels = opened.read_scaled(1.0, x, y, side, side)
            except PbsbatchError:  # a tile that cannot be read: its cells are no loss to the gallery
                continue
            uri = _jpeg(_fitted(pixels, CROP_PX * 2), 82)
            found.append(Crop(cell.id, cell.name, cell.score, uri, cell.second, cell.doubt))
    finally:
        opened.close()
    return found


@dataclass(frozen=True, slots=True)
class _White:
    """A white cell, with the type's score where it has a type."""

    id: int
    name: str
    score: float
    box: Sequence[float]
    second: str
    doubt: int


def _urgency(cell: _White) -> tuple[int, float]:
    return 0 if cell.doubt & DISAGREE else 1 if cell.doubt else 2, cell.score


def _white(store: StoredSlide) -> Iterator[_White]:
    """Yield the white cells."""
    kind, rows = store.classes.index("WBC"), 1 << 18
    for first in range(0, store.info.cells, rows):
        table: Mapping[str, NDArray[Any]] = store.rows(first, min(first + rows, store.info.cells))
        for i in np.flatnonzero(table["class"] == kind).tolist():
            sort = int(table["type"][i])
            typed = sort < len(store.types)
            name = store.types[sort] if typed else "WBC"
            score = float(table["type_score" if typed else "score"][i])
            box = [float(table[side][i]) for side in ("x0", "y0", "x1", "y1")]
            yield _White(int(table["id"][i]), name, score, box, *_second(store, table, i))


def _second(store: StoredSlide, table: Mapping[str, NDArray[Any]], i: int) -> tuple[str, int]:
    """Return what a second opinion says of a cell, and its flags."""
    if not store.second_types or table["second_type"][i] >= len(store.second_types):
        return "", 0
    said = store.second_types[int(table["second_type"][i])].replace("_", " ")
    return f"{said} {float(table['second_score'][i]):.2f}", int(table["second_flags"][i])


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
