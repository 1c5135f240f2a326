"""Bring many fields' cells into the sets that are matched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pbsbatch_kernels.matching import Found, Truth, found, take, truth

__all__ = ["fields_found", "fields_truth", "one_class"]


def fields_truth(boxes: Sequence[ArrayLike], classes: Sequence[ArrayLike]) -> Truth:
    """Return the true cells of fields 0, 1, 2 ...; each field's boxes are (N, 4) x0, y0, x1, y1 in px."""
    return truth(_images(boxes, classes), _joined(classes, np.int64), _sized(boxes))


def fields_found(boxes: Sequence[ArrayLike], classes: Sequence[ArrayLike], scores: Sequence[ArrayLike]) -> Found:
    """Return the detections of fields 0, 1, 2 ...; each field's boxes are (N, 4) x0, y0, x1, y1 in px."""
    _images(boxes, scores)
    return found(_images(boxes, classes), _joined(classes, np.int64), _sized(boxes), _joined(scores, np.float64))


def one_class(true: Truth, detected: Found) -> tuple[Truth, Found, NDArray[np.int64], NDArray[np.int64]]:
    """Return both sets with a single class, and the rows of the given sets that they were made of.

    Law: they are ordered by the class they had, which decides ties as in pycocotools without categories.
    """
    rows = np.argsort(true.classes, kind="stable").astype(np.int64)
    found_rows = np.argsort(detected.classes, kind="stable").astype(np.int64)
    merged = replace(take(true, rows), classes=np.zeros(len(rows), np.int64))
    merged_found = replace(take(detected, found_rows), classes=np.zeros(len(found_rows), np.int64))
    return merged, merged_found, rows, found_rows


def _images(boxes: Sequence[ArrayLike], others: Sequence[ArrayLike]) -> NDArray[np.int64]:
    sizes, expected = [np.shape(b)[0] for b in boxes], [np.shape(o)[0] for o in others]
    if sizes != expected:
        raise ValueError(f"fields: boxes come in {sizes}, what goes with them in {expected}")
    return np.repeat(np.arange(len(sizes), dtype=np.int64), sizes)


def _joined(parts: Sequence[ArrayLike], dtype: type[np.generic]) -> NDArray[np.generic]:
    arrays = [np.asarray(p) for p in parts if np.size(p)]
    return np.concatenate(arrays).astype(dtype, casting="same_kind") if arrays else np.zeros(0, dtype)


def _sized(boxes: Sequence[ArrayLike]) -> NDArray[np.float64]:
    """Return x, y, w, h."""
    arrays = [np.asarray(b, np.float64) for b in boxes if np.size(b)]
    out = np.concatenate(arrays) if arrays else np.zeros((0, 4))
    if out.ndim != 2 or out.shape[1] != 4:
        raise ValueError(f"fields: boxes must be (N, 4) x0, y0, x1, y1, not {out.shape}")
    return np.concatenate([out[:, :2], out[:, 2:] - out[:, :2]], axis=1)
