"""Hold annotated images against a run's stores and their ledger: what did people change?

Laws. A shape that is as it was written is no correction, whatever the ledger says by now; bringing the same file back
again appends nothing. A cell whose shape is gone was taken away, one added since the file was written was not. Of two
shapes with one number, as a copy has it, the one that was not moved is the cell.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from pbsbatch.corrections.cvat_file import AnnotatedImage, AnnotationFile
from pbsbatch.errors import UsageError, one_line
from pbsbatch.export.cvat import digest_of
from pbsbatch.ledger import Label, Now, as_they_are_now
from pbsbatch.results import Run, RunSlide
from pbsbatch.store import StoredSlide

__all__ = ["Change", "Found", "changes"]

ROWS = 1 << 18
MOST_CHANGED, FEW = 0.2, 20
"""A file that changes more than this share of a slide's cells, and more than a few, is taken for a mistake: as one
whose shapes were not all loaded into CVAT."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a file says of one cell."""

    cell: int
    old: Label | None
    new: Label | None
    shape: int = -1  # the place of its shape in the image, where the person drew its outline


@dataclass(frozen=True, slots=True)
class Found:
    """What a file says of one slide."""

    image: int  # its place in the file
    slide: RunSlide
    changes: tuple[Change, ...]
    other: int  # shapes that are no outlines

    @property
    def is_doubtful(self) -> bool:
        """Say whether so much changed that the file may not be what it is taken for."""
        return len(self.changes) > max(FEW, MOST_CHANGED * self.slide.store.info.cells)


def changes(run: Run, file: AnnotationFile) -> Iterator[Found]:
    """Yield each image's slide with what changed in it. Raises UsageError where an image fits no slide."""
    seen = set[str]()
    for number, image in enumerate(file.images):
        slide = _slide_of(run, image)
        if slide.id in seen:
            raise UsageError(f"two images are of the slide {slide.name}", path=file.path, cure="Import one at a time")
        seen.add(slide.id)
        about = slide.store.attributes["store"]
        if (image.width, image.height) != (about["width_px"], about["height_px"]):
            raise UsageError(
                f"its image {one_line(image.name)[:80]} is {image.width} x {image.height} px, the slide {slide.name} "
                f"is {about['width_px']} x {about['height_px']}", path=file.path, cure="Give the right results",
            )  # fmt: skip
        yield Found(number, slide, tuple(_of_slide(slide, image, file)), image.other)


def _slide_of(run: Run, image: AnnotatedImage) -> RunSlide:
    """Return the slide whose name an image has, or alone has the last part of."""
    wanted = PurePosixPath(image.name)
    for same in (
        lambda name: name == image.name,
        lambda name: PurePosixPath(name).name == wanted.name,
        lambda name: PurePosixPath(name).stem == wanted.stem,
    ):
        fits = [slide for slide in run if same(one_line(slide.name))]
        if len(fits) == 1:
            return fits[0]
        if fits:
            break
    what = f"{len(fits)} slides are called" if fits else "no slide of the run is called"
    cure = "Name images as `pbsbatch export --format cvat` does"
    raise UsageError(f"{what} {one_line(image.name)[:200]}", path=run.path, cure=cure)


def _of_slide(slide: RunSlide, image: AnnotatedImage, file: AnnotationFile) -> Iterator[Change]:
    store, now = slide.store, as_they_are_now(slide.corrections)
    if any(one.source == file.sha256 for one in slide.corrections):
        return  # it was brought back before, whatever was corrected since
    last = max((store.info.cells, *now))
    shapes = _Shapes(image, file.labels, now, store.info.cells)
    for number, found in _cells(store, now):
        at = shapes.at(number)
        if at >= 0:
            yield from shapes.changed(number, found, at)
        elif found is not None:
            yield Change(number, found, None)
    for number in sorted(n for n in now if n > store.info.cells):  # added by people
        at, what = shapes.at(number), now[number]
        if at >= 0:
            yield from shapes.changed(number, what.label, at)
        elif what.label is not None and what.entry < image.entries:  # it was there when the file was written
            yield Change(number, what.label, None)
    for new, at in enumerate(shapes.added, last + 1):
        yield Change(new, None, file.labels[image.labels[at]], at)


class _Shapes:
    """The shapes of an image by the cells they are of; `added` are those of no cell yet."""

    def __init__(self, image: AnnotatedImage, labels: Sequence[Label], now: Mapping[int, Now], cells: int) -> None:
        self.image, self.labels = image, labels
        self.by_hand = {n: int(digest_of(np.array(w.outline)), 16) for n, w in now.items() if w.outline is not None}
        self._found = array("i", [-1]) * (cells + 1)  # a dict would take three times as much
        self._by_people = {number: -1 for number in now if number > cells}
        added: list[int] = []
        for at, number in enumerate(image.cells):
            before = self.at(number)
            if not 0 < number <= cells and number not in self._by_people:
                added.append(at)
            elif before < 0:
                self._put(number, at)
            elif image.same[at] and not image.same[before]:
                added.append(before)
                self._put(number, at)
            else:
                added.append(at)
        mine = set[int]()
        known = {digest: n for n, digest in self.by_hand.items() if self.at(n) < 0}
        for at in added:  # one that was brought back before has a number by now
            number = known.pop(image.digests[at], 0)
            if number:
                self._put(number, at)
                mine.add(at)
        self.added = sorted(at for at in added if at not in mine)

    def at(self, number: int) -> int:
        """Return the place of a cell's shape, -1 where it has none."""
        return self._found[number] if 0 < number < len(self._found) else self._by_people.get(number, -1)

    def _put(self, number: int, at: int) -> None:
        if number < len(self._found):
            self._found[number] = at
        else:
            self._by_people[number] = at

    def changed(self, number: int, found: Label | None, at: int) -> Iterator[Change]:
        """Yield what a person changed of a cell that has a shape."""
        image = self.image
        said, was = self.labels[image.labels[at]], image.marks[at]
        drawn = not image.same[at] and image.digests[at] != self.by_hand.get(number)
        untouched = was >= 0 and self.labels[was] == said
        if drawn or not (untouched or said == found):
            keeps = untouched and found is not None
            yield Change(number, found, found if keeps else said, at if drawn else -1)


def _cells(store: StoredSlide, now: Mapping[int, Now]) -> Iterator[tuple[int, Label | None]]:
    """Yield each cell of a store with what it is called by now."""
    types = (*store.types, "")
    names = [[Label(name, kind) for kind in types] for name in store.classes]
    for first in range(0, store.info.cells, ROWS):
        rows = store.rows(first, min(first + ROWS, store.info.cells))
        kinds = np.minimum(rows["type"], len(store.types)).tolist()
        for number, name, kind in zip(rows["id"].tolist(), rows["class"].tolist(), kinds, strict=True):
            yield number, now[number].label if number in now else names[name][kind]
