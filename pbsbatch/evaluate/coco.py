"""Read truth and detections in the COCO form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbsbatch.errors import UsageError
from pbsbatch_kernels.matching import Found, Truth, found, truth

__all__ = ["from_coco"]


def from_coco(
    data_set: Mapping[str, Any], results: Sequence[Mapping[str, Any]]
) -> tuple[Truth, Found, tuple[str, ...]]:
    """Return the boxes of a COCO data set, of its results, and the names of the classes, in the order of their ids.

    Laws. As in pycocotools, images and categories count in the order of their ids, annotations of other categories are
    left out, and an annotation's own area counts, not its box's. Results for unknown images are refused.
    """
    images = _places(_column(_entries(data_set, "images"), "id"), "image")
    categories = _places(_column(_entries(data_set, "categories"), "id"), "category")
    names = {c["id"]: str(c.get("name", c["id"])) for c in data_set["categories"]}
    where = _numbers(results, "image_id", images)
    if (where < 0).any():
        unknown = results[int(np.argmax(where < 0))]["image_id"]
        raise UsageError(
            f"the results speak of image {unknown}, which the data set does not hold",
            cure="Evaluate results against the data set they were made for",
        )
    annotations = _entries(data_set, "annotations")
    true_where, kinds = _numbers(annotations, "image_id", images), _numbers(annotations, "category_id", categories)
    known = (true_where >= 0) & (kinds >= 0)
    marks = list(compress(annotations, known))
    true = truth(
        true_where[known], kinds[known], _boxes(marks), areas=_column(marks, "area"), ids=_column(marks, "id"),
        crowd=[bool(a.get("iscrowd", 0)) for a in marks],
    )  # fmt: skip
    kinds = _numbers(results, "category_id", categories)
    known = kinds >= 0
    kept = list(compress(results, known))
    detected = found(where[known], kinds[known], _boxes(kept), _column(kept, "score"))
    return true, detected, tuple(names[c] for c in categories)


def _entries(data_set: Mapping[str, Any], part: str) -> Sequence[Mapping[str, Any]]:
    if part not in data_set:
        raise UsageError(f"the data set has no {part}", cure="Give a data set in the COCO form")
    entries: Sequence[Mapping[str, Any]] = data_set[part]
    return entries


def _column(entries: Sequence[Mapping[str, Any]], key: str) -> list[Any]:
    try:
        return list(map(itemgetter(key), entries))
    except KeyError as error:
        raise UsageError(f"an entry has no {error}", cure="Give data set and results in the COCO form") from error


def _numbers(entries: Sequence[Mapping[str, Any]], key: str, places: Mapping[Any, int]) -> NDArray[np.int64]:
    """Return each entry's image or category as its place, -1 where it is unknown."""
    return np.array([places.get(id_, -1) for id_ in _column(entries, key)], np.int64)


def _places(ids: Sequence[Any], what: str) -> dict[Any, int]:
    if len(set(ids)) != len(ids):
        raise UsageError(f"the data set gives one {what} id twice", cure=f"Give each {what} an id of its own")
    return {id_: place for place, id_ in enumerate(sorted(ids))}


def _boxes(entries: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
    boxes = _column(entries, "bbox")
    if set(map(len, boxes)) - {4}:
        raise UsageError("a bbox is not x, y, w, h", cure="Give data set and results in the COCO form")
    return np.array(boxes, np.float64).reshape(-1, 4)
