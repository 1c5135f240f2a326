"""Read "CVAT for images 1.1": boxes and polygons of each image, as truth.

Laws. A file that declares a document type, and with it entities, is refused before anything of it is used; nothing is
fetched, and sizes are bounded. Ellipses, points and masks of CVAT are no truth here: they are counted and named.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser

import numpy as np

from pbsbatch.errors import UsageError, one_line
from pbsbatch.evaluate.labels import Labelled
from pbsbatch.evaluate.shapes import masks_of_segmentations

__all__ = ["CvatImage", "read_cvat"]

MOST_BYTES = 256 << 20
CURE = "Export it from CVAT as 'CVAT for images 1.1'"
Judge = Callable[[tuple[float, float, float, float], tuple[int, int]], str]


@dataclass
class CvatImage:
    """One image's shapes."""

    name: str
    size: tuple[int, int]
    names: list[str] = field(default_factory=list)
    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)
    drawn: list[Any] = field(default_factory=list)  # as COCO has polygons; None of a box

    def labelled(self, classes: tuple[str, ...]) -> Labelled:
        """Return them as truth."""
        boxes = np.array(self.boxes, np.float64).reshape(-1, 4)
        kinds = np.array([classes.index(n) for n in self.names], np.int64)
        return Labelled(
            self.name, boxes, kinds, size=self.size, masks=masks_of_segmentations(self.drawn, boxes, self.size)
        )


class _NoDoctype(TreeBuilder):
    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError(f"it declares a document type {name!r}, which annotations have no use for")


def read_cvat(path: Path, wrong: Judge) -> tuple[list[CvatImage], list[str]]:
    """Return the images of a file, and what was left out of them."""
    tree, bad, other = _parsed(path), [], Counter[str]()
    images = []
    for node in tree.iterfind("image"):
        image = _image(node, path)
        images.append(image)
        for place, shape in enumerate(node, 1):
            if shape.tag not in ("box", "polygon"):
                other[shape.tag] += shape.tag != "tag"
                continue
            try:
                box, drawn = _shape(shape)
            except (KeyError, ValueError) as error:
                raise UsageError(
                    f"the points of shape {place} of {one_line(image.name)[:80]} are no numbers", path=path, cure=CURE
                ) from error
            why = wrong(box, image.size)
            if why:
                bad.append(f"{image.name}, shape {place}: {why}")
                continue
            image.names.append(one_line(shape.get("label", ""))[:200])
            image.boxes.append(box)
            image.drawn.append(drawn)
    if not images:
        raise UsageError("it holds no image", path=path, cure=CURE)
    bad += [f"{count} shapes of kind {kind}" for kind, count in sorted((+other).items())]
    return images, bad


def _parsed(path: Path) -> Element:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UsageError(
                f"it is larger than {MOST_BYTES >> 20} MB", path=path, cure="Export fewer images at a time"
            )
        parser = XMLParser(target=_NoDoctype())  # noqa: S314  # entities need a document type, which is refused
        parser.feed(path.read_bytes())
        tree: Element = parser.close()
    except OSError as error:
        raise UsageError(f"cannot read it ({error.strerror})", path=path) from error
    except (ParseError, ValueError, LookupError) as error:
        raise UsageError(f"it is no file of annotations: {error}", path=path, cure=CURE) from error
    if tree.tag != "annotations" or tree.findtext("version") != "1.1":
        raise UsageError("it is no file of annotations of version 1.1", path=path, cure=CURE)
    return tree


def _image(node: Element, path: Path) -> CvatImage:
    try:
        name, size = node.attrib["name"], (int(node.attrib["width"]), int(node.attrib["height"]))
    except (KeyError, ValueError) as error:
        raise UsageError("an image has no name or no size", path=path, cure=CURE) from error
    if min(size) < 1 or max(size) > 10_000_000 or len(name) > 4096:
        raise UsageError("an image's name or size cannot be meant", path=path, cure=CURE)
    return CvatImage(name, size)


def _shape(shape: Element) -> tuple[tuple[float, float, float, float], Any]:
    if shape.tag == "box":
        x0, y0, x1, y1 = (float(shape.attrib[side]) for side in ("xtl", "ytl", "xbr", "ybr"))
        return (x0, y0, x1, y1), None
    points = np.array([[float(v) for v in pair.split(",")] for pair in shape.attrib["points"].split(";")], np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3:
        raise ValueError("a polygon needs three corners")
    (x0, y0), (x1, y1) = points.min(0).tolist(), points.max(0).tolist()
    return (x0, y0, x1, y1), [points.ravel().tolist()]
