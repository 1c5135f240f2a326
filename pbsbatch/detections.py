"""Detections: the cells of one or many tiles as a frozen struct of arrays, in level-0 pixels.

A mask is packed bits inside an integer window: row-major over the window's h * w pixels, most
significant bit first, each mask starting on a new byte. Masks lie one behind the other in `bits`;
mask i is bits[offsets[i]:offsets[i + 1]].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "DISAGREE",
    "DOUBTS",
    "LOW_MARGIN",
    "NEAR_BORDER",
    "OWNED",
    "SECOND",
    "UNTYPED",
    "Detections",
    "unasked",
    "untyped",
]

OWNED = 1
"""flags bit: the centre lies in the core of the tile that saw the cell."""
NEAR_BORDER = 2
"""flags bit: the centre lies within the seam band around that core's border."""
UNTYPED = 255
"""types of a cell that has no type beyond its class."""
SECOND = np.dtype([("second_type", "u1"), ("second_score", "f4"), ("second_flags", "u1")])
"""What a second opinion says of a cell: a type or UNTYPED, its chance, and DISAGREE | LOW_MARGIN."""
DISAGREE = 1
"""second_flags bit: both name a type, and not the same."""
LOW_MARGIN = 2
"""second_flags bit: the two likeliest types of one of them lie close together."""
DOUBTS = ("", "disagree", "low margin", "disagree, low margin")
"""second_flags in words."""


@dataclass(frozen=True, slots=True)
class Detections:
    """N cells. Law: every array has length N; offsets has N + 1; nothing is written after creation."""

    boxes: NDArray[np.float32]  # (N, 4) x0, y0, x1, y1 in level-0 px
    scores: NDArray[np.float32]  # (N,) 0..1
    classes: NDArray[np.uint8]  # (N,) index into the model's class names
    tiles: NDArray[np.int32]  # (N,) index of the tile that saw the cell
    flags: NDArray[np.uint8]  # (N,) OWNED | NEAR_BORDER
    windows: NDArray[np.int32]  # (N, 4) x, y, w, h of the mask window in level-0 px
    offsets: NDArray[np.int64]  # (N + 1,) byte offsets into bits
    bits: NDArray[np.uint8]  # packed mask bits
    types: NDArray[np.uint8]  # (N,) index into the names of types, or UNTYPED
    type_scores: NDArray[np.float32]  # (N,) chance of the type, 0..1; 0 where there is none
    second: NDArray[Any] | None = None  # (N,) of SECOND; None: nobody gave any of them a second opinion

    def __len__(self) -> int:
        return len(self.scores)

    def __post_init__(self) -> None:
        n = len(self.scores)
        shapes = {
            "boxes": (n, 4), "scores": (n,), "classes": (n,), "tiles": (n,),
            "flags": (n,), "windows": (n, 4), "offsets": (n + 1,), "bits": (int(self.offsets[-1]),),
            "types": (n,), "type_scores": (n,),
        }  # fmt: skip
        if self.second is not None:
            shapes["second"] = (n,)
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"Detections.{name} has shape {getattr(self, name).shape}, expected {shape}")

    @classmethod
    def empty(cls) -> Detections:
        """Return no cells."""
        return cls(
            boxes=np.zeros((0, 4), np.float32), scores=np.zeros(0, np.float32), classes=np.zeros(0, np.uint8),
            tiles=np.zeros(0, np.int32), flags=np.zeros(0, np.uint8), windows=np.zeros((0, 4), np.int32),
            offsets=np.zeros(1, np.int64), bits=np.zeros(0, np.uint8), **untyped(0),
        )  # fmt: skip

    @classmethod
    def concat(cls, parts: Sequence[Detections]) -> Detections:
        """Return the cells of all parts, in the order given."""
        if not parts:
            return cls.empty()
        arrays = {
            f.name: np.concatenate([getattr(p, f.name) for p in parts])
            for f in fields(cls)
            if f.name not in ("offsets", "second")
        }
        asked = any(p.second is not None for p in parts)
        second = [unasked(len(p)) if p.second is None else p.second for p in parts] if asked else []
        sizes = np.concatenate([np.diff(p.offsets) for p in parts])
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        return cls(offsets=offsets, second=np.concatenate(second) if asked else None, **arrays)

    def take(self, index: NDArray[np.integer] | NDArray[np.bool_]) -> Detections:
        """Return the chosen cells, in the order of index; a boolean mask keeps the present order."""
        rows = np.flatnonzero(index) if index.dtype == np.bool_ else np.asarray(index, np.int64)
        sizes = np.diff(self.offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        source = np.repeat(self.offsets[rows] - offsets[:-1], sizes) + np.arange(offsets[-1])
        return Detections(
            boxes=self.boxes[rows], scores=self.scores[rows], classes=self.classes[rows], tiles=self.tiles[rows],
            flags=self.flags[rows], windows=self.windows[rows], offsets=offsets, bits=self.bits[source],
            types=self.types[rows], type_scores=self.type_scores[rows],
            second=None if self.second is None else self.second[rows],
        )  # fmt: skip

    @property
    def centres(self) -> NDArray[np.float64]:
        """Return (N, 2) box centres as (x, y)."""
        b = self.boxes.astype(np.float64)
        return np.stack([(b[:, 0] + b[:, 2]) / 2, (b[:, 1] + b[:, 3]) / 2], axis=1)

    def mask(self, i: int) -> NDArray[np.bool_]:
        """Return mask i as a boolean array of its window's (h, w)."""
        w, h = int(self.windows[i, 2]), int(self.windows[i, 3])
        flat = np.unpackbits(self.bits[self.offsets[i] : self.offsets[i + 1]], count=w * h)
        return flat.reshape(h, w).astype(np.bool_)


def untyped(n: int) -> dict[str, NDArray[Any]]:
    """Return the columns `types` and `type_scores` of n cells that have no type."""
    return {"types": np.full(n, UNTYPED, np.uint8), "type_scores": np.zeros(n, np.float32)}


def unasked(n: int) -> NDArray[Any]:
    """Return `second` of n cells of which nobody was asked."""
    cells = np.zeros(n, SECOND)
    cells["second_type"] = UNTYPED
    return cells
