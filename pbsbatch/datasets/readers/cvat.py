"""CVAT for images 1.1: one XML file with boxes and polygons, pictures beside it or in images/.

Polygons become outlines. The parser is the bare one of VOC: nothing outside the file is opened. Shapes of other kinds
are problems, not silently left out: a cell that training does not see is taught as background.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element

import numpy as np

from pbsbatch.datasets.readers.coco import outline_of
from pbsbatch.datasets.readers.fields import MAX_FILE_BYTES, DataSet, Field, Marked, picture
from pbsbatch.datasets.readers.problems import DataError, Problems, RecordError
from pbsbatch.datasets.readers.voc import parse

__all__ = ["CvatImage", "images_of", "read_cvat", "shape_of"]

CURE = "Export it from CVAT as 'CVAT for images 1.1'"
MOST_SIDE, MOST_NAME = 10_000_000, 4096
_BOX = ("xtl", "ytl", "xbr", "ybr")
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class CvatImage:
    """One image as the file has it. shapes are its nodes, for shape_of."""

    name: str
    size: tuple[int, int]
    shapes: tuple[Element, ...]


def images_of(path: Path) -> list[CvatImage]:
    """Return the images of a file. Raises DataError where it is none of that version."""
    try:
        tree = parse(path, MAX_FILE_BYTES)
    except RecordError as e:
        raise DataError(f"it is no file of annotations: {e.what}", path=path, cure=CURE) from e
    if tree.tag != "annotations" or tree.findtext("version") != "1.1":
        raise DataError("it is no file of annotations of version 1.1", path=path, cure=CURE)
    found = [_image(node, path) for node in tree.iterfind("image")]
    if not found:
        raise DataError("it holds no image", path=path, cure=CURE)
    return found


def shape_of(node: Element, record: str) -> tuple[Box, list[list[float]] | None]:
    """Return the box of a box or polygon and, of the latter, its corners as COCO has them."""
    try:
        if node.tag == "box":
            x0, y0, x1, y1 = (float(node.attrib[side]) for side in _BOX)
            return (x0, y0, x1, y1), None
        corners = np.array([[float(v) for v in pair.split(",")] for pair in node.attrib["points"].split(";")])
    except (KeyError, ValueError) as e:
        raise RecordError("its points are no numbers", "Draw it again", record) from e
    if corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < 3 or not np.isfinite(corners).all():
        raise RecordError("a polygon needs three corners that are numbers", "Draw it again", record)
    (x0, y0), (x1, y1) = corners.min(0).tolist(), corners.max(0).tolist()
    return (x0, y0, x1, y1), [corners.ravel().tolist()]


def read_cvat(data: DataSet, problems: Problems) -> Iterator[Field]:
    """Yield the fields of one file (root, or root/<split>.xml), sorted by name."""
    path = _file(data)
    for image in sorted(images_of(path), key=lambda one: one.name):
        with problems.field(path):
            yield _field(path, image)


def _file(data: DataSet) -> Path:
    if data.root.is_file():
        return data.root
    found = [data.root / f"{data.split}.xml"] if data.split else sorted(data.root.glob("*.xml"))
    if len(found) != 1 or not found[0].is_file():
        raise DataError(
            f"no {data.split}.xml here" if data.split else f"{len(found)} .xml files here", path=data.root,
            cure="Name the file, or the split",
        )  # fmt: skip
    return found[0]


def _image(node: Element, path: Path) -> CvatImage:
    try:
        name, size = node.attrib["name"], (int(node.attrib["width"]), int(node.attrib["height"]))
    except (KeyError, ValueError) as e:
        raise DataError("an image has no name or no size", path=path, cure=CURE) from e
    if min(size) < 1 or max(size) > MOST_SIDE or not 0 < len(name) <= MOST_NAME:
        raise DataError("an image's name or size cannot be meant", path=path, cure=CURE)
    return CvatImage(name, size, tuple(shape for shape in node if shape.tag != "tag"))


def _field(path: Path, image: CvatImage) -> Field:
    record, name = f"image {image.name[:80]!r}", PurePosixPath(image.name)
    if name.is_absolute() or ".." in name.parts:
        raise RecordError("it points out of the data set's folder", "Use names relative to it", record)
    places = [path.parent / name, path.parent / "images" / name]
    file = next((place for place in places if place.is_file()), places[0])
    encoded, size = picture(file)
    if image.size != size:
        raise RecordError(
            f"labels are for {image.size[0]}x{image.size[1]} pixels, the picture has {size[0]}x{size[1]}",
            "Find the picture they were drawn on", record,
        )  # fmt: skip
    marked = tuple(_marked(node, size, f"{record}, shape {i}") for i, node in enumerate(image.shapes, 1))
    return Field(file, path, encoded, size, marked)


def _marked(node: Element, size: tuple[int, int], record: str) -> Marked:
    if node.tag not in ("box", "polygon"):
        raise RecordError(f"shapes of kind {node.tag[:40]!r} cannot be read", "Draw a box or a polygon instead", record)
    box, drawn = shape_of(node, record)
    return Marked(record, node.get("label", "").strip(), box, outline_of(drawn, box, size, record))
