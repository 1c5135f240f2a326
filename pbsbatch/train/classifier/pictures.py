"""Single-cell pictures as a classifier learns from them, and which of them it must never see.

Laws. A picture's split is a function of the name of its group's first picture alone: adding or taking away others
moves none but those that the change joins or parts. No group is in two splits. A label may name a type alone (a
neutrophil, an immature granulocyte) and then stands for all its kinds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pbsbatch.datasets.duplicates import Groups, group
from pbsbatch.datasets.readers import CellPicture, DataError, read_folders
from pbsbatch.models.taxonomy import KINDS, TYPES, kinds_of, of_types
from pbsbatch.train.classifier.settings import Pictures, Settings

__all__ = ["SPLITS", "Cell", "Split", "decoded", "load", "split_of"]

SPLITS = {"train": 0.7, "calibration": 0.1, "hold-out": 0.2}
"""Shares of the groups. Weights are learnt from the first, chosen and calibrated on the second, judged on the third."""
LEAST_PX, MOST_PX = 16, 4096


@dataclass(frozen=True, slots=True)
class Cell:
    """A picture with one cell in its middle."""

    name: str  # path within the data set
    label: str
    pixels: NDArray[np.uint8]  # (H, W, 3) RGB
    mpp: float


@dataclass(frozen=True, slots=True)
class Split:
    """The cells of one split."""

    cells: Sequence[Cell]

    @property
    def kinds(self) -> NDArray[np.bool_]:
        """Return what each label may stand for, (N, kinds)."""
        out = np.zeros((len(self.cells), len(KINDS)), np.bool_)
        for row, cell in zip(out, self.cells, strict=True):
            row[list(kinds_of(cell.label))] = True
        return out

    @property
    def types(self) -> NDArray[np.int64]:
        """Return each label's type."""
        return np.asarray(of_types(self.kinds.astype(np.float64)).argmax(1), np.int64)

    def weights(self, balance: float) -> NDArray[np.float64]:
        """Return how often each cell is to be drawn, sum 1: rare types more often than they come."""
        counts = np.bincount(self.types, minlength=len(TYPES)).astype(np.float64)
        weights = np.maximum(counts, 1.0)[self.types] ** -balance
        return np.asarray(weights / weights.sum(), np.float64)


def load(settings: Settings, root: Path) -> tuple[dict[str, Split], Groups]:
    """Return the splits of all data sets below root, and what was found to belong together."""
    cells = [cell for table in settings.pictures for cell in _read(table, root)]
    groups = group([cell.pixels for cell in cells])
    first: dict[int, str] = {}
    for cell, number in sorted(zip(cells, groups.of.tolist(), strict=True), key=lambda pair: pair[0].name):
        first.setdefault(number, cell.name)
    parts: dict[str, list[Cell]] = {name: [] for name in SPLITS}
    for cell, number in zip(cells, groups.of.tolist(), strict=True):
        parts[split_of(first[number])].append(cell)
    missing = [f"no {kind} in {name}" for name, part in parts.items() for kind in _absent(part, cells)]
    if missing:
        raise DataError(f"too few pictures: {', '.join(missing)}", path=root, cure="Give more of these")
    return {name: Split(part) for name, part in parts.items()}, groups


def split_of(name: str) -> str:
    """Return the split of a group by the name of its first picture."""
    share = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
    for split, part in SPLITS.items():
        share -= part
        if share < 0:
            return split
    return list(SPLITS)[-1]


def _read(table: Pictures, root: Path) -> Iterator[Cell]:
    """Yield the cells of one data set."""
    folder = root / table.path
    for found in read_folders(folder, {r.begins: r.is_a for r in table.rename}):
        yield Cell(f"{table.path}/{found.path.relative_to(folder)}", _label(found), decoded(found.path), table.mpp)


def _label(found: CellPicture) -> str:
    try:
        kinds_of(found.kind)
    except ValueError as error:
        raise DataError(str(error), path=found.path, cure="Rename its folder in the settings") from error
    return found.kind


def decoded(path: Path) -> NDArray[np.uint8]:
    """Return the pixels of a picture of one cell. Raises DataError where it is none."""
    pixels = cv2.imdecode(np.frombuffer(path.read_bytes() or b"\0", np.uint8), cv2.IMREAD_COLOR)
    if pixels is None or not LEAST_PX <= min(pixels.shape[:2]) <= max(pixels.shape[:2]) <= MOST_PX:
        what = "it cannot be decoded" if pixels is None else f"{pixels.shape[1]}x{pixels.shape[0]} pixels are no cell"
        raise DataError(what, path=path, cure="Mend it or take it away")
    return np.ascontiguousarray(pixels[..., ::-1], np.uint8)


def _absent(part: Sequence[Cell], cells: Sequence[Cell]) -> list[str]:
    """Return the types that are in the data and not in a split."""
    there = np.zeros(len(TYPES), np.bool_)
    there[Split(part).types] = True
    return [TYPES[t] for t in np.unique(Split(cells).types) if not there[t]]
