"""The cells of a laboratory that a classifier is adapted to: white cells of a finished run, or a folder of crops.

Laws. A run's crop is cut where the run cut it, from the same pixels of the same grid. What people corrected in the
run is a label, and what they took away is no cell. A picture that cannot be read is named and left out; it costs
nothing else. Which cells are taken of many depends on the seed alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pbsbatch.datasets.readers.fields import PICTURES
from pbsbatch.datasets.readers.problems import DataError
from pbsbatch.differential import WHITE, window_px
from pbsbatch.errors import PbsbatchError, UsageError, one_line
from pbsbatch.ledger import as_they_are_now
from pbsbatch.models.classifier_facts import ClassifierFacts
from pbsbatch.results import Run, RunSlide, open_run, originals
from pbsbatch.slides import open_slide
from pbsbatch.train.adapt.labels import Names
from pbsbatch.train.classifier.pictures import Cell, decoded

__all__ = ["Target", "is_run", "of_folder", "of_run", "read_target"]

Image = NDArray[np.uint8]

MOST = 3000
"""Cells that are taken: more teach nothing new and take their time."""
AROUND = 1.5
"""Side of the picture that is kept of a cell, in sides of a crop: training turns and moves it, and no more is held."""
ROWS = 1 << 18
SHOWN = 3


@dataclass(frozen=True, slots=True)
class Target:
    """Cells, some with a label, and what was left out of them, each with its reason."""

    cells: tuple[Cell, ...]  # label: a type or kind, "" where nobody named it
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Place:
    """A white cell of a run."""

    slide: RunSlide
    number: int
    x: float  # its middle, level-0 px
    y: float
    label: str


def is_run(path: Path) -> bool:
    """Say whether a folder holds the results of a run."""
    return (path / "slides").is_dir() and any((path / "slides").glob("*.zarr"))


def read_target(
    path: Path, facts: ClassifierFacts, names: Names, labels: Mapping[str, str], *, mpp: float | None, seed: int = 1
) -> Target:  # fmt: skip
    """Return the cells of a run's results or of a folder, labels put on them."""
    if not path.is_dir():
        raise UsageError("no such folder", path=path, cure="Give a run's --output, or a folder of crops")
    if is_run(path):
        if mpp is not None:
            raise UsageError("--mpp is of a folder of crops: a run knows its scale", path=path)
        return of_run(open_run(path), facts, names, labels, seed=seed)
    return of_folder(path, facts, labels, mpp=mpp, seed=seed)


def of_folder(
    root: Path, facts: ClassifierFacts, labels: Mapping[str, str], *, mpp: float | None, seed: int = 1
) -> Target:  # fmt: skip
    """Return the pictures below a folder; without mpp they have the scale of the classifier's crops."""
    files = {str(p.relative_to(root)): p for p in sorted(root.rglob("*")) if p.suffix.lower() in PICTURES}
    if not files:
        raise UsageError(
            "no pictures here, and no results of a run", path=root, cure="Give --output of a run, or crops"
        )
    _refuse_unknown(labels, set(files), root)
    cells, left_out = [], []
    scale = mpp or facts.crop_mpp
    most = int(np.ceil(AROUND * facts.crop_px * facts.crop_mpp / scale))
    for name in _some(list(files), set(labels), seed):
        try:
            cells.append(Cell(name, labels.get(name, ""), _middle(decoded(files[name]), most), scale))
        except DataError as error:
            left_out.append(one_line(error))
        except OSError as error:
            left_out.append(one_line(f"{files[name]}: cannot be read ({error.strerror})"))
    return Target(tuple(cells), tuple(left_out))


