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
from pbsbatch.export.present import Present, classes_of, types_of
from pbsbatch.export.text import Counter, each
from pbsbatch.ledger import Label
from pbsbatch.results import RunSlide

__all__ = ["ATTRIBUTES", "NO_TYPE", "Mark", "cvat", "digest_of", "points_text"]

ATTRIBUTES = ("cell", "score", "type", "exported")
SECOND = ("second", "doubt")
"""Beside them where a run asked for a second opinion: CVAT filters by them. They say nothing when they come back."""
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
    present = [Present(slide) for slide in slides]
    yield f"<labels>{_labels(present)}</labels></task></meta>\n"
    for number, cells in enumerate(present):
        slide = cells.slide
        about = slide.store.attributes["store"]
        yield f'<image id="{number}" name="{escape(one_line(slide.name))}" '
        yield f'width="{about["width_px"]}" height="{about["height_px"]}">\n'
        yield from _polygons(cells, counter)
        yield "</image>\n"
    yield "</annotations>\n"


def _labels(slides: Sequence[Present]) -> str:
    """Return the labels with their attributes, those that people gave too."""
    names, types = classes_of(slides), sorted(types_of(slides))
    more = SECOND if any(slide.store.second_types for slide in slides) else ()
    kinds = {"type": ("select", (NO_TYPE, *types))}
    attributes = "".join(
        f"<attribute><name>{name}</name><mutable>False</mutable><input_type>{kind}</input_type>"
        f"<default_value>{escape(values[0] if values else '')}</default_value>"
        f"<values>{escape(chr(10).join(values))}</values></attribute>"
        for name in (*ATTRIBUTES, *more)
        for kind, values in (kinds.get(name, ("text", ())),)
    )
    return "".join(f"<label><name>{escape(n)}</name><attributes>{attributes}</attributes></label>" for n in names)


def _polygons(slide: Present, counter: Counter) -> Iterator[str]:
    entries, asked = len(slide.slide.corrections), bool(slide.store.second_types)
    for cell in each(slide, counter):
        label = Label(cell.name, cell.type)
        second = {"second": cell.second or NO_TYPE, "doubt": cell.doubt or NO_TYPE} if asked else {}
        yield _polygon(cell.id, label, cell.points, f"{cell.score:g}", entries, second, covered=cell.covered)


def _polygon(
    number: int,
    label: Label,
    points: NDArray[np.floating[Any]],
    score: str,
    entries: int,
    second: dict[str, str],
    *,
    covered: bool,
) -> str:
    said = {
        "cell": str(number), "score": score, "type": label.type or NO_TYPE,
        "exported": str(Mark(label, digest_of(points), entries)), **second,
    }  # fmt: skip
    inner = "".join(f'<attribute name="{name}">{escape(text)}</attribute>' for name, text in said.items())
    return (
        f'<polygon label="{escape(label.name)}" source="auto" occluded="{int(covered)}" '
        f'points="{points_text(points)}" z_order="0">{inner}</polygon>\n'
    )
