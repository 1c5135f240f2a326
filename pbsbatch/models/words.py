"""What data sets and detectors call cells, and what each word is counted as.

Laws. A word is one of the four classes that a summary counts, by any of its usual names, or a type or kind of the
taxonomy, which belongs to one of them; of any other word nothing is assumed.
"""

from __future__ import annotations

from pbsbatch.models.taxonomy import KINDS_OF

__all__ = ["COUNTED", "class_of_word", "counted_as", "plain", "type_of_word"]

COUNTED = ("RBC", "WBC", "Platelet", "NRBC")
"""The classes that a summary counts."""
_CLASSES = {
    **dict.fromkeys(("rbc", "rbcs", "red blood cell", "red cell", "erythrocyte"), "RBC"),
    **dict.fromkeys(("wbc", "wbcs", "white blood cell", "white cell", "leukocyte", "leucocyte"), "WBC"),
    **dict.fromkeys(("platelet", "plt", "thrombocyte"), "Platelet"),
    **dict.fromkeys(("nrbc", "nrbcs", "nucleated red blood cell", "nucleated red cell"), "NRBC"),
}
_TYPES = {kind.replace("_", " "): name for name, kinds in KINDS_OF.items() for kind in (name, *kinds)}
_OTHERWISE = {"erythroblast": "NRBC", "platelet": "Platelet"}
"""Types that are no white cells."""


def plain(word: str) -> str:
    """Return a word as it is compared: small letters, single spaces."""
    return " ".join(word.replace("_", " ").replace("-", " ").lower().split())


def class_of_word(word: str) -> str | None:
    """Return the class whose own name a word is."""
    said = plain(word)
    return _CLASSES.get(said, _CLASSES.get(said.removesuffix("s")))


def type_of_word(word: str) -> str | None:
    """Return the type of the taxonomy that a word names, itself or by one of its kinds."""
    said = plain(word)
    return _TYPES.get(said, _TYPES.get(said.removesuffix("s")))


def counted_as(word: str) -> str | None:
    """Return the class that cells of that name are counted as; None: nothing tells."""
    named = type_of_word(word)
    return class_of_word(word) or (None if named is None else _OTHERWISE.get(named, "WBC"))
