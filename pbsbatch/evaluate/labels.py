"""Bring truth and results together: the same images, the same class names, in the same order.

Laws. An image of the results goes with the truth of the same path, else of the same stem, never with two. Classes go
together by name or by a given mapping; a name that stays alone is refused with what it may have meant. Nothing is
dropped silently: what has no partner is named.
"""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pbsbatch.errors import UsageError
from pbsbatch.evaluate.fields import fields_found, fields_truth
from pbsbatch.results import Run
from pbsbatch_kernels.matching import Found, Truth

__all__ = ["Compared", "Labelled", "Labels", "compared", "labels_from_coco", "labels_from_run"]

MOST_BYTES = 4 << 30


@dataclass(frozen=True, slots=True)
class Labelled:
    """The cells of one image, true ones or found ones."""

    name: str
    boxes: NDArray[np.float64]  # (N, 4) x0, y0, x1, y1 in px
    classes: NDArray[np.int64]  # (N,) index into Labels.classes
    scores: NDArray[np.float64] | None = None  # of found ones


@dataclass(frozen=True, slots=True)
class Labels:
    """Images with their cells."""

    classes: tuple[str, ...]
    images: tuple[Labelled, ...]


@dataclass(frozen=True, slots=True)
class Compared:
    """Truth and results of the same images."""

    classes: tuple[str, ...]
    images: tuple[str, ...]
    true: Truth
    found: Found
    notes: tuple[str, ...]  # what has no partner


def labels_from_run(run: Run) -> Labels:
    """Return what a run found. Slides are read one by one; their masks are not."""
    classes = tuple(dict.fromkeys(name for slide in run for name in slide.store.classes))
    images = []
    for slide in run:
        rows = slide.store.rows(0, slide.store.info.cells)
        which = np.array([classes.index(name) for name in slide.store.classes], np.int64)
        boxes = np.stack([rows[n] for n in ("x0", "y0", "x1", "y1")], 1).astype(np.float64)
        images.append(Labelled(slide.name, boxes, which[rows["class"]], rows["score"].astype(np.float64)))
    return Labels(classes, tuple(images))


def labels_from_coco(path: Path, *, scored: bool) -> Labels:
    """Return the cells of a COCO data set, whose pictures are not needed; `scored` asks for a score of each."""
    table = _json(path)
    try:
        order = sorted(table["categories"], key=lambda c: c["id"])
        place = {c["id"]: i for i, c in enumerate(order)}
        rows: dict[Any, list[tuple[Sequence[float], int, float]]] = {image["id"]: [] for image in table["images"]}
        for a in table["annotations"]:
            if not a.get("iscrowd", 0):
                score = float(a["score"]) if scored else 1.0
                rows[a["image_id"]].append((a["bbox"], place[a["category_id"]], score))
        images = tuple(_labelled(image["file_name"], rows[image["id"]], scored) for image in table["images"])
        return Labels(tuple(str(c["name"]) for c in order), images)
    except (KeyError, TypeError, ValueError) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else f"it is no COCO data set ({error})"
        raise UsageError(what, path=path, cure="Give a COCO data set: images, annotations, categories") from error


def _labelled(name: str, rows: Sequence[tuple[Sequence[float], int, float]], scored: bool) -> Labelled:
    boxes = np.array([box for box, _, _ in rows], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    scores = np.array([score for _, _, score in rows], np.float64)
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise ValueError(f"{name}: a box or score is not a number")
    return Labelled(str(name), boxes, np.array([kind for _, kind, _ in rows], np.int64), scores if scored else None)


def _json(path: Path) -> Mapping[str, Any]:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UsageError(f"it is larger than {MOST_BYTES >> 30} GB", path=path)
        table = json.loads(path.read_bytes())
    except OSError as error:
        raise UsageError(f"cannot read it ({error.strerror})", path=path) from error
    except ValueError as error:
        raise UsageError(f"not valid JSON: {error}", path=path) from error
    if not isinstance(table, dict):
        raise UsageError("it is no COCO data set", path=path, cure="Give images, annotations and categories")
    return table


def compared(truth: Labels, found: Labels, mapping: Mapping[str, str] | None = None) -> Compared:
    """Bring both together. `mapping` says which class of the truth a class of the results is."""
    which = _class_map(truth.classes, found.classes, mapping or {})
    pairs, notes = _image_pairs(truth.images, found.images)
    true = fields_truth([t.boxes for t, _ in pairs], [t.classes for t, _ in pairs])
    detected = fields_found(
        [f.boxes for _, f in pairs], [which[f.classes] for _, f in pairs], [_scores(f) for _, f in pairs]
    )
    return Compared(truth.classes, tuple(t.name for t, _ in pairs), true, detected, tuple(notes))


def _scores(image: Labelled) -> ArrayLike:
    return np.ones(len(image.classes)) if image.scores is None else image.scores


def _class_map(true: Sequence[str], found: Sequence[str], mapping: Mapping[str, str]) -> NDArray[np.int64]:
    for name, target in mapping.items():
        if name not in found or target not in true:
            missing, there = (name, found) if name not in found else (target, true)
            raise UsageError(f"--map names the class {missing!r}", cure=f"There are {', '.join(there)}")
    plain = {_plain(name): i for i, name in enumerate(true)}
    out = []
    for name in found:
        place = true.index(mapping[name]) if name in mapping else plain.get(_plain(name))
        if place is None:
            near = difflib.get_close_matches(_plain(name), plain, n=1)
            meant = true[plain[near[0]]] if near else true[0]
            raise UsageError(
                f"the truth has no class {name!r}, it has {', '.join(true)}", cure=f"Say which, as --map {name}={meant}"
            )
        out.append(place)
    return np.array(out, np.int64)


def _plain(name: str) -> str:
    word = " ".join(name.replace("_", " ").replace("-", " ").casefold().split())
    return word.removesuffix("s")


def _image_pairs(
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
        f"{len(names)} images of the {what} have no partner and do not count, first {names[0]}"
        for names, what in zip(alone, ("truth", "results"), strict=True) if names
    ]  # fmt: skip
    return pairs, notes


def _unique(by_stem: dict[str, Labelled], images: Sequence[Labelled]) -> dict[str, Labelled]:
    count = Counter(PurePosixPath(i.name).stem for i in images)
    return {stem: image for stem, image in by_stem.items() if count[stem] == 1}
