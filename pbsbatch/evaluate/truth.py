"""Read labelled truth in five formats into cells under their own class names.

Laws. A box without area, or one that lies outside of its picture, is left out, counted and named; a record that cannot
be read at all (a line with the wrong columns, a damaged file) refuses the file, for what it hides may be anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pbsbatch.datasets.readers import DataSet, Field, Problems, fields
from pbsbatch.errors import UsageError
from pbsbatch.evaluate.cvat import read_cvat
from pbsbatch.evaluate.labels import Labelled, Labels, labels_from_coco
from pbsbatch.evaluate.points import read_points

__all__ = ["FORMATS", "read_truth"]

SHOWN = 3
"""Boxes that a note names."""


def read_truth(path: Path, form: str, split: str = "") -> Labels:
    """Return the truth that lies at a path, in one of FORMATS."""
    reader = FORMATS.get(form)
    if reader is None:
        raise UsageError(f"--format must be one of {', '.join(FORMATS)}, not {form!r}")
    if not path.exists():
        raise UsageError("there is no truth", path=path, cure="Check the path")
    return reader(path, split)


def _coco(path: Path, split: str) -> Labels:
    if path.is_dir():
        found = sorted(path.glob(f"{split or '*'}.json"))
        if len(found) != 1:
            raise UsageError(f"{len(found)} .json files here", path=path, cure="Name the file")
        path = found[0]
    return labels_from_coco(path, scored=False)


def _of_folder(form: str) -> Callable[[Path, str], Labels]:
    def read(path: Path, split: str) -> Labels:
        problems = Problems()
        found = list(_fields(fields(DataSet(path, form, split), problems)))
        problems.judge(path, skip_bad=False)
        classes = tuple(sorted({name for _, names, _, _ in found for name in names}))
        bad = [text for _, _, _, wrong in found for text in wrong]
        images = tuple(
            Labelled(
                field.image.name, boxes, np.array([classes.index(n) for n in names], np.int64), size=field.size,
                picture=field.image,
            )
            for field, names, boxes, _ in found
        )  # fmt: skip
        return Labels(classes, images, _notes(bad))

    return read


def _fields(found: Iterable[Field]) -> Iterator[tuple[Field, list[str], NDArray[np.float64], list[str]]]:
    """Yield fields, without their pictures' bytes, with the names and boxes that can be meant, and what cannot."""
    for field in found:
        names, boxes, wrong = [], [], []
        for cell in field.cells:
            why = what_is_wrong(cell.box, field.size)
            if why:
                wrong.append(f"{field.labels.name}, {cell.record}: {why}")
            else:
                names.append(cell.name)
                boxes.append(np.clip(cell.box, 0, [*field.size, *field.size]))
        bare = Field(field.image, field.labels, b"", field.size, field.cells, field.crowds)
        yield bare, names, np.array(boxes, np.float64).reshape(-1, 4), wrong


def what_is_wrong(box: tuple[float, float, float, float], size: tuple[int, int]) -> str:
    """Say why a box cannot be a cell's; nothing if it can."""
    x0, y0, x1, y1 = box
    if not np.isfinite(box).all():
        return "its corners are no numbers"
    if x1 <= x0 or y1 <= y0:
        return "its box has no area"
    if x1 <= 0 or y1 <= 0 or x0 >= size[0] or y0 >= size[1]:
        return f"its box lies outside of the picture of {size[0]} x {size[1]} px"
    return ""


def _notes(bad: list[str]) -> tuple[str, ...]:
    if not bad:
        return ()
    more = f" and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
    return (f"{len(bad)} boxes of the truth were left out: {'; '.join(bad[:SHOWN])}{more}",)


def _cvat(path: Path, split: str) -> Labels:
    images, notes = read_cvat(path, what_is_wrong)
    classes = tuple(sorted({name for image in images for name in image.names}))
    return Labels(classes, tuple(image.labelled(classes) for image in images), _notes(notes))


FORMATS: dict[str, Callable[[Path, str], Labels]] = {
    "coco": _coco, "voc": _of_folder("voc"), "yolo": _of_folder("yolo"), "cvat": _cvat,
    "points": lambda path, split: read_points(path),
}  # fmt: skip
"""Readers by the name of their format."""
