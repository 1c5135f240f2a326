"""Read "CVAT for images 1.1" as truth: boxes and polygons of each image, its picture not needed.

Law: ellipses, points and masks of CVAT are no truth here: they are counted and named.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pbsbatch.datasets.readers.cvat import CvatImage, images_of, shape_of
from pbsbatch.datasets.readers.problems import RecordError
from pbsbatch.errors import UsageError, one_line
from pbsbatch.evaluate.labels import Labelled
from pbsbatch.evaluate.shapes import masks_of_segmentations

__all__ = ["TrueImage", "read_cvat"]

Judge = Callable[[tuple[float, float, float, float], tuple[int, int]], str]


@dataclass
class TrueImage:
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


def read_cvat(path: Path, wrong: Judge) -> tuple[list[TrueImage], list[str]]:
    """Return the images of a file, and what was left out of them."""
    bad: list[str] = []
    other = Counter[str]()
    images = [_image(image, path, wrong, bad, other) for image in images_of(path)]
    return images, bad + [f"{count} shapes of kind {kind}" for kind, count in sorted(other.items())]


def _image(image: CvatImage, path: Path, wrong: Judge, bad: list[str], other: Counter[str]) -> TrueImage:
    out = TrueImage(image.name, image.size)
    for place, shape in enumerate(image.shapes, 1):
        if shape.tag not in ("box", "polygon"):
            other[one_line(shape.tag)[:80]] += 1
            continue
        record = f"shape {place} of {one_line(image.name)[:80]}"
        try:
            box, drawn = shape_of(shape, record)
        except RecordError as error:
            raise UsageError(f"{record}: {error.what}", path=path, cure=error.cure) from error
        why = wrong(box, image.size)
        if why:
            bad.append(f"{image.name}, shape {place}: {why}")
            continue
        out.names.append(one_line(shape.get("label", ""))[:200])
        out.boxes.append(box)
        out.drawn.append(drawn)
    return out
