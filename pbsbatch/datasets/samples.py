"""Sample: one labelled field, as training reads it.

Laws. A sample is a value: it is never changed, and `replace` makes another. Pixels stay as the file's bytes
until they are asked for: a thousand fields take 50 MB, where their pixels would take a gigabyte.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from pbsbatch.datasets.headers import MOST_PIXELS, claimed_pixels

__all__ = [
    "BORDER_PX",
    "CLASSES",
    "PLATELET",
    "RAYS",
    "RED",
    "WHITE",
    "Sample",
    "decode",
    "encode",
    "names_of",
    "red_cell_diameter",
    "with_source_scale",
]

CLASSES = ("RBC", "WBC", "Platelet")
RED, WHITE, PLATELET = range(3)
RAYS = 32
"""Directions of an outline, the first along x, the next towards y."""

MIN_RED = 3
"""A field with fewer whole red cells takes its source's median diameter."""
FAST_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
"""Runs instead of matches, and one filter instead of the best of all for each row: as small, in under half the time."""
if hasattr(cv2, "IMWRITE_PNG_FILTER"):  # older OpenCV has but one
    FAST_PNG += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_AVG]
BORDER_PX = 2.0
"""A box that comes so near the field's border may belong to a cell that the border cuts."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A field, its cells, and where nothing may be taught as background."""

    name: str  # unique in its data set
    source: str  # laboratory or data set
    encoded: bytes  # a PNG or JPEG file
    size: tuple[int, int]  # width, height
    boxes: NDArray[np.float32]  # (N, 4) x0, y0, x1, y1 in pixels
    classes: NDArray[np.uint8]  # (N,) index into names
    outlines: NDArray[np.float32]  # (N, RAYS) fraction of the ellipse inscribed in the box; NaN where unknown
    unsure: NDArray[np.float32]  # (K, 4) boxes within which nothing may be taught as background
    red_cell_px: float  # median diameter of the red cells; NaN where neither field nor source has any
    names: tuple[str, ...] = field(default=CLASSES, kw_only=True)  # of classes, by number; the first are CLASSES
    likes: tuple[int, ...] = field(default=(RED, WHITE, PLATELET), kw_only=True)  # as which of them each counts; or -1

    def __post_init__(self) -> None:
        n = len(self.boxes)
        wanted = {"boxes": (n, 4), "classes": (n,), "outlines": (n, RAYS), "unsure": (len(self.unsure), 4)}
        for name, shape in wanted.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{self.name}: {name} must have shape {shape}, not {getattr(self, name).shape}")
        if n and not (np.isfinite(self.boxes).all() and (self.boxes[:, 2:] > self.boxes[:, :2]).all()):
            raise ValueError(f"{self.name}: every box needs finite corners and an area")
        if n and int(self.classes.max()) >= len(self.names):
            raise ValueError(f"{self.name}: classes are 0..{len(self.names) - 1}, not {int(self.classes.max())}")

    @property
    def alike(self) -> NDArray[np.int64]:
        """Return which of CLASSES each cell is counted as; -1: nothing tells."""
        return np.array(self.likes, np.int64)[self.classes]

    @property
    def image(self) -> NDArray[np.uint8]:
        """Return the pixels (H, W, 3) RGB, decoded anew each time."""
        pixels = decode(self.encoded)
        if pixels is None:
            raise ValueError(f"{self.name}: the picture cannot be decoded")
        return pixels


def names_of(samples: Sequence[Sample]) -> tuple[str, ...]:
    """Return the names of all classes of samples that were read with one vocabulary."""
    return max((sample.names for sample in samples), key=len, default=CLASSES)


def decode(encoded: bytes) -> NDArray[np.uint8] | None:
    """Return the pixels (H, W, 3) RGB of a picture file; None if it is damaged, absurdly large, or no picture."""
    if not encoded or (claimed_pixels(encoded) or 0) > MOST_PIXELS:
        return None
    try:
        pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:  # of what claims more than OpenCV's own limit
        return None
    return None if pixels is None else np.asarray(pixels, np.uint8)


def encode(pixels: NDArray[np.uint8]) -> bytes:
    """Return pixels (H, W, 3) RGB as a PNG file, packed fast rather than small."""
    done, file = cv2.imencode(".png", pixels[..., ::-1], FAST_PNG)
    assert done
    return bytes(file.data)


def red_cell_diameter(boxes: NDArray[np.float32], classes: NDArray[np.uint8], size: tuple[int, int]) -> float:
    """Return the median diameter of the red cells that lie whole in the field; NaN if there are fewer than MIN_RED."""
    width, height = size
    whole = (boxes[:, :2] > BORDER_PX).all(1) & (boxes[:, 2] < width - BORDER_PX) & (boxes[:, 3] < height - BORDER_PX)
    red = boxes[whole & (classes == RED)]
    if len(red) < MIN_RED:
        return float("nan")
    return float(np.median(np.sqrt((red[:, 2] - red[:, 0]) * (red[:, 3] - red[:, 1]))))


def with_source_scale(samples: Sequence[Sample]) -> list[Sample]:
    """Give each sample without a diameter of its own the median of its source's samples."""
    known: dict[str, list[float]] = {}
    for sample in samples:
        if np.isfinite(sample.red_cell_px):
            known.setdefault(sample.source, []).append(sample.red_cell_px)
    medians = {source: float(np.median(found)) for source, found in known.items()}
    return [
        sample if np.isfinite(sample.red_cell_px) else replace(sample, red_cell_px=medians.get(sample.source, np.nan))
        for sample in samples
    ]
