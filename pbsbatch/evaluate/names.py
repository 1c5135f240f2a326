"""Which image of the results is which of the truth, and which class is which.

Laws. An image of the results goes with the truth of the same path, else of the same stem, never with two. Classes go
together by name or by a given mapping; a name that stays alone is refused with what it may have meant.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pbsbatch.errors import UsageError
from pbsbatch.models.taxonomy import CALLED
from pbsbatch.models.words import class_of_word

if TYPE_CHECKING:
    from pbsbatch.evaluate.labels import Labelled

__all__ = ["LEFT_OUT", "class_map", "image_pairs"]

LEFT_OUT = "-"
"""What a class is mapped to that does not count."""


def class_map(
    true: Sequence[str], found: Sequence[str], mapping: Mapping[str, str]
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Return all classes, those of the truth first, and what each class of the results is among them; -1: nothing."""
    for name, wanted in mapping.items():
        if name not in found or wanted not in (*true, LEFT_OUT):
            missing, there = (name, found) if name not in found else (wanted, true)
            raise UsageError(f"--map names the class {missing!r}", cure=_there(missing, there))
    names = list(true)
    plain = {_plain(name): i for i, name in enumerate(true)}
    out = []
    for name in found:
        target = mapping.get(name)
        place = -1 if target == LEFT_OUT else true.index(target) if target else plain.get(_plain(name))
        if place is None and name in CALLED:  # a type that the truth happens not to hold is a wrong one
            place = len(names)
            names.append(name)
        if place is None:
            raise UsageError(
                f"the truth has no class {name!r}, it has {', '.join(true)}",
                cure=f"Say which, as --map {name}={_meant(name, true)}, or --map {name}={LEFT_OUT} to leave it out",
            )
        out.append(place)
    return tuple(names), np.array(out, np.int64)


def _meant(name: str, true: Sequence[str]) -> str:
    """Return the class that a word may mean: one that says the same, else one that is spelt nearly so."""
    same = [other for other in true if class_of_word(name) is not None and class_of_word(other) == class_of_word(name)]
    near = difflib.get_close_matches(_plain(name), [_plain(other) for other in true], n=1)
    spelt = [other for other in true if near and _plain(other) == near[0]]
    return next(iter((*same, *spelt, *true)))


def _there(missing: str, there: Sequence[str]) -> str:
    near = difflib.get_close_matches(_plain(missing), [_plain(n) for n in there], n=1)
    meant = next((f"Did you mean {n!r}? " for n in there if near and _plain(n) == near[0]), "")
    return f"{meant}There are {', '.join(there)}"


def _plain(name: str) -> str:
    word = " ".join(name.replace("_", " ").replace("-", " ").casefold().split())
    return word.removesuffix("s")


def image_pairs(
    true: Sequence[Labelled], found: Sequence[Labelled]
) -> tuple[list[tuple[Labelled, Labelled]], list[str]]:
    """Return the pairs in the order of the truth, and notes of what stays alone."""
    by_path, by_stem = {i.name: i for i in found}, _unique({PurePosixPath(i.name).stem: i for i in found}, found)
    stems = Counter(PurePosixPath(i.name).stem for i in true)
    pairs = []
    for image in true:
        stem = PurePosixPath(image.name).stem
        partner = by_path.get(image.name) or (by_stem.get(stem) if stems[stem] == 1 else None)
        if partner is not None:
            pairs.append((image, partner))
    if not pairs:
        examples = f"{found[0].name if found else 'nothing'} was found, {true[0].name if true else 'nothing'} is true"
        raise UsageError(f"truth and results share no image: {examples}", cure="Give the truth of these slides")
    seen_true, seen = {id(t) for t, _ in pairs}, {id(f) for _, f in pairs}
    alone = [i.name for i in true if id(i) not in seen_true], [i.name for i in found if id(i) not in seen]
    notes = [
        f"{len(names)} image{'s' * (len(names) != 1)} of the {what} without a partner: not counted, first {names[0]}"
        for names, what in zip(alone, ("truth", "results"), strict=True) if names
    ]  # fmt: skip
    return pairs, notes


def _unique(by_stem: dict[str, Labelled], images: Sequence[Labelled]) -> dict[str, Labelled]:
    count = Counter(PurePosixPath(i.name).stem for i in images)
    return {stem: image for stem, image in by_stem.items() if count[stem] == 1}
