"""Say by which rule each picture of a folder is looked at.

Law: pictures in class folders are of one cell each, in its middle, unless something else is said; where cells of
fields are not said to be of a size, they are as large as in the middle one of some fields, all alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pbsbatch.datasets.crop.stained import ALL, CENTRE, Rule, cell_diameter
from pbsbatch.datasets.pictures import Picture, pixels_of
from pbsbatch.datasets.readers.problems import RecordError

__all__ = ["Choice", "choose"]

LOOKED_AT = 32
"""Pictures in which a field's cells are measured, spread over the folder."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The rule of each picture."""

    rule: Rule
    pick: str
    measured: float  # diameter of the cells of fields; NaN where it is said, or nothing is stained

    def of(self, picture: Picture) -> Rule:
        """Return the rule of a picture."""
        pick = _pick(self.pick, picture)
        known = math.isfinite(self.rule.cell_px) or pick == CENTRE
        return replace(self.rule, pick=pick, cell_px=self.rule.cell_px if known else self.measured)


def choose(pictures: Sequence[Picture], rule: Rule, pick: str) -> Choice:
    """Return the rules; pick auto: the one in the middle of pictures in class folders, every cell of others."""
    fields = [p for p in pictures if _pick(pick, p) == ALL]
    known = math.isfinite(rule.cell_px) or not fields
    return Choice(rule, pick, math.nan if known else _measured(fields, replace(rule, pick=ALL)))


def _pick(asked: str, picture: Picture) -> str:
    return (CENTRE if picture.kind else ALL) if asked == "auto" else asked


def _measured(pictures: Sequence[Picture], rule: Rule) -> float:
    """Return the median diameter of what is stained in some pictures; NaN where nothing is."""
    sizes = []
    for picture in pictures[:: -(-len(pictures) // LOOKED_AT)]:
        try:
            sizes.append(cell_diameter(pixels_of(picture), rule))
        except RecordError:
            continue  # it is named when its turn comes
    known = [size for size in sizes if math.isfinite(size)]
    return float(np.median(known)) if known else math.nan
