"""Label images: images/<name>, and labels/<class>/<name> whose pixels are the numbers of cells, 0 where there is none.

PNG or TIFF of 8 or 16 bits (or 32 in TIFF), one channel. A class without a picture of that name has no cell there; a
field without any is a field without cells.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pbsbatch.datasets.headers import MOST_PIXELS, claimed_pixels
from pbsbatch.datasets.outlines import outline_of_mask
from pbsbatch.datasets.readers.fields import DataSet, Field, Marked, picture, pictures_in, read_bytes
from pbsbatch.datasets.readers.problems import DataError, Problems, RecordError

__all__ = ["ENDINGS", "numbers_of", "read_labels"]

ENDINGS = (".png", ".tif", ".tiff")
MOST_COVER = 16
"""Boxes of cells cover their picture no more often than that; numbers strewn like noise do, and each costs its box."""


def read_labels(data: DataSet, problems: Problems) -> Iterator[Field]:
    """Yield the fields of one folder, sorted by name."""
    root = data.root / data.split
    folders = sorted(p for p in (root / "labels").glob("*") if p.is_dir())
    if not folders:
        raise DataError("no folders of classes here", path=root / "labels", cure="Expected labels/<class>/<name>.png")
    named = {f.name: {p.stem: p for p in sorted(f.iterdir()) if p.suffix.lower() in ENDINGS} for f in folders}
    images = pictures_in(root / "images")
    for stem, image in images.items():
        with problems.field(root / "labels"):
            encoded, size = picture(image)
            marked = [m for kind, files in named.items() if stem in files for m in _marked(files[stem], kind, size)]
            yield Field(image, root / "labels", encoded, size, tuple(marked))
    for kind, files in named.items():
        for stem in sorted(set(files) - set(images)):
            with problems.field(files[stem]):
                raise RecordError(f"labels of {kind} without a picture", "Put the picture beside the others")


def _marked(path: Path, kind: str, size: tuple[int, int]) -> Iterator[Marked]:
    ids = numbers_of(path, size)
    numbers, boxes = _boxes(ids)
    if (boxes[:, 2:] - boxes[:, :2]).prod(1).sum() > MOST_COVER * ids.size:
        raise RecordError(
            f"{_place(path)} has {len(numbers):,} numbers strewn all over", "Number the pixels of each cell alike"
        )
    for number, (x0, y0, x1, y1) in zip(numbers.tolist(), boxes.tolist(), strict=True):
        window = np.array([0, 0, x1 - x0, y1 - y0], np.float32)
        outline = outline_of_mask(ids[y0:y1, x0:x1] == number, window)
        yield Marked(f"{_place(path)}, cell {number}", kind, (float(x0), float(y0), float(x1), float(y1)), outline)


def _boxes(ids: NDArray[np.integer]) -> tuple[NDArray[np.integer], NDArray[np.int64]]:
    """Return the numbers that occur and their boxes (N, 4)."""
    rows, columns = np.nonzero(ids)
    numbers, which = np.unique(ids[rows, columns], return_inverse=True)
    boxes = np.zeros((len(numbers), 4), np.int64)
    boxes[:, :2] = np.iinfo(np.int64).max
    for axis, places in enumerate((columns, rows)):
        np.minimum.at(boxes[:, axis], which, places)
        np.maximum.at(boxes[:, 2 + axis], which, places + 1)
    return numbers, boxes


def numbers_of(path: Path, size: tuple[int, int]) -> NDArray[np.integer]:
    """Return a label image's numbers (H, W). Law: it has the size of its picture, and one channel of whole numbers."""
    seen = _decoded(read_bytes(path))
    if seen is None:
        raise RecordError(f"{_place(path)} is no picture or is damaged", "Copy it again or take it out")
    if seen.ndim != 2 or seen.dtype.kind not in "iu":
        channels = seen.shape[2] if seen.ndim > 2 else 1
        raise RecordError(
            f"{_place(path)} has {channels} channel{'s' * (channels > 1)} of {seen.dtype}",
            "Save whole numbers, one channel",
        )
    if (seen.shape[1], seen.shape[0]) != size:
        raise RecordError(
            f"{_place(path)} has {seen.shape[1]}x{seen.shape[0]} pixels, its picture {size[0]}x{size[1]}",
            "Find the picture they were drawn on",
        )
    return np.asarray(seen)


def _decoded(encoded: bytes) -> NDArray[np.generic] | None:
    if not encoded or (claimed_pixels(encoded) or 0) > MOST_PIXELS:
        return None
    try:
        return cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:  # of what claims more than OpenCV's own limit
        return None


def _place(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"
