"""The text formats, each a stream of pieces: COCO, GeoJSON for QuPath, a JSON of outlines, CSV.

Laws. Nothing is held but the cells at hand. Coordinates are level-0 pixels. Text from outside (names of slides, classes
and types) is escaped as the format wants it.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbsbatch.colours import OUTLINES
from pbsbatch.export.cells import Cells
from pbsbatch.export.present import KINDS, Present, classes_of
from pbsbatch.export.table import columns_of, rows_of
from pbsbatch.results import RunSlide
from pbsbatch.run.csv_text import safe_cell

__all__ = ["Cell", "Counter", "coco", "csv_table", "each", "geojson", "outlines"]


@dataclass(slots=True)
class Counter:
    """What was written so far; `tick` hears of every few thousand cells."""

    tick: Callable[[int], None] = lambda cells: None
    cells: int = 0
    covered: int = 0

    def add(self, cells: Cells) -> None:
        """Count cells that were written."""
        self.cells += len(cells)
        self.covered += int(cells.covered.sum())
        self.tick(len(cells))


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell as plain values."""

    id: int
    name: str
    type: str  # empty where it was given none
    box: tuple[float, float, float, float]
    score: float
    type_score: float
    area: int
    points: NDArray[np.floating[Any]]
    covered: bool
    corrected: str  # what people did to it
    second: str = ""  # what a second opinion says it is
    doubt: str = ""  # how that is doubtful


def each(slide: Present, counter: Counter) -> Iterator[Cell]:
    """Yield the cells of a slide, and count them."""
    classes, types = slide.classes, (*slide.types, "")
    for cells in slide.outlined():
        c = cells.columns
        corners = np.stack([c["x0"], c["y0"], c["x1"], c["y1"]], 1).astype(np.float64).round(2).tolist()
        plain = zip(*(c[n].tolist() for n in ("id", "class", "type", "area_px", "corrected")), strict=True)
        scores = np.stack([c["score"], c["type_score"]], 1).astype(np.float64).round(4).tolist()
        for i, (number, kind, sort, area, done) in enumerate(plain):
            score, type_score = scores[i]
            yield Cell(
                number, classes[kind], types[sort], tuple(corners[i]), score, type_score, area, cells.outline(i),
                bool(cells.covered[i]), KINDS[done], *slide.second(c, i),
            )  # fmt: skip
        counter.add(cells)


def coco(slides: Sequence[RunSlide], counter: Counter) -> Iterator[str]:
    """Yield a COCO data set: images, annotations with polygons, categories."""
    present = [Present(slide) for slide in slides]
    classes = classes_of(present)
    images = [
        {"id": n, "file_name": s.name, "width": s.store.attributes["store"]["width_px"],
         "height": s.store.attributes["store"]["height_px"]} for n, s in enumerate(slides, 1)
    ]  # fmt: skip
    categories = [{"id": n, "name": name, "supercategory": "cell"} for n, name in enumerate(classes, 1)]
    yield f'{{"info": {{"description": "cells found by pbsbatch"}},\n"images": {json.dumps(images)},\n'
    yield f'"categories": {json.dumps(categories)},\n"annotations": ['
    number = 0
    for image, slide in enumerate(present, 1):
        for cell in each(slide, counter):
            x0, y0, x1, y1 = cell.box
            extra = {"cell": cell.id} | ({"type": cell.type, "type_score": cell.type_score} if cell.type else {})
            extra |= _by_hand(cell)
            number += 1
            yield ("\n" if number == 1 else ",\n") + json.dumps({
                "id": number, "image_id": image, "category_id": 1 + classes.index(cell.name),
                "bbox": [x0, y0, round(x1 - x0, 2), round(y1 - y0, 2)], "area": cell.area, "iscrowd": 0,
                "score": cell.score, "segmentation": [cell.points.ravel().tolist()], "attributes": extra,
            })  # fmt: skip
    yield "\n]}\n"


def geojson(slide: RunSlide, counter: Counter) -> Iterator[str]:
    """Yield one slide's cells as QuPath opens them: detections with classification and measurements."""
    present, first = Present(slide), True
    yield '{"type": "FeatureCollection", "features": ['
    for cell in each(present, counter):
        ring = [*cell.points.tolist(), cell.points[0].tolist()]
        measured: dict[str, float] = {"score": cell.score, "area px": cell.area}
        if slide.mpp is not None:
            measured["area um^2"] = round(cell.area * slide.mpp**2, 3)
        if cell.type:
            measured["type score"] = cell.type_score
        name = f"{cell.name}: {cell.type}" if cell.type else cell.name  # QuPath's way to write a class below a class
        yield ("\n" if first else ",\n") + json.dumps({
            "type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]},
            "properties": {
                "objectType": "detection", "name": str(cell.id), "measurements": measured,
                "classification": {
                    "name": name, "color": OUTLINES[present.classes.index(cell.name) % len(OUTLINES)],
                },
                **({"metadata": more} if (more := _by_hand(cell)) else {}),
            },
        })  # fmt: skip
        first = False
    yield "\n]}\n"


def outlines(slides: Sequence[RunSlide], counter: Counter) -> Iterator[str]:
    """Yield the JSON of outlines: per image its size and a list of masks with class, score, box and vertices."""
    yield '{"data": {'
    for number, slide in enumerate(slides):
        about = slide.store.attributes["store"]
        head = json.dumps({"filename": slide.name, "height": about["height_px"], "width": about["width_px"]})
        yield ("\n" if number == 0 else ",\n") + f'"{number}": {head[:-1]}, "masks": ['
        first = True
        for cell in each(Present(slide), counter):
            x0, y0, x1, y1 = cell.box
            yield ("\n" if first else ",\n") + json.dumps({
                "class_name": cell.name, "score": cell.score,
                "bounding_box": {"x1": x0, "x2": x1, "y1": y0, "y2": y1}, "vertices": cell.points.tolist(),
                **({"type": cell.type} if cell.type else {}), **_by_hand(cell),
            })  # fmt: skip
            first = False
        yield "]}"
    yield "\n}}\n"


def _by_hand(cell: Cell) -> dict[str, str]:
    """Return what a format says more of a cell: what people corrected, and what a second opinion said."""
    said = {"corrected": cell.corrected, "second_type": cell.second, "doubt": cell.doubt}
    return {name: value for name, value in said.items() if value}


def csv_table(slides: Sequence[RunSlide], counter: Counter) -> Iterator[str]:
    """Yield a row for each cell; what a spreadsheet would run as a formula is quoted safe."""
    names = columns_of(slides)
    yield _line(names)
    for slide in slides:
        for rows in rows_of(slide, counter.tick):
            counter.cells += len(rows["id"])
            yield "".join(_line(values) for values in zip(*(_plain(rows, name) for name in names), strict=True))


def _plain(rows: Mapping[str, Any], name: str) -> list[Any]:
    values = rows[name].tolist() if isinstance(rows[name], np.ndarray) else rows[name]
    return ["" if isinstance(v, float) and math.isnan(v) else v for v in values]


def _line(values: Sequence[Any]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow([safe_cell(v) if isinstance(v, str) else v for v in values])
    return out.getvalue()
