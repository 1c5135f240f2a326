"""Write composites as files with their truth: the body of `pbsbatch data compose`.

Laws. One spec and data set give the same files on any number of workers. Truth goes out row of sites by row of sites:
memory does not grow with the canvas but for its width. truth.json is complete or absent.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pbsbatch.datasets.compose.scene import Composite, Placed
from pbsbatch.datasets.compose.source import Source
from pbsbatch.datasets.compose.spec import ComposeSpec
from pbsbatch.disk import output_errors
from pbsbatch.errors import UsageError
from pbsbatch.run.csv_text import safe_cell
from pbsbatch.synth.archive import Tick, clear, may_write
from pbsbatch.synth.coco import CocoWriter
from pbsbatch.synth.write import write_field, write_slide

__all__ = ["FORMATS", "Tally", "compose_archive"]

FORMATS = ("png", "jpeg", "tiff")
_SUFFIX = {"png": ".png", "jpeg": ".jpg", "tiff": ".tif"}
_OURS = re.compile(r"composite_\d{4,}\.(png|jpg|tif)|truth\.json|cells\.csv|parts\.csv")
_FIELD_MP = 100
CELL_COLUMNS = ("image", "class", "magnification", "red_cell_px", "x0", "y0", "x1", "y1", "light", "source")
PART_COLUMNS = ("image", "source", "magnification", "x0", "y0", "x1", "y1", "crop_x", "crop_y", "crop_w", "crop_h")


@dataclass(slots=True)
class Tally:
    """What was written."""

    images: int = 0
    cells: Counter[str] = field(default_factory=Counter)
    crowds: int = 0  # cells cut or covered too far to be named


def compose_archive(
    spec: ComposeSpec, source: Source, output: Path, *, images: int, file_format: str = "png", force: bool = False,
    workers: int = 1, tick: Tick = lambda name, done, of: None,
) -> Tally:  # fmt: skip
    """Write the composites, truth.json (COCO), cells.csv and parts.csv into a folder; return what they hold."""
    _check(spec, source, images, file_format)
    may_write(output, force=force)
    tally = Tally()
    with output_errors(output), ExitStack() as open_files:
        output.mkdir(parents=True, exist_ok=True)
        clear(output, _OURS)
        tables = []
        for name, columns in (("cells.csv", CELL_COLUMNS), ("parts.csv", PART_COLUMNS)):
            handle = open_files.enter_context((output / name).open("w", encoding="utf-8", newline=""))
            tables.append(csv.writer(handle, lineterminator="\n"))
            tables[-1].writerow(columns)
        categories = [{"id": i, "name": n, "supercategory": "cell"} for i, n in enumerate(source.classes, 1)]
        truth = open_files.enter_context(
            CocoWriter(
                output / "truth.json", "composed by pbsbatch data compose; crowds are cells cut too far", categories
            )
        )
        for number in range(images):
            scene = Composite(spec, source, number)
            name = f"composite_{number:04d}{_SUFFIX[file_format]}"
            _picture(scene, output / name, workers, tick)
            _truth(scene, name, truth, tables[0], tally)
            tables[1].writerows(_parts(scene, name))
    return tally


def _check(spec: ComposeSpec, source: Source, images: int, file_format: str) -> None:
    if images < 1:
        raise UsageError(f"--images {images} composes nothing", cure="Ask for one at least")
    if file_format not in FORMATS:
        raise UsageError(f"--file {file_format!r} is unknown", cure=f"Choose one of {', '.join(FORMATS)}")
    if file_format != "tiff" and spec.width * spec.height > _FIELD_MP * 10**6:
        raise UsageError(f"a JPEG or PNG may have {_FIELD_MP} megapixels", cure="Choose --file tiff")
    if spec.units == "cells" and not len(source.single):
        raise UsageError("no cell stands alone in its picture", cure="Place fields instead: --place fields")
    if spec.diameter == spec.diameter and any(i.red_cell_px != i.red_cell_px for i in source.items):
        raise UsageError("nothing tells the size of a red cell in these pictures", cure="Give --data-diameter PX")


def _picture(scene: Composite, path: Path, workers: int, tick: Tick) -> None:
    if path.suffix == ".tif":
        write_slide(scene, path, workers=workers, progress=lambda done, of: tick(path.name, done, of))
    else:
        write_field(scene, path)
        tick(path.name, 1, 1)


def _truth(scene: Composite, name: str, truth: CocoWriter, table: Any, tally: Tally) -> None:
    classes = scene.source.classes
    number = len(truth.images) + 1
    before = truth.count
    for cells in scene.cells():
        for cell in cells:
            truth.annotate(_annotation(cell, number))
            if cell.crowd:
                tally.crowds += 1
                continue
            kind = classes[cell.kind]
            tally.cells[kind] += 1
            px = "" if cell.red_cell_px != cell.red_cell_px else round(cell.red_cell_px, 2)
            table.writerow([name, safe_cell(kind), round(cell.scale, 4), px, *cell.box, round(cell.light, 3),
                            safe_cell(cell.source)])  # fmt: skip
    truth.images.append({
        "id": number, "file_name": name, "width": scene.width, "height": scene.height, "mpp": scene.mpp,
        "n_cells": truth.count - before, "mosaic": scene.layers[0][0].mosaic,
        "light": [round(light, 3) for _, light in scene.layers],
    })  # fmt: skip
    tally.images += 1


def _annotation(cell: Placed, image: int) -> dict[str, Any]:
    x0, y0, x1, y1 = cell.box
    w, h = round(x1 - x0, 2), round(y1 - y0, 2)
    return {
        "image_id": image, "category_id": cell.kind + 1, "bbox": [x0, y0, w, h], "area": round(w * h, 2),
        "iscrowd": int(cell.crowd), "segmentation": [], "magnification": round(cell.scale, 4), "source": cell.source,
    }  # fmt: skip


def _parts(scene: Composite, name: str) -> Iterator[list[Any]]:
    for part in scene.parts():
        x, y, w, h = part.place
        source = safe_cell(scene.source.items[part.item].name)
        yield [name, source, round(part.scale, 4), x, y, x + w, y + h, *part.crop]
