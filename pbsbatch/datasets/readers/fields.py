"""What all readers share: pictures, the field as its files have it, class names, boxes, and the finished sample.

Law: a Field holds every mark of its files, also those that no training may see; judging them is its reader's matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pbsbatch.datasets.readers.problems import DataError, Problems, RecordError
from pbsbatch.datasets.readers.vocabulary import Vocabulary
from pbsbatch.datasets.samples import RAYS, RED, WHITE, Sample, decode, red_cell_diameter

__all__ = [
    "MAX_FILE_BYTES",
    "MAX_TEXT_BYTES",
    "PICTURES",
    "DataSet",
    "Field",
    "Marked",
    "class_of",
    "cut_box",
    "pictures_in",
    "read_bytes",
    "sample_of",
]

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")
MAX_FILE_BYTES = 256 << 20
"""A larger picture is a slide, not a field."""
MAX_TEXT_BYTES = 64 << 20
OVERHANG_PX = 2.0
"""A box may leave the picture so far by rounding; more is worth a note."""


@dataclass(frozen=True, slots=True)
class DataSet:
    """A folder of labelled fields and what its files cannot say."""

    root: Path
    format: str = "yolo"  # voc, yolo, coco, cvat or labels
    split: str = ""  # sub-folder or file stem, as train and val
    source: str = ""  # laboratory; empty: what stands before the first _ of the file's name
    complete: bool = True  # False: not every cell is marked, so nothing may be taught as background
    red_cell_px: float = float("nan")  # where fields hold too few red cells to tell


@dataclass(frozen=True, slots=True)
class Marked:
    """One marked cell as a label file has it, under the file's own word for its class."""

    record: str
    name: str
    box: tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels
    outline: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """A picture and what its label file marks in it, not yet judged."""

    image: Path
    labels: Path
    encoded: bytes  # the picture's file
    size: tuple[int, int]  # width, height
    cells: tuple[Marked, ...]
    crowds: tuple[tuple[float, float, float, float], ...] = ()  # places where cells were not told apart

    @property
    def name(self) -> str:
        """Return the picture's stem."""
        return self.image.stem


def class_of(name: str, record: str = "") -> int:
    """Return the class that a data set's own word means."""
    return Vocabulary().number(name, record)


def pictures_in(folder: Path) -> dict[str, Path]:
    """Return the pictures of a folder by stem, sorted; a stem that stands for two files is refused."""
    if not folder.is_dir():
        raise DataError("no such folder", path=folder, cure="Give the folder that holds the data set")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in PICTURES:
            if path.stem in found:
                raise DataError(f"two pictures share the name {path.stem!r}", path=folder, cure="Rename one of them")
            found[path.stem] = path
    if not found:
        raise DataError("no pictures here", path=folder, cure=f"Expected files that end in {', '.join(PICTURES)}")
    return found


def read_bytes(path: Path, limit: int = MAX_FILE_BYTES) -> bytes:
    """Return a file's bytes; one that is missing or absurdly large is a bad record."""
    try:
        if path.stat().st_size > limit:
            raise RecordError(f"the file is larger than {limit >> 20} MiB", "Cut it into fields")
        return path.read_bytes()
    except OSError as e:
        raise RecordError(f"cannot be read: {e.strerror}", "Restore the file or take its entry out") from e


def picture(path: Path) -> tuple[bytes, tuple[int, int]]:
    """Return a picture's bytes and its size (width, height)."""
    encoded = read_bytes(path)
    pixels = decode(encoded)
    if pixels is None:
        raise RecordError(f"{path.name} is no picture or is damaged", "Copy it again or take it out")
    return encoded, (pixels.shape[1], pixels.shape[0])


def sample_of(data: DataSet, field: Field, problems: Problems, words: Vocabulary) -> Sample:
    """Return the finished sample: boxes cut to the picture, empty ones dropped with a note."""
    kept: list[Marked] = []
    boxes: list[NDArray[np.float32]] = []
    classes: list[int] = []
    for cell in field.cells:
        box = cut_box(cell, field.size, field.labels, problems)
        if box is not None:
            kept.append(cell)
            boxes.append(box)
            classes.append(words.number(cell.name, cell.record))
    unknown = np.full(RAYS, np.nan, np.float32)
    unsure = [*field.crowds] if data.complete else [(0.0, 0.0, *map(float, field.size)), *field.crowds]
    all_boxes = np.array(boxes, np.float32).reshape(-1, 4)
    kinds = np.array(classes, np.uint8)
    alike = np.array(words.likes)[kinds]
    measured = red_cell_diameter(all_boxes, np.where(alike == RED, RED, WHITE).astype(np.uint8), field.size)
    return Sample(
        name=field.name, source=data.source or field.name.partition("_")[0], encoded=field.encoded, size=field.size,
        boxes=all_boxes, classes=kinds,
        outlines=np.array([unknown if c.outline is None else c.outline for c in kept], np.float32).reshape(-1, RAYS),
        unsure=np.array(unsure, np.float32).reshape(-1, 4),
        red_cell_px=measured if np.isfinite(measured) else data.red_cell_px, names=words.names, likes=words.likes,
    )  # fmt: skip


def cut_box(cell: Marked, size: tuple[int, int], labels: Path, problems: Problems) -> NDArray[np.float32] | None:
    """Return a mark's box within the picture; None, with a note, where it has no area."""
    box = np.array(cell.box, np.float64)
    if not np.isfinite(box).all():
        raise RecordError(f"corners {cell.box} are no numbers", "Mark the cell again", cell.record)
    if (box[2:] <= box[:2]).any():
        if (box[2:] < box[:2]).any():
            raise RecordError(f"box {cell.box} ends before it begins", "Swap its corners", cell.record)
        problems.note(labels, cell.record, f"box {cell.box} has no area", "It was dropped")
        return None
    limit = np.array([*size, *size], np.float64)
    cut = np.clip(box, 0.0, limit).astype(np.float32)
    if (cut[2:] <= cut[:2]).any():
        raise RecordError(
            f"box {cell.box} lies outside the picture of {size[0]}x{size[1]}", "Check that labels and picture match",
            cell.record,
        )  # fmt: skip
    if np.abs(cut - box).max() > OVERHANG_PX:
        problems.note(labels, cell.record, f"box {cell.box} hangs over the picture's edge", "It was cut")
    return cut
