"""Single-cell pictures as a classifier learns from them, and which of them it must never see.

Laws, unless the settings ask for a study's split. A picture's split is a function of the name of its group's first
picture alone: adding or taking away others moves none but those that the change joins or parts. No group is in two
splits. A label may name a type alone (a neutrophil, an immature granulocyte) and then stands for all its kinds.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pbsbatch.datasets.duplicates import Groups, group
from pbsbatch.datasets.headers import claimed_pixels
from pbsbatch.datasets.readers import CellPicture, DataError, read_folders
from pbsbatch.models.taxonomy import KINDS, TYPES, kinds_of, of_types
from pbsbatch.train.classifier.augment_study import apply, vector_of
from pbsbatch.train.classifier.settings import GROUPS, Pictures, Settings

__all__ = ["SPLITS", "Cell", "Split", "decoded", "load", "read_all", "some_cells", "split_of"]

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


def load(
    settings: Settings, root: Path, skip: Callable[[Path, str], None] = lambda path, why: None
) -> tuple[dict[str, Split], Groups]:
    """Return the splits of all data sets below root, and what was found to belong together.

    A picture that cannot be read is told to `skip` and left out.
    """
    cells, groups = read_all(settings, root, skip)
    parts = by_groups(settings, cells, groups) if settings.split == GROUPS else at_random(settings, cells)
    missing = [f"no {kind} in {name}" for name, part in parts.items() for kind in _absent(part, cells)]
    if missing:
        raise DataError(f"too few pictures: {', '.join(missing)}", path=root, cure="Give more of these")
    return {name: Split(part) for name, part in parts.items()}, groups


def read_all(
    settings: Settings, root: Path, skip: Callable[[Path, str], None] = lambda path, why: None
) -> tuple[list[Cell], Groups]:
    """Return the cells of all data sets below root, and which of them belong together; two types at least."""
    cells = [cell for table in settings.pictures for cell in _read(table, root, skip)]
    types = {TYPES[t] for t in Split(cells).types} if cells else set()
    if len(types) < 2:
        raise DataError(
            f"there is {f'one type alone, {min(types)}' if types else 'no picture that can be read'}", path=root,
            cure="Give pictures of two types at least, a folder for each",
        )  # fmt: skip
    return cells, group([cell.pixels for cell in cells])


def some_cells(settings: Settings, root: Path, count: int) -> list[Cell]:
    """Return a few cells of many types, to be looked at: those that come first of each class, in turn."""
    by_label: dict[str, list[Cell]] = {}
    for table in settings.pictures:
        folder = root / table.path
        found = read_folders(folder, {r.begins: r.is_a for r in table.rename})
        for kind in sorted({each.kind for each in found}):
            few = [each.path for each in found if each.kind == kind][:count]
            read = ((path.name, _readable(path)) for path in few)
            cells = [Cell(name, kind, pixels, table.mpp) for name, pixels in read if pixels is not None]
            by_label.setdefault(kind, []).extend(cells)
    turns = [cells[i] for i in range(count) for cells in by_label.values() if i < len(cells)]
    if not turns:
        raise DataError("there is no picture that can be read", path=root, cure="Mend them")
    return turns[:count]


def _readable(path: Path) -> NDArray[np.uint8] | None:
    try:
        return decoded(path)
    except DataError:
        return None


def by_groups(settings: Settings, cells: Sequence[Cell], groups: Groups) -> dict[str, list[Cell]]:
    """Deal out whole groups."""
    first: dict[int, str] = {}
    for cell, number in sorted(zip(cells, groups.of.tolist(), strict=True), key=lambda pair: pair[0].name):
        first.setdefault(number, cell.name)
    parts: dict[str, list[Cell]] = {name: [] for name in SPLITS}
    for cell, number in zip(cells, groups.of.tolist(), strict=True):
        parts[split_of(first[number], settings.shares, settings.split_seed)].append(cell)
    return parts


def at_random(settings: Settings, cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    """Deal out pictures as studies do that know no groups; with copies, augmented ones too, which leaks."""
    dealt = [*cells, *(_copy(settings, cell, n) for n in range(settings.copies) for cell in cells)]
    order = np.random.default_rng(settings.split_seed).permutation(len(dealt))
    ends = np.round(np.cumsum(settings.shares) * len(dealt)).astype(np.int64)
    which = np.split(order, ends[:-1])
    return {name: [dealt[i] for i in np.sort(part)] for name, part in zip(SPLITS, which, strict=True)}


def _copy(settings: Settings, cell: Cell, number: int) -> Cell:
    """Return an augmented copy of a picture, no finer than crops: many copies of fine ones would fill the memory."""
    seed = int.from_bytes(hashlib.sha256(f"{settings.seed}/{cell.name}".encode()).digest()[:4], "big")
    zoom = min(1.0, cell.mpp / settings.crop_mpp)
    height, width = (max(1, round(length * zoom)) for length in cell.pixels.shape[:2])
    pixels = np.asarray(cv2.resize(cell.pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    made = apply(vector_of(settings.augment), pixels[None], seed, number)[0]
    return replace(cell, name=f"{cell.name}#{number}", pixels=made, mpp=cell.mpp / zoom)


def split_of(name: str, shares: Sequence[float] = tuple(SPLITS.values()), seed: int = 0) -> str:
    """Return the split of a group by the name of its first picture."""
    named = f"{seed}/{name}" if seed else name
    share = int.from_bytes(hashlib.sha256(named.encode()).digest()[:8], "big") / 2**64
    for split, part in zip(SPLITS, shares, strict=True):
        share -= part
        if share < 0:
            return split
    return list(SPLITS)[-1]


def _read(table: Pictures, root: Path, skip: Callable[[Path, str], None]) -> Iterator[Cell]:
    """Yield the cells of one data set that can be read."""
    folder = root / table.path
    found = read_folders(folder, {r.begins: r.is_a for r in table.rename})
    _refuse_unknown(folder, found)
    for each in found:
        try:
            pixels = decoded(each.path)
        except DataError as error:
            skip(each.path, error.what)
            continue
        yield Cell(f"{table.path}/{each.path.relative_to(folder)}", each.kind, pixels, table.mpp)


def _refuse_unknown(folder: Path, found: Sequence[CellPicture]) -> None:
    """Refuse classes that are no type or kind of cell; say all of them, and what each may have meant."""
    known = [*TYPES, *(kind for kind in KINDS if kind not in TYPES)]
    unknown = sorted({cell.kind for cell in found} - set(known))
    if not unknown:
        return
    near = {name: difflib.get_close_matches(name.lower().replace(" ", "_"), known, n=1) for name in unknown}
    said = ", ".join(repr(name) + (f" (is it {close[0]}?)" if close else "") for name, close in near.items())
    raise DataError(
        f"no type or kind of cell is called {said}; there are {', '.join(known)}", path=folder,
        cure=f"Say what they are: --rename {unknown[0]}={(near[unknown[0]] or ['lymphocyte'])[0]}, or in the settings, "
        "or in the --map file of `models adapt`",
    )  # fmt: skip


def decoded(path: Path) -> NDArray[np.uint8]:
    """Return the pixels of a picture of one cell. Raises DataError where it is none."""
    encoded = path.read_bytes()
    if (claimed_pixels(encoded) or 0) > MOST_PX**2:
        raise DataError(f"{claimed_pixels(encoded):,} pixels are no cell", path=path, cure="Mend it or take it away")
    try:
        pixels = cv2.imdecode(np.frombuffer(encoded or b"\0", np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # of what claims more than OpenCV's own limit
        pixels = None
    if pixels is None or not LEAST_PX <= min(pixels.shape[:2]) <= max(pixels.shape[:2]) <= MOST_PX:
        what = "it cannot be decoded" if pixels is None else f"{pixels.shape[1]}x{pixels.shape[0]} pixels are no cell"
        raise DataError(what, path=path, cure="Mend it or take it away")
    return np.ascontiguousarray(pixels[..., ::-1], np.uint8)


def _absent(part: Sequence[Cell], cells: Sequence[Cell]) -> list[str]:
    """Return the types that are in the data and not in a split."""
    there = np.zeros(len(TYPES), np.bool_)
    there[Split(part).types] = True
    return [TYPES[t] for t in np.unique(Split(cells).types) if not there[t]]
