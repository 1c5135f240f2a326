"""Bring truth and results together: the same images, the same class names, in the same order, under a stated policy.

Laws. Nothing is dropped silently: what has no partner is named. What is ignored is neither right nor wrong: as in
pycocotools a crowd, or a region given, spares every detection that lies in it, and an ignored truth may be found and
need not be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbsbatch.errors import UsageError
from pbsbatch.evaluate.best import best_fits
from pbsbatch.evaluate.labels import Labelled, Labels
from pbsbatch.evaluate.names import class_map, image_pairs
from pbsbatch_kernels.matching import COCO_IOUS, Found, Measure, Truth, found, take, truth

__all__ = ["Compared", "Policy", "compared"]

BORDER_PX = 2.0
"""A box that comes so near the image's border may be of a cell that the border cuts."""
Boxes = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Policy:
    """What counts."""

    border: str = "keep"  # or ignore: cells that the image's border may cut
    incomplete: tuple[str, ...] = ()  # classes of which the truth may lack cells: what is found more is not wrong
    regions: Mapping[str, Boxes] = field(default_factory=dict)  # by image or stem: where nothing counts


@dataclass(frozen=True, slots=True)
class Compared:
    """Truth and results of the same images."""

    classes: tuple[str, ...]
    images: tuple[str, ...]
    true: Truth
    found: Found
    notes: tuple[str, ...]  # what has no partner, and what does not count
    pairs: tuple[tuple[Labelled, Labelled], ...] = ()
    true_rows: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))  # within the image; -1: a crowd
    found_rows: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    incomplete: tuple[str, ...] = ()
    points: bool = False
    found_as: Mapping[str, str] = field(default_factory=dict)  # class of the results -> of the truth

    @property
    def measure(self) -> Measure:
        """Return what a fit is: the overlap of boxes, or the distance of points."""
        return "points" if self.points else "boxes"


def compared(
    truth: Labels, found: Labels, mapping: Mapping[str, str] | None = None, policy: Policy | None = None
) -> Compared:
    """Bring both together. `mapping` says which class of the truth a class of the results is; LEFT_OUT: none."""
    rules = policy or Policy()
    pairs, notes = image_pairs(truth.images, found.images)
    if not any(len(t.boxes) for t, _ in pairs):
        raise UsageError("the truth marks no cell in these images", cure="Give the truth of these slides")
    names, which = class_map(truth.classes, found.classes, mapping or {})
    unknown = [name for name in rules.incomplete if name not in names]
    if unknown:
        raise UsageError(f"--incomplete names the class {unknown[0]!r}", cure=f"There are {', '.join(names)}")
    true, true_rows = _truth(pairs, len(names), rules)
    detected, found_rows = _found(pairs, which)
    kept = np.flatnonzero(_counts(pairs, true, detected, names, rules))
    said = [*truth.notes, *found.notes, *notes, *_policy_notes(rules, len(detected) - len(kept))]
    return Compared(
        names, tuple(t.name for t, _ in pairs), true, take(detected, kept), tuple(said), tuple(pairs),
        true_rows, found_rows[kept], rules.incomplete, truth.points,
        {name: names[k] for name, k in zip(found.classes, which.tolist(), strict=True) if k >= 0},
    )  # fmt: skip


