"""The images with the most mistakes, drawn: where they are is what a person has to see.

Laws. A picture shows the image's own pixels, the part of it with the most mistakes where it is large. Only what is
wrong stands out: what is right is a thin line.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pbsbatch.errors import PbsbatchError
from pbsbatch.evaluate.together import Compared
from pbsbatch.evaluate.verdicts import Verdicts
from pbsbatch.slides import open_slide

__all__ = ["COLOURS", "Worst", "worst"]

Boxes = NDArray[np.float64]
SIDE_PX = 1000
COLOURS = {"right": (60, 160, 60), "wrong": (220, 40, 40), "missed": (30, 90, 230), "does not count": (150, 150, 150)}
"""RGB by what became of a cell; what is wrong was found where nothing is, or under another name."""


@dataclass(frozen=True, slots=True)
class Worst:
    """One image with its mistakes."""

    name: str
    wrong: int
    missed: int
    right: int
    region: tuple[int, int, int, int]  # x, y, width, height that is drawn
    pixels: NDArray[np.uint8] | None  # None: there are no pixels at hand


def worst(both: Compared, seen: Verdicts, most: int = 8) -> list[Worst]:
    """Return the images with the most mistakes, the worst first; none without a mistake."""
    n = len(both.images)
    wrong = np.bincount(both.found.images[seen.false_positives], minlength=n)
    missed = np.bincount(both.true.images[seen.missed], minlength=n)
    right = np.bincount(both.true.images[seen.hits[:, 1]], minlength=n)
    order = [i for i in np.argsort(-(wrong + missed), kind="stable").tolist() if wrong[i] + missed[i]]
    return [
        _drawn(both, seen, i, (int(wrong[i]), int(missed[i]), int(right[i]))) for i in order[:most]
    ]  # fmt: skip


def _drawn(both: Compared, seen: Verdicts, image: int, counts: tuple[int, int, int]) -> Worst:
    true, found = both.pairs[image]
    marks = _marks(both, seen, image)
    mistakes = np.concatenate([marks["wrong"], marks["missed"]])
    x, y, w, h = _region(mistakes, found.size or true.size)
    path = found.picture or true.picture
    pixels = None if path is None else _read(path, (x, y, w, h))
    if pixels is not None:
        for what in ("does not count", "right", "missed", "wrong"):
            for box in marks[what]:
                a, b, c, d = (int(v) for v in np.round(box - (x, y, x, y)))
                if c == a and d == b:
                    cv2.circle(pixels, (a, b), 5, COLOURS[what], 2, cv2.LINE_AA)
                else:
                    thick = 2 if what in ("wrong", "missed") else 1
                    cv2.rectangle(pixels, (a, b), (c, d), COLOURS[what], thick, cv2.LINE_AA)
    wrong, missed, right = counts
    return Worst(both.images[image], wrong, missed, right, (x, y, w, h), pixels)


def _marks(both: Compared, seen: Verdicts, image: int) -> dict[str, Boxes]:
    """Return boxes by what became of them; what is right is shown where it was found."""
    here, true_here = both.found.images == image, both.true.images == image
    spared = seen.spared[:, 0]
    ignored = np.flatnonzero(both.true.ignored & true_here)
    found = {"right": seen.hits[:, 0], "wrong": seen.false_positives}
    out = {what: both.found.boxes[rows[here[rows]]] for what, rows in found.items()}
    out["missed"] = both.true.boxes[seen.missed[true_here[seen.missed]]]
    out["does not count"] = np.concatenate([both.found.boxes[spared[here[spared]]], both.true.boxes[ignored]])
    return {what: np.concatenate([b[:, :2], b[:, :2] + b[:, 2:]], axis=1) for what, b in out.items()}


def _region(mistakes: Boxes, size: tuple[int, int] | None) -> tuple[int, int, int, int]:
    """Return the part of an image, on a grid of half its side, that holds the most mistakes."""
    far = mistakes[:, 2:].max(0).astype(int) + 1
    width, height = size or (int(far[0]), int(far[1]))
    w, h = min(SIDE_PX, width), min(SIDE_PX, height)
    centres = (mistakes[:, :2] + mistakes[:, 2:]) / 2
    best, corner = -1, (0, 0)
    for x, y in {(int(c[0] // (w / 2)), int(c[1] // (h / 2))) for c in centres}:
        left, top = (max(0, min(int(p * s / 2), full - s)) for p, s, full in ((x, w, width), (y, h, height)))
        inside = int(((centres >= (left, top)) & (centres < (left + w, top + h))).all(1).sum())
        if (inside, (-left, -top)) > (best, (-corner[0], -corner[1])):
            best, corner = inside, (left, top)
    return *corner, w, h


def _read(path: Path, region: tuple[int, int, int, int]) -> NDArray[np.uint8] | None:
    """Return pixels (h, w, 3) RGB that may be drawn on; None where the image cannot be read."""
    try:
        slide = open_slide(path, id="worst", mpp=None)
    except PbsbatchError:
        return None
    try:
        x, y, w, h = region
        return np.ascontiguousarray(slide.read_scaled(1.0, x, y, w, h)).copy()
    except PbsbatchError:
        return None
    finally:
        slide.close()
