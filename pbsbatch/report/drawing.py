"""Draw a region of a slide with the cells that were found in it: outlines, names, a scale bar, a legend.

Laws. A picture shows the slide's own pixels, or says that it shows the preview. Where two models spoke of a cell, the
detector's word stands above it and the classifier's below.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pbsbatch.colours import OUTLINES
from pbsbatch.detections import DOUBTS, UNTYPED
from pbsbatch.errors import PbsbatchError, UsageError
from pbsbatch.geometry import Box
from pbsbatch.results import RunSlide
from pbsbatch.slides import open_slide
from pbsbatch.store import StoredSlide
from pbsbatch_kernels.masks import cut
from pbsbatch_kernels.polygons import trace

__all__ = ["MOST_PX", "Drawing", "busiest", "draw"]

Image = NDArray[np.uint8]

MOST_PX = 64_000_000
SIDE_PX = 1280
"""Side of the regions that are drawn when none is given."""
ROWS = 1 << 18
SIZE = 0.45
"""Of letters."""
BARS_UM = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)


@dataclass(frozen=True, slots=True)
class Drawing:
    """A picture and what it shows."""

    pixels: Image  # (H, W, 3) RGB
    region: Box
    counts: Mapping[str, int]
    from_preview: bool  # the slide was not at hand


def busiest(store: StoredSlide, count: int, side: int = SIDE_PX) -> list[Box]:
    """Return the regions of a grid that hold the most white cells, then the most cells, each inside the slide."""
    width, height = _size(store)
    wide, tall = min(side, width), min(side, height)
    cols, rows = -(-width // wide), -(-height // tall)
    found = np.zeros((2, rows * cols), np.int64)
    white = store.classes.index("WBC") if "WBC" in store.classes else -1
    for table in _tables(store):
        x, y = (table["x0"] + table["x1"]) / 2, (table["y0"] + table["y1"]) / 2
        place = np.minimum(y // tall, rows - 1).astype(np.int64) * cols + np.minimum(x // wide, cols - 1).astype(
            np.int64
        )
        found[0] += np.bincount(place[table["class"] == white], minlength=rows * cols)
        found[1] += np.bincount(place, minlength=rows * cols)
    order = np.lexsort((np.arange(rows * cols), -found[1], -found[0]))[:count]
    corners = ((min(int(i) % cols * wide, width - wide), min(int(i) // cols * tall, height - tall)) for i in order)
    return [Box(x, y, wide, tall) for x, y in corners]


def draw(slide: RunSlide, region: Box, original: Path | None) -> Drawing:
    """Return a region with its cells."""
    store = slide.store
    width, height = _size(store)
    if min(region.w, region.h) < 1 or min(region.x, region.y) < 0 or region.x1 > width or region.y1 > height:
        raise UsageError(
            f"the region {region.x},{region.y},{region.w},{region.h} leaves the slide's {width} x {height} px",
            path=slide.path,
        )
    if region.area > MOST_PX:
        raise UsageError(f"a region of {region.area / 1e6:.0f} MP is too large to draw", cure="Draw at most 64 MP")
    pixels = None if original is None else _read(slide, original, region)
    picture = _from_preview(store, region) if pixels is None else pixels
    cells = list(_cells(store, region))
    _outline(picture, store, region, cells)
    _name(picture, store, region, cells)
    counts = {name: sum(c["class"] == i for c in cells) for i, name in enumerate(store.classes)}
    _legend(picture, counts)
    if slide.mpp is not None:
        _scale_bar(picture, slide.mpp)
    return Drawing(picture, region, counts, pixels is None)


def _size(store: StoredSlide) -> tuple[int, int]:
    about = store.attributes["store"]
    return int(about["width_px"]), int(about["height_px"])


def _tables(store: StoredSlide) -> Iterator[Mapping[str, NDArray[Any]]]:
    for first in range(0, store.info.cells, ROWS):
        yield store.rows(first, min(first + ROWS, store.info.cells))


def _cells(store: StoredSlide, region: Box) -> Iterator[dict[str, Any]]:
    """Yield the rows of cells whose centre lies in a region."""
    for table in _tables(store):
        x, y = (table["x0"] + table["x1"]) / 2, (table["y0"] + table["y1"]) / 2
        inside = (x >= region.x) & (x < region.x1) & (y >= region.y) & (y < region.y1)
        for i in np.flatnonzero(inside).tolist():
            yield {name: values[i].item() for name, values in table.items()}


def _read(slide: RunSlide, original: Path, region: Box) -> Image | None:
    try:
        opened = open_slide(original, id=slide.id, mpp=slide.mpp)
    except PbsbatchError:  # it is not there any more: the preview is drawn, and said
        return None
    try:
        return opened.read(0, region.x, region.y, region.w, region.h).copy()
    finally:
        opened.close()


def _from_preview(store: StoredSlide, region: Box) -> Image:
    preview = store.preview(0)
    shrink = preview.shape[1] / _size(store)[0]
    move = np.array([[shrink, 0, region.x * shrink], [0, shrink, region.y * shrink]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    out = cv2.warpAffine(preview, move, (region.w, region.h), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(out, np.uint8)


def _outline(picture: Image, store: StoredSlide, region: Box, cells: Sequence[Mapping[str, Any]]) -> None:
    """Draw the outlines of all pixels in the region, also of cells whose centre lies outside of it."""
    labels = store.labels(0).read(region.x, region.y, region.w, region.h)
    ids = np.unique(labels)
    ids = ids[ids > 0]
    if len(ids) == 0:
        return
    first = int(ids[0])
    bits, offsets, windows = cut(labels, first, int(ids[-1]) - first + 1)
    points, starts = trace(bits, offsets, windows)
    kinds = {cell["id"]: cell["class"] for cell in cells}
    thick = 1 if max(region.w, region.h) <= SIDE_PX else 2
    areas = windows[:, 2].astype(np.int64) * windows[:, 3]
    for number in ids[np.argsort(-areas[ids - first], kind="stable")].tolist():  # small ones over large ones
        i = number - first
        ring = np.round(points[starts[i] : starts[i + 1]]).astype(np.int32)
        kind = kinds[number] if number in kinds else int(store.rows(number - 1, number)["class"][0])
        cv2.polylines(
            picture, [ring], isClosed=True, color=OUTLINES[kind % len(OUTLINES)], thickness=thick, lineType=cv2.LINE_AA
        )


def _name(picture: Image, store: StoredSlide, region: Box, cells: Sequence[Mapping[str, Any]]) -> None:
    """Write what was said of cells that have a type: the class above, the type below.

    Where a second opinion was asked, what the first says stands above, and the second's word below.
    """
    for cell in cells:
        asked = cell.get("second_type", UNTYPED) < len(store.second_types)
        if cell["type"] >= len(store.types) and not asked:
            continue
        x = round(cell["x0"]) - region.x
        above, below = round(cell["y0"]) - region.y - 5, round(cell["y1"]) - region.y + 14
        lines = [f"{store.classes[cell['class']]} {cell['score']:.2f}"]
        if cell["type"] < len(store.types):
            lines.append(f"{store.types[cell['type']].replace('_', ' ')} {cell['type_score']:.2f}")
        if asked:
            _write(picture, ", ".join(lines), (x, max(12, above)))
            doubt = DOUBTS[cell["second_flags"]]
            lines = ["", f"{store.second_types[cell['second_type']].replace('_', ' ')} {cell['second_score']:.2f}"]
            lines[1] += f" ({doubt})" if doubt else ""
        else:
            _write(picture, lines[0], (x, max(12, above)))
        _write(picture, lines[1], (x, min(picture.shape[0] - 4, below)))


def _legend(picture: Image, counts: Mapping[str, int]) -> None:
    for i, (name, count) in enumerate(counts.items()):
        y = 8 + 20 * i
        cv2.rectangle(picture, (8, y), (22, y + 14), OUTLINES[i % len(OUTLINES)], -1)
        _write(picture, f"{name} {count}", (28, y + 12))


def _scale_bar(picture: Image, mpp: float) -> None:
    """Draw the longest bar of a round length that takes at most a quarter of the width."""
    height, width = picture.shape[:2]
    um = max((b for b in BARS_UM if b / mpp <= width / 4), default=BARS_UM[0])
    length = round(um / mpp)
    if length > width - 16:
        return
    x, y = width - 12 - length, height - 14
    cv2.rectangle(picture, (x - 2, y - 2), (x + length + 2, y + 6), (255, 255, 255), -1)
    cv2.rectangle(picture, (x, y), (x + length, y + 4), (0, 0, 0), -1)
    _write(picture, f"{um} um", (x, y - 8))


def _write(picture: Image, text: str, at: tuple[int, int]) -> None:
    """Write text with a light rim, moved to the left where it would leave the picture."""
    wide = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, SIZE, 1)[0][0]
    x, y = max(2, min(at[0], picture.shape[1] - wide - 3)), at[1]
    rim = [(i, j, (255, 255, 255)) for i in (-1, 0, 1) for j in (-1, 0, 1)]  # thicker letters would be wider ones
    for i, j, colour in (*rim, (0, 0, (0, 0, 0))):
        cv2.putText(picture, text, (x + i, y + j), cv2.FONT_HERSHEY_SIMPLEX, SIZE, colour, 1, cv2.LINE_AA)
