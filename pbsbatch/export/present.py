"""The cells of a slide as they are by now: what the run found, and over it what people said since.

Laws. Every format takes its cells from here. A cell that people took away is not there; those that they added come
behind the run's own. A name or a cell that a person gave has the score 1; what they left alone keeps the model's.
`corrected` says what people did to a cell; nothing where they did nothing, or all is again as the run found it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pbsbatch.detections import DOUBTS, UNTYPED
from pbsbatch.export.cells import ROWS, Cells, joined, stream
from pbsbatch.ledger import Now, as_they_are_now
from pbsbatch.results import RunSlide

__all__ = ["KINDS", "Present", "classes_of", "types_of"]

KINDS = ("", "renamed", "outlined", "renamed and outlined", "added")
"""By the number in the column `corrected`."""
RENAMED, OUTLINED, ADDED = 1, 2, 4
Columns = Mapping[str, NDArray[Any]]


class Present:
    """Cells by now. `class` and `type` are places in its `classes` and `types`, len(types) stands for none."""

    def __init__(self, slide: RunSlide) -> None:
        self.slide, self.store = slide, slide.store
        self._now = as_they_are_now(slide.corrections)
        said = [what.label for what in self._now.values() if what.label is not None]
        self.classes = _with(self.store.classes, (label.name for label in said))
        self.types = _with(self.store.types, (label.type for label in said if label.type))
        numbers = sorted(self._now)
        self._spoken = np.array([n for n in numbers if n <= self.store.info.cells], np.int64)
        self._added = [n for n in numbers if n > self.store.info.cells and self._is_drawn(n)]

    def second(self, columns: Columns, i: int) -> tuple[str, str]:
        """Return what a second opinion says of a row, and in words how that is doubtful."""
        asked = "second_type" in columns and columns["second_type"][i] < len(self.store.second_types)
        if not asked:
            return "", ""
        return self.store.second_types[int(columns["second_type"][i])], DOUBTS[int(columns["second_flags"][i])]

    def __len__(self) -> int:
        gone = sum(self._now[n].label is None for n in self._spoken.tolist())
        return self.store.info.cells - gone + len(self._added)

    def tables(self) -> Iterator[Columns]:
        """Yield all cells in the order of their numbers, some rows at a time, without their outlines."""
        for first in range(0, self.store.info.cells, ROWS):
            yield self._over(self.store.rows(first, min(first + ROWS, self.store.info.cells)))[0]
        if self._added:
            yield self._new()

    def outlined(self) -> Iterator[Cells]:
        """Yield the same cells with their outlines."""
        for cells in stream(self.store):
            columns, kept = self._over(cells.columns)
            if kept is None:
                yield Cells(columns, cells.points, cells.starts, cells.covered)
                continue
            drawn = [self._outline(n) for n in columns["id"].tolist()]
            found = (cells.outline(i) for i in np.flatnonzero(kept).tolist())
            outlines = [b if a is None else a for a, b in zip(drawn, found, strict=True)]
            yield joined(columns, outlines, cells.covered[kept] & [one is None for one in drawn])
        if self._added:
            outlines = [np.array(self._now[n].outline) for n in self._added]
            yield joined(self._new(), outlines, np.zeros(len(outlines), np.bool_))

    def _is_drawn(self, number: int) -> bool:
        return self._now[number].label is not None and self._now[number].outline is not None

    def _outline(self, number: int) -> NDArray[np.float64] | None:
        said = self._now.get(number)
        return None if said is None or said.outline is None else np.array(said.outline)

    def _over(self, columns: Columns) -> tuple[Columns, NDArray[np.bool_] | None]:
        """Return rows of the store as they are by now, and which of them are left; None: nobody spoke of them."""
        none = columns["type"] >= len(self.store.types)
        own = dict(columns) | {
            "class": columns["class"].astype(np.int32),
            "type": np.where(none, len(self.types), columns["type"]).astype(np.int32),
            "corrected": np.zeros(len(none), np.uint8),
        }
        ids = columns["id"]
        first, end = np.searchsorted(self._spoken, [ids[0], int(ids[-1]) + 1]) if len(ids) else (0, 0)
        if first == end:
            return own, None
        own = {name: np.array(values) for name, values in own.items()}
        kept = np.ones(len(ids), np.bool_)
        for number in self._spoken[first:end].tolist():
            at = int(np.searchsorted(ids, number))
            kept[at] = self._lay(own, at, self._now[number])
        return {name: values[kept] for name, values in own.items()}, kept

    def _new(self) -> Columns:
        """Return the cells that people added."""
        n = len(self._added)
        own = {name: np.zeros(n, kind) for name, kind in self.store.columns.items()} | {
            "id": np.array(self._added, np.int32), "class": np.full(n, -1, np.int32),
            "type": np.full(n, len(self.types), np.int32), "corrected": np.zeros(n, np.uint8),
        }  # fmt: skip
        if "second_type" in own:
            own["second_type"] = np.full(n, UNTYPED, np.uint8)
        for at, number in enumerate(self._added):
            self._lay(own, at, self._now[number])
        own["corrected"][:] = ADDED
        return own

    def _lay(self, own: Mapping[str, NDArray[Any]], at: int, said: Now) -> bool:
        """Write over one row what people said of it. False: they took the cell away."""
        if said.label is None:
            return False
        name = self.classes.index(said.label.name)
        kind = self.types.index(said.label.type) if said.label.type else len(self.types)
        if name != own["class"][at]:
            own["class"][at], own["score"][at], own["corrected"][at] = name, 1, RENAMED
        if kind != own["type"][at]:
            own["type"][at], own["type_score"][at], own["corrected"][at] = kind, kind < len(self.types), RENAMED
        if said.outline is not None:
            points = np.array(said.outline)
            low, high = points.min(0), points.max(0)
            for side, value in zip(("x0", "y0", "x1", "y1"), np.concatenate([low, high]).tolist(), strict=True):
                own[side][at] = value
            own["area_px"][at] = round(cv2.contourArea((points - low).astype(np.float32)))
            own["corrected"][at] += OUTLINED
        return True


def classes_of(slides: Sequence[Present]) -> list[str]:
    """Return the names of all slides' classes, each once."""
    return list(dict.fromkeys(name for slide in slides for name in slide.classes))


def types_of(slides: Sequence[Present]) -> list[str]:
    """Return the names of all slides' types, each once."""
    return list(dict.fromkeys(name for slide in slides for name in slide.types))


def _with(known: Sequence[str], said: Iterable[str]) -> tuple[str, ...]:
    return (*known, *(name for name in dict.fromkeys(said) if name not in known))
