"""The colours of cells wherever they are drawn on a page: safe for colour-blind readers (after Okabe and Ito)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

__all__ = ["CLASS_COLOURS", "OTHER_COLOURS", "OUTLINES", "TYPE_COLOURS", "colours_of"]

TYPE_COLOURS: Final[Mapping[str, str]] = {
    "neutrophil": "#0072b2", "lymphocyte": "#e69f00", "monocyte": "#009e73", "eosinophil": "#d55e00",
    "basophil": "#7a4fb5", "immature_granulocyte": "#56b4e9", "unsure": "#8b949e", "erythroblast": "#cc79a7",
    "abnormal_suspect": "#000000",
}  # fmt: skip
"""Told apart by order and title too."""
CLASS_COLOURS: Final[Mapping[str, str]] = {"RBC": "#8c510a", "WBC": "#0072b2", "Platelet": "#7a4fb5"}
"""A red cell's is no type's: white cells are drawn in those of their types among them."""
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
