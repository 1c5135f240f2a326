"""From paths to what is held against what: one call for the command line, for tuning and for studies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from pbsbatch.evaluate.labels import Labels, labels_from_coco, labels_from_run
from pbsbatch.evaluate.together import Compared, Policy, compared
from pbsbatch.evaluate.truth import read_truth
from pbsbatch.models.taxonomy import KINDS_OF, TYPES
from pbsbatch.results import open_run

__all__ = ["hold"]

KIND_TO_TYPE = {kind: kind_of for kind_of, kinds in KINDS_OF.items() for kind in (kind_of, *kinds)}


def hold(
    results: Path, truth: Path, form: str = "coco", *, split: str = "", mapping: Mapping[str, str] | None = None,
    policy: Policy | None = None, types: bool | None = None,
) -> Compared:  # fmt: skip
    """Bring a run's folder, or a COCO file of predictions, together with truth.

    types: hold the types of white cells against each other; None: where the truth names any. A kind that the truth
    tells apart more finely than runs do counts as its type.
    """
    wanted = read_truth(truth, form, split)
    whites = [name for name in wanted.classes if _word(name) in KIND_TO_TYPE and _word(name) != "platelet"]
    typed = bool(whites) if types is None else types
    if typed:
        wanted = _by_type(wanted)
    if results.is_file():
        whole = truth if form == "coco" and truth.is_file() else None
        found = labels_from_coco(results, scored=True, images_of=whole)
    else:
        found = labels_from_run(open_run(results), types=typed)
    return compared(wanted, found, mapping, policy)


def _by_type(labels: Labels) -> Labels:
    """Return truth whose white cells stand under the names of types."""
    names = [KIND_TO_TYPE.get(_word(name), name) for name in labels.classes]
    names = [
        old if new not in TYPES or new == "platelet" else new for old, new in zip(labels.classes, names, strict=True)
    ]
    classes = tuple(dict.fromkeys(names))
    which = np.array([classes.index(name) for name in names], np.int64)
    return replace(labels, classes=classes, images=tuple(replace(i, classes=which[i.classes]) for i in labels.images))


def _word(name: str) -> str:
    return "_".join(name.replace("-", " ").replace("_", " ").casefold().split())
