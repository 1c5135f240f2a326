"""What a labelled data set holds and what is wrong with it, as plain figures.

Laws. A picture that could not be used is a problem and counts nowhere else. A field looks unlabelled when most of what
is stained in it lies in no box: its label may be missing, and training would teach its cells as background.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbsbatch.datasets.duplicates import group
from pbsbatch.datasets.explore.alike import overlapping_across, same_pictures
from pbsbatch.datasets.explore.look import Look, look_at
from pbsbatch.datasets.readers import DataError, Problems, recognise

__all__ = ["PERCENTILES", "Findings", "explore"]

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
BARE, STAINED = 0.5, 0.02
"""A field looks unlabelled from this share of its stained pixels outside of boxes on, if so much of it is stained:
measured on fields whose labels are complete, .20 at most; on those without a marked red cell, .70 at least."""

Pair = tuple[Look, Look]


@dataclass(frozen=True)
class Findings:
    """A data set looked through."""

    root: Path
    format: str
    looks: Sequence[Look]
    problems: tuple[str, ...]
    same: Sequence[Pair]
    overlapping: Sequence[Pair]  # fields across splits, single cells anywhere

    @property
    def classes(self) -> Mapping[str, int]:
        """Return how many sound marks each class has, the most frequent first."""
        return dict(Counter(name for look in self.looks for name in look.names).most_common())

    def sides(self, name: str) -> NDArray[np.float64]:
        """Return the sizes of a class's boxes: the side of a square of the same area, in px."""
        found = [
            np.sqrt((b[2:] - b[:2]).prod()) for look in self.looks
            for kind, b in zip(look.names, look.boxes, strict=False) if kind == name
        ]  # fmt: skip
        return np.array(found, np.float64)

    @property
    def cells_per_image(self) -> NDArray[np.float64]:
        """Return how many sound marks each picture has."""
        return np.array([len(look.names) for look in self.looks], np.float64)

    @property
    def unlabelled(self) -> list[Look]:
        """Return the fields that look unlabelled, the barest first."""
        found = [look for look in self.looks if look.stained > STAINED and look.bare > BARE]
        return sorted(found, key=lambda look: (-look.bare, look.name))

    def table(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        looks = self.looks
        named = {
            "zero_area": [[k.name, k.zero_area] for k in looks if k.zero_area],
            "outside": [[k.name, k.outside] for k in looks if k.outside],
            "over_edge": [[k.name, k.over_edge] for k in looks if k.over_edge],
            "duplicate_boxes": [[k.name, len(k.twins)] for k in looks if k.twins],
            "twice_named": [[k.name, n] for k in looks if (n := _conflicts(k))],
            "unlabelled": [[k.name, round(k.bare, 3)] for k in self.unlabelled],
            "without_labels": [k.name for k in looks if not k.names],
        }
        return {
            "root": str(self.root), "format": self.format, "splits": dict(Counter(k.split for k in looks)),
            "images": len(looks), "cells": sum(len(k.names) for k in looks), "crowds": sum(k.crowds for k in looks),
            "image_sizes": dict(Counter("x".join(map(str, k.size)) for k in looks).most_common(8)),
            "classes": [_of_class(name, n, looks, self.sides(name)) for name, n in self.classes.items()],
            "cells_per_image": _percentiles(self.cells_per_image), **named,
            "same_within_split": _names(self.same, lambda a, b: a.split == b.split and a.path.parent == b.path.parent),
            "same_across_splits": _names(self.same, lambda a, b: a.split != b.split),
            "same_other_label": _names(self.same, lambda a, b: self.format == "folder" and a.names != b.names),
            "overlapping": _names(self.overlapping, lambda a, b: True), "problems": list(self.problems),
        }  # fmt: skip


def explore(root: Path, split: str = "") -> Findings:
    """Look through a data set; its format and splits are recognised."""
    sets = [data for data in recognise(root) if not split or data.split == split]
    if not sets:
        raise DataError(f"no split {split!r}", path=root, cure="Leave --split away to see all of them")
    problems = Problems()
    looks = [look for data in sets for look in look_at(data, problems)]
    thumbs = [look.thumb for look in looks]
    if sets[0].format == "folder":
        groups = group(thumbs) if thumbs else None
        same, views = (groups.same, groups.overlapping) if groups else ((), ())
    else:
        same = tuple(same_pictures(thumbs)) if thumbs else ()
        views = tuple(pair for pair in overlapping_across(thumbs, [k.split for k in looks]) if pair not in set(same))
    pairs = [[(looks[i], looks[j]) for i, j in found] for found in (same, views)]
    return Findings(root, sets[0].format, looks, tuple(str(p) for p in problems.found), pairs[0], pairs[1])


def _of_class(name: str, cells: int, looks: Sequence[Look], sides: NDArray[np.float64]) -> dict[str, Any]:
    images = sum(name in look.names for look in looks)
    return {"class": name, "cells": cells, "images": images, "side_px": _percentiles(sides)}


def _percentiles(values: NDArray[np.float64]) -> dict[str, float]:
    if not len(values):
        return {}
    return {str(p): round(float(v), 2) for p, v in zip(PERCENTILES, np.percentile(values, PERCENTILES), strict=True)}


def _conflicts(look: Look) -> int:
    return sum(look.names[i] != look.names[j] for i, j in look.twins)


def _names(pairs: Sequence[Pair], wanted: Any) -> list[list[str]]:
    return [[a.name, b.name] for a, b in pairs if wanted(a, b)]
