"""Look at each picture of a labelled data set once, and keep little of it.

Laws. Every mark is counted once: sound, without area, or outside of the picture. Memory follows the labels and the
number of pictures, not their pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pbsbatch.datasets.pixels import clipped, glass, resized
from pbsbatch.datasets.readers import DataSet, Field, Problems, fields, read_folders
from pbsbatch.datasets.readers.fields import OVERHANG_PX, picture
from pbsbatch.datasets.samples import decode

__all__ = ["Look", "look_at"]

Image = NDArray[np.uint8]
F32 = NDArray[np.float32]

THUMB_PX = 68
"""Side of the square pictures that are compared; what duplicates.group looks at in the end."""
LOOK_PX = 320
"""Longer side at which stained pixels are counted."""
DARK = 0.88
"""A pixel is stained that is so much darker than the glass, in green."""
TWIN_IOU = 0.9
"""Two boxes of one picture that share so much are one cell marked twice."""


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What one picture came to."""

    name: str
    split: str
    path: Path
    size: tuple[int, int]
    names: tuple[str, ...]  # of the sound marks' classes
    boxes: F32  # (N, 4) of the sound marks, cut to the picture
    zero_area: int
    outside: int
    over_edge: int  # sound ones that hang over the picture's edge
    twins: tuple[tuple[int, int], ...]  # pairs of sound marks that are one cell
    crowds: int
    stained: float  # share of the picture
    bare: float  # share of the stained pixels that no box holds; NaN where nothing is stained
    thumb: Image


def look_at(data: DataSet, problems: Problems) -> Iterator[Look]:
    """Yield what each picture of one split came to; pictures that cannot be used become problems."""
    if data.format == "folder":
        yield from _cells(data, problems)
        return
    for field in fields(data, problems):
        yield _of_field(field, data.split)


def _of_field(field: Field, split: str) -> Look:
    raw = np.array([c.box for c in field.cells], np.float64).reshape(-1, 4)
    width, height = field.size
    area = np.all(np.isfinite(raw), axis=1) & np.all(raw[:, 2:] > raw[:, :2], axis=1)
    edge = np.array([0, 0, width, height], np.float32)
    cut, share = clipped(np.where(area[:, None], raw, 0).astype(np.float32), edge)
    sound = area & (share > 0)
    over = sound & (np.abs(cut - raw).max(axis=1, initial=0) > OVERHANG_PX)
    boxes = cut[sound]
    pixels = decode(field.encoded)
    assert pixels is not None  # the reader decoded it
    stained, bare = _stain(pixels, boxes)
    return Look(
        field.name, split, field.image, field.size,
        tuple(c.name for c, good in zip(field.cells, sound.tolist(), strict=True) if good), boxes,
        int((~area).sum()), int((area & ~sound).sum()), int(over.sum()), _twins(boxes), len(field.crowds),
        stained, bare, resized(pixels, (THUMB_PX, THUMB_PX)),
    )  # fmt: skip


def _cells(data: DataSet, problems: Problems) -> Iterator[Look]:
    """Yield the pictures of class folders: each is one cell, without a box."""
    for cell in read_folders(data.root):
        with problems.field(cell.path):
            encoded, size = picture(cell.path)
            pixels = decode(encoded)
            assert pixels is not None
            yield Look(
                f"{cell.kind}/{cell.path.stem}", data.split, cell.path, size, (cell.kind,),
                np.zeros((0, 4), np.float32), 0, 0, 0, (), 0, float("nan"), float("nan"),
                resized(pixels, (THUMB_PX, THUMB_PX)),
            )  # fmt: skip


def _twins(boxes: F32) -> tuple[tuple[int, int], ...]:
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    both = np.maximum(high - low, 0).prod(2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    iou = both / np.maximum(area[:, None] + area[None, :] - both, 1e-6)
    return tuple((int(i), int(j)) for i, j in np.argwhere(iou >= TWIN_IOU) if i < j)


def _stain(pixels: Image, boxes: F32) -> tuple[float, float]:
    """Return how much of a picture is stained, and how much of that no box holds."""
    height, width = pixels.shape[:2]
    shrink = min(1.0, LOOK_PX / max(height, width))
    small = resized(pixels, (max(1, round(width * shrink)), max(1, round(height * shrink))))
    dark = small[..., 1] < DARK * float(glass(small)[1])
    dark = cv2.morphologyEx(dark.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)).astype(np.bool_)
    held = np.zeros(dark.shape, np.bool_)
    for x0, y0, x1, y1 in (boxes * shrink).tolist():
        held[max(0, int(y0) - 1) : int(y1) + 2, max(0, int(x0) - 1) : int(x1) + 2] = True
    many = int(dark.sum())
    return many / dark.size, int((dark & ~held).sum()) / many if many else float("nan")
