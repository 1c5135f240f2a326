"""CVAT for images 1.1: cells as polygons that a person corrects there; `pbsbatch data import-labels` brings them back.

Laws. Cells are written as they are after all corrections so far. Each polygon carries, beside the cell's number, what
it was when it was written (a Mark): what comes back is held against that, so that only what a person changed counts,
and an old file takes nothing back that was corrected since.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbsbatch.errors import one_line
from pbsbatch.export.text import Counter, classes_of, each
from pbsbatch.ledger import Label, Now, as_they_are_now
from pbsbatch.results import RunSlide

__all__ = ["ATTRIBUTES", "NO_TYPE", "Mark", "cvat", "digest_of", "points_text"]

ATTRIBUTES = ("cell", "score", "type", "exported")
NO_TYPE = "none"
"""A select of CVAT has no empty choice."""
STEPS = 100
"""Coordinates are written, and compared, in hundredths of a pixel."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What a cell was when it was written."""

    label: Label
    outline: str  # digest
    entries: int  # corrections that the slide's ledger held

    def __str__(self) -> str:
        return "|".join((self.label.name, self.label.type, self.outline, str(self.entries)))

    @classmethod
    def parsed(cls, text: str) -> Mark | None:
        """Return the mark that a text is, None where it is none: another program wrote or changed it."""
        parts = text.rsplit("|", 3)
        if len(parts) != 4 or not parts[3].isdecimal() or len(parts[3]) > 9:
            return None
        return cls(Label(parts[0], parts[1]), parts[2], int(parts[3]))


def points_text(points: NDArray[np.floating[Any]]) -> str:
    """Return an outline as CVAT writes one; `:g` would lose the halves beyond 100,000 px."""
    return ";".join(f"{x:.2f},{y:.2f}" for x, y in points.tolist())


def digest_of(points: NDArray[np.floating[Any]]) -> str:
    """Return what two outlines have in common if they are the same to a hundredth of a pixel."""
    steps = np.rint(points.astype(np.float64) * STEPS).astype("<i8")
    return hashlib.blake2b(steps.tobytes(), digest_size=8).hexdigest()


def cvat(slides: Sequence[RunSlide], counter: Counter) -> Iterator[str]:
    """Yield the file: meta, then a polygon for each cell of each image."""
    yield '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n<meta><task>'
    yield f"<name>pbsbatch</name><size>{len(slides)}</size><mode>annotation</mode>"
    yield f"<labels>{_labels(slides)}</labels></task></meta>\n"
    for number, slide in enumerate(slides):
        about = slide.store.attributes["store"]
        yield f'<image id="{number}" name="{escape(one_line(slide.name))}" '
        yield f'width="{about["width_px"]}" height="{about["height_px"]}">\n'
        yield from _polygons(slide, counter)
        yield "</image>\n"
    yield "</annotations>\n"


def _labels(slides: Sequence[RunSlide]) -> str:
    """Return the labels with their attributes, those that people gave too."""
    said = [one.new for slide in slides for one in slide.corrections if one.new is not None]
    names = dict.fromkeys([*classes_of(slides), *(label.name for label in said)])
    types = sorted({*(t for s in slides for t in s.store.types), *(label.type for label in said if label.type)})
    kinds = {"type": ("select", (NO_TYPE, *types))}
    attributes = "".join(
        f"<attribute><name>{name}</name><mutable>False</mutable><input_type>{kind}</input_type>"
        f"<default_value>{escape(values[0] if values else '')}</default_value>"
        f"<values>{escape(chr(10).join(values))}</values></attribute>"
        for name in ATTRIBUTES
        for kind, values in (kinds.get(name, ("text", ())),)
    )
    return "".join(f"<label><name>{escape(n)}</name><attributes>{attributes}</attributes></label>" for n in names)


def _polygons(slide: RunSlide, counter: Counter) -> Iterator[str]:
    now, entries = as_they_are_now(slide.corrections), len(slide.corrections)
    for cell in each(slide, counter):
        what = now.pop(cell.id, Now(Label(cell.name, cell.type), None, 0))
        points = cell.points if what.outline is None else np.array(what.outline)
        if what.label is not None:
            yield _polygon(cell.id, what.label, points, f"{cell.score:g}", entries, covered=cell.covered)
    for number, what in sorted(now.items()):  # added by people
        if what.label is not None and what.outline is not None:
            yield _polygon(number, what.label, np.array(what.outline), "", entries)


def _polygon(
    number: int, label: Label, points: NDArray[np.floating[Any]], score: str, entries: int, *, covered: bool = False
) -> str:
    said = {
        "cell": str(number), "score": score, "type": label.type or NO_TYPE,
        "exported": str(Mark(label, digest_of(points), entries)),
    }  # fmt: skip
    inner = "".join(f'<attribute name="{name}">{escape(said[name])}</attribute>' for name in ATTRIBUTES)
    return (
        f'<polygon label="{escape(label.name)}" source="auto" occluded="{int(covered)}" '
        f'points="{points_text(points)}" z_order="0">{inner}</polygon>\n'
    )
