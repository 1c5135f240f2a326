"""COCO: one JSON file with images, annotations and categories, pictures beside it or in images/.

Polygons and run lengths become outlines; an annotation without either has its box alone. A crowd (iscrowd 1)
marks a place where cells were not told apart: it is unsure, and no cell.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbsbatch.datasets.outlines import outline_of_mask
from pbsbatch.datasets.readers.fields import DataSet, Field, Marked, picture, read_bytes
from pbsbatch.datasets.readers.problems import DataError, Problems, RecordError
from pbsbatch.datasets.readers.segmentation import mask_of

__all__ = ["outline_of", "read_coco"]

MAX_JSON_BYTES = 2 << 30


def read_coco(data: DataSet, problems: Problems) -> Iterator[Field]:
    """Yield the fields of one file (root, or root/<split>.json), sorted by name."""
    path = _file(data)
    tree = _tree(path)
    try:
        names = {row["id"]: str(row["name"]) for row in tree["categories"]}
        rows: dict[int, list[dict[str, Any]]] = {row["id"]: [] for row in tree["images"]}
    except (KeyError, TypeError) as e:
        raise DataError(f"a category or image lacks {e}", path=path, cure="Export it again") from e
    for row in tree["annotations"]:
        with problems.field(path):
            _home(rows, row).append(row)
    for image in sorted(tree["images"], key=lambda row: str(row.get("file_name"))):
        with problems.field(path):
            yield _field(path, image, rows[image["id"]], names)


def _file(data: DataSet) -> Path:
    if data.root.is_file():
        return data.root
    found = [data.root / f"{data.split}.json"] if data.split else sorted(data.root.glob("*.json"))
    if len(found) != 1 or not found[0].is_file():
        raise DataError(f"{len(found)} .json files here" if not data.split else f"no {data.split}.json here",
            path=data.root, cure="Name the file, or the split")  # fmt: skip
    return found[0]


def _tree(path: Path) -> dict[str, Any]:
    try:
        tree = json.loads(read_bytes(path, MAX_JSON_BYTES))
    except ValueError as e:
        raise DataError(f"is no JSON: {e}", path=path, cure="Export it again") from e
    except RecordError as e:
        raise DataError(e.what, path=path, cure=e.cure) from e
    for name in ("images", "annotations", "categories"):
        if not isinstance(tree, dict) or not isinstance(tree.get(name), list):
            raise DataError(f"has no list of {name}", path=path, cure="Export it as COCO object detection")
    return dict(tree)


def _home(rows: dict[int, list[dict[str, Any]]], row: Any) -> list[dict[str, Any]]:
    """Return the list that an annotation belongs to."""
    if not isinstance(row, dict) or row.get("image_id") not in rows:
        name = row.get("id") if isinstance(row, dict) else row
        raise RecordError("belongs to no image of the file", "Delete it or add its image", f"annotation {name}")
    return rows[row["image_id"]]


def _field(path: Path, image: dict[str, Any], rows: list[dict[str, Any]], names: dict[int, str]) -> Field:
    record = f"image {image['id']}"
    try:
        name = PurePosixPath(str(image["file_name"]))
        told = (int(image["width"]), int(image["height"]))
    except (KeyError, TypeError, ValueError) as e:
        raise RecordError(f"file_name, width or height is missing or wrong: {e}", "Export it again", record) from e
    if name.is_absolute() or ".." in name.parts:
        raise RecordError(f"{name} points out of the data set's folder", "Use names relative to it", record)
    places = [path.parent / name, path.parent / "images" / name]
    file = next((place for place in places if place.is_file()), places[0])
    encoded, size = picture(file)
    if told != size:
        raise RecordError(
            f"labels are for {told[0]}x{told[1]} pixels, {name} has {size[0]}x{size[1]}",
            "Find the picture they were drawn on", record,
        )  # fmt: skip
    crowds = tuple(_box(row) for row in rows if row.get("iscrowd"))
    marked = tuple(_marked(row, names, size) for row in rows if not row.get("iscrowd"))
    return Field(file, path, encoded, size, marked, crowds)


def _marked(row: dict[str, Any], names: dict[int, str], size: tuple[int, int]) -> Marked:
    record = f"annotation {row.get('id')}"
    name = names.get(row.get("category_id", -1))
    if name is None:
        raise RecordError(f"category {row.get('category_id')} is not in the file", "Add it to categories", record)
    box = _box(row)
    return Marked(record, name, box, outline_of(row.get("segmentation"), box, size, record))


def _box(row: dict[str, Any]) -> tuple[float, float, float, float]:
    try:
        x, y, w, h = (float(v) for v in row["bbox"])
    except (KeyError, TypeError, ValueError) as e:
        raise RecordError("bbox is not [x, y, width, height]", "Export it again", f"annotation {row.get('id')}") from e
    return x, y, x + w, y + h


def outline_of(
    segmentation: Any, box: tuple[float, float, float, float], size: tuple[int, int], record: str
) -> NDArray[np.float32] | None:
    """Return the outline of what an annotation has drawn; None if it has drawn nothing."""
    if not segmentation:
        return None
    mask, (x, y) = mask_of(segmentation, box, size, record)
    cut = np.clip(box, 0.0, [*size, *size])  # as the sample's box will be
    window = (cut - (x, y, x, y)).astype(np.float32)
    if (window[2:] <= window[:2]).any() or not np.isfinite(window).all():
        return None  # said about the box itself
    return outline_of_mask(mask, window)
