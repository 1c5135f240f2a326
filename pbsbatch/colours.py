"""The colours of cells wherever they are drawn on a page: safe for colour-blind readers (from Okabe and Ito on).

Law: no two that stand beside each other look alike to people with any of the three kinds of colour blindness.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

__all__ = ["CLASS_COLOURS", "OTHER_COLOURS", "OUTLINES", "TYPE_COLOURS", "ZONE_COLOURS", "colours_of"]

TYPE_COLOURS: Final[Mapping[str, str]] = {
    "neutrophil": "#0072b2", "lymphocyte": "#e69f00", "monocyte": "#009e73", "eosinophil": "#d55e00",
    "basophil": "#5533cc", "immature_granulocyte": "#56b4e9", "unsure": "#8b949e", "erythroblast": "#8866ff",
    "abnormal_suspect": "#000000", "platelet": "#aa3377",
}  # fmt: skip
"""Told apart by order and title too. A platelet among white cells has the colour of its class."""
CLASS_COLOURS: Final[Mapping[str, str]] = {"RBC": "#7a4a1e", "WBC": "#0072b2", "Platelet": "#aa3377"}
"""A red cell's is no type's: white cells are drawn in those of their types among them."""
ZONE_COLOURS: Final[Mapping[str, str]] = {
    "empty": "#8b949e", "thick": "#d55e00", "monolayer": "#009e73", "feather": "#56b4e9", "blurred": "#aa3377",
    "unseen": "#000000",
}  # fmt: skip
"""Of the parts of a smear."""
OTHER_COLOURS: Final = ("#b58900", "#1b9e77", "#c51b7d", "#6b7280", "#a6761d", "#4d9221")
"""In turn, of names that have no colour of their own."""
OUTLINES: Final = (
    (0, 158, 115), (0, 114, 178), (213, 94, 0), (204, 121, 167), (230, 159, 0), (86, 180, 233), (240, 228, 66),
)  # fmt: skip
"""RGB of classes in turn, where cells are drawn over their own pixels: there brown and violet are lost in the stain."""


def colours_of(names: Sequence[str], known: Mapping[str, str], skip: int = 0) -> list[str]:
    """Return a colour for each name; `skip` of the others are taken already."""
    others = [name for name in names if name not in known]
    return [known.get(n) or OTHER_COLOURS[(skip + others.index(n)) % len(OTHER_COLOURS)] for n in names]