def _middle(pixels: Image, most: int) -> Image:
    """Return the middle of a picture, of so many pixels at most along either side."""
    top, left = (max(0, (length - most) // 2) for length in pixels.shape[:2])
    return pixels[top : top + most, left : left + most].copy()


def of_run(run: Run, facts: ClassifierFacts, names: Names, labels: Mapping[str, str], *, seed: int = 1) -> Target:
    """Return the white cells of a run with what the ledger and the given labels call them."""
    places = {f"{p.slide.id}:{p.number}": p for slide in run for p in _white_cells(slide, names)}
    by_id = {f"{s.name}:": f"{s.id}:" for s in run}
    said: dict[str, str] = {}
    for name, label in labels.items():
        head, _, number = name.rpartition(":")
        said[f"{by_id.get(f'{head}:', f'{head}:')}{number}"] = label
    _refuse_unknown(said, set(places), run.path)
    if not places:
        raise UsageError("this run has no white cells", path=run.path, cure="Give the results of a run that found some")
    known = set(said) | {key for key, place in places.items() if place.label}
    chosen = [replace(places[k], label=said.get(k, places[k].label)) for k in _some(list(places), known, seed)]
    there = originals(run)
    cells, left_out = [], []
    for slide in run:
        mine = [place for place in chosen if place.slide.id == slide.id]
        try:
            if mine:
                cells += list(_pictures(slide, there, mine, facts))
        except PbsbatchError as error:
            left_out.append(one_line(f"{len(mine)} cells of {slide.name}: {error}"))
    return Target(tuple(cells), tuple(left_out))


def _white_cells(slide: RunSlide, names: Names) -> Iterator[_Place]:
    """Yield a slide's white cells as people left them."""
    store, now = slide.store, as_they_are_now(slide.corrections)
    if WHITE not in store.classes:
        return
    white = store.classes.index(WHITE)
    for first in range(0, store.info.cells, ROWS):
        rows = store.rows(first, min(first + ROWS, store.info.cells))
        for i in np.flatnonzero((rows["class"] == white) | np.isin(rows["id"], list(now))).tolist():
            number = int(rows["id"][i])
            label = ""
            if number in now:
                what = now[number].label
                if what is None or what.name != WHITE:
                    continue
                changed = what.type != (store.types[k] if (k := int(rows["type"][i])) < len(store.types) else "")
                label = names.of(what.type, slide.path) if changed else ""
            x, y = (float(rows[f"{axis}0"][i] + rows[f"{axis}1"][i]) / 2 for axis in "xy")
            yield _Place(slide, number, x, y, label)
    for number, added in now.items():
        if number > store.info.cells and added.label is not None and added.label.name == WHITE and added.outline:
            corners = np.array(added.outline)
            x, y = (corners.min(0) + corners.max(0)) / 2
            yield _Place(slide, number, float(x), float(y), names.of(added.label.type, slide.path))


def _pictures(
    slide: RunSlide, there: Mapping[str, Path], places: Sequence[_Place], facts: ClassifierFacts
) -> Iterator[Cell]:  # fmt: skip
    """Yield pictures of cells, each in the middle of one, on the grid that the run worked on."""
    if slide.id not in there:
        raise UsageError("the slide is not where it was", cure="Put it back")
    plan = slide.store.attributes["plan"]
    scale, mpp = float(plan["scale"]), float(plan["work_mpp"])
    wide = window_px(facts.crop_px, facts.crop_mpp, mpp)
    margin = round(wide * (AROUND - 1) / 2)
    opened = open_slide(there[slide.id], id=slide.id, mpp=slide.mpp)
    try:
        for place in places:
            x, y = (int(np.floor(at / scale - wide / 2 + 0.5)) - margin for at in (place.x, place.y))
            side = wide + 2 * margin
            pixels = np.ascontiguousarray(opened.read_scaled(scale, x, y, side, side))
            as_taught = facts.crop_mpp if wide == facts.crop_px else mpp
            yield Cell(f"{slide.id}:{place.number}", place.label, pixels.copy(), as_taught)
    finally:
        opened.close()


def _some(names: Sequence[str], known: set[str], seed: int) -> list[str]:
    """Return the names of cells to take: all that have a label, and of the others as many as there is room for."""
    others = [name for name in names if name not in known]
    room = max(0, MOST - len(names) + len(others))
    if len(others) > room:
        rows = np.sort(np.random.default_rng(seed).permutation(len(others))[:room])
        others = [others[i] for i in rows.tolist()]
    taken = {*others, *known}
    return [name for name in names if name in taken]


def _refuse_unknown(labels: Mapping[str, str], there: set[str], path: Path) -> None:
    missing = [name for name in labels if name not in there]
    if missing:
        some = ", ".join(one_line(name)[:80] for name in missing[:SHOWN])
        raise UsageError(
            f"{len(missing)} of {len(labels)} labels are of cells that are not there: {some}", path=path,
            cure="Name crops by their path below the folder; cells of a run by slide and number",
        )  # fmt: skip