def _truth(pairs: Sequence[tuple[Labelled, Labelled]], n: int, rules: Policy) -> tuple[Truth, NDArray[np.int64]]:
    """Return the true cells, then the crowds, of each image, and their rows within it."""
    columns: list[tuple[NDArray[Any], ...]] = []
    for image, (t, f) in enumerate(pairs):
        regions = _regions(t.name, rules)
        ignored = _within(t.boxes, regions)
        if rules.border == "ignore":
            ignored |= _at_border(t.boxes, t.size or f.size, t.name)
        every = np.repeat(np.arange(n), len(regions))
        crowds = np.concatenate([np.zeros((0, 4)) if t.crowds is None else t.crowds, np.tile(regions, (n, 1))])
        kinds = np.concatenate([np.zeros(0, np.int64) if t.crowd_classes is None else t.crowd_classes, every])
        size = len(t.boxes) + len(crowds)
        rows = np.where(np.arange(size) < len(t.boxes), np.arange(size), -1)
        columns.append((
            np.full(size, image), np.concatenate([t.classes, kinds]), np.concatenate([t.boxes, crowds]),
            np.concatenate([ignored, np.ones(len(crowds), np.bool_)]), rows,
        ))  # fmt: skip
    images, classes, boxes, hidden, rows = (np.concatenate(c) for c in zip(*columns, strict=True))
    made = truth(images, classes, _sized(boxes), crowd=rows < 0, ignored=hidden)
    return made, rows.astype(np.int64)


def _found(pairs: Sequence[tuple[Labelled, Labelled]], which: NDArray[np.int64]) -> tuple[Found, NDArray[np.int64]]:
    """Return the detections of classes that count, and their rows within their images."""
    columns: list[tuple[NDArray[Any], ...]] = []
    for image, (_, f) in enumerate(pairs):
        rows = np.flatnonzero(which[f.classes] >= 0)
        scores = np.ones(len(f.boxes)) if f.scores is None else f.scores
        columns.append((np.full(len(rows), image), which[f.classes[rows]], f.boxes[rows], scores[rows], rows))
    images, classes, boxes, scores, rows = (np.concatenate(c) for c in zip(*columns, strict=True))
    return found(images, classes, _sized(boxes), scores), rows.astype(np.int64)


def _counts(
    pairs: Sequence[tuple[Labelled, Labelled]], true: Truth, detected: Found, names: Sequence[str], rules: Policy
) -> NDArray[np.bool_]:
    """Say which detections count: not those that meet no truth at any threshold and may be right all the same."""
    spared = np.isin(detected.classes, [names.index(name) for name in rules.incomplete])
    if rules.border == "ignore":
        corners = np.concatenate([detected.boxes[:, :2], detected.boxes[:, :2] + detected.boxes[:, 2:]], 1)
        for image, (t, f) in enumerate(pairs):
            mine = np.flatnonzero(detected.images == image)
            spared[mine] |= _at_border(corners[mine], t.size or f.size, t.name)
    if not spared.any():
        return ~spared
    _, fits = best_fits(true, detected)
    kept: NDArray[np.bool_] = ~(spared & (fits < COCO_IOUS[0]))
    return kept


def _policy_notes(rules: Policy, dropped: int) -> list[str]:
    notes = []
    if rules.incomplete:
        notes.append(f"the truth of {', '.join(rules.incomplete)} is incomplete: only their recall is known")
    if rules.border == "ignore":
        notes.append(f"cells within {BORDER_PX:g} px of the image's border may be found and need not be")
    if rules.regions:
        notes.append(f"regions of {len(rules.regions)} images do not count")
    if dropped:
        notes.append(f"{dropped} detections that meet no truth do not count by these options")
    return notes


def _regions(name: str, rules: Policy) -> Boxes:
    return rules.regions.get(name, rules.regions.get(PurePosixPath(name).stem, np.zeros((0, 4))))


def _within(boxes: Boxes, regions: Boxes) -> NDArray[np.bool_]:
    """Say whose centre lies in a region."""
    centre = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
    low, high = (centre >= regions[None, :, :2]).all(2), (centre < regions[None, :, 2:]).all(2)
    return np.asarray(np.any(low & high, axis=1), np.bool_)


def _at_border(boxes: Boxes, size: tuple[int, int] | None, name: str) -> NDArray[np.bool_]:
    if size is None:
        raise UsageError(
            f"the size of {name} is not known", cure="--border ignore needs width and height of each image"
        )
    low, high = (boxes[:, :2] <= BORDER_PX).any(1), (boxes[:, 2:] >= np.array(size) - BORDER_PX).any(1)
    return np.asarray(low | high, np.bool_)


def _sized(boxes: Boxes) -> Boxes:
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
