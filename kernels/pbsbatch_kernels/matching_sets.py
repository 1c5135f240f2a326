"""What is matched: truth and detections as frozen arrays, checked once."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pbsbatch_kernels.matching_runs import Runs, Segments, segments

__all__ = ["Found", "Truth", "found", "take", "truth"]

FURTHEST, LEAST = 1e150, 1e-150


@dataclass(frozen=True, slots=True)
class Truth:
    """N true objects. Law: `truth()` made and checked it."""

    images: NDArray[np.int64]  # 0, 1, 2 ...
    classes: NDArray[np.int64]  # 0, 1, 2 ...
    boxes: NDArray[np.float64]  # (N, 4) x, y, w, h
    areas: NDArray[np.float64]  # what area ranges look at
    crowd: NDArray[np.bool_]  # stands for many: ignored, never used up, measured by the detection's own area
    ignored: NDArray[np.bool_]  # may be found, need not be; crowds are ignored too
    counted: NDArray[np.bool_]  # False for annotation id 0, which pycocotools never counts as matched
    masks: Segments | None

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, slots=True)
class Found:
    """N detections. Law: `found()` made and checked it."""

    images: NDArray[np.int64]
    classes: NDArray[np.int64]
    boxes: NDArray[np.float64]  # (N, 4) x, y, w, h
    scores: NDArray[np.float64]
    areas: NDArray[np.float64]
    masks: Segments | None

    def __len__(self) -> int:
        return len(self.images)


def truth(
    images: ArrayLike, classes: ArrayLike, boxes: ArrayLike | None = None, *, masks: Runs | None = None,
    areas: ArrayLike | None = None, crowd: ArrayLike | None = None, ignored: ArrayLike | None = None,
    ids: ArrayLike | None = None,
) -> Truth:  # fmt: skip
    """Check true objects. Areas default to the masks' pixels, or to w * h; boxes default to the masks' own."""
    where, which = _indices(images, "images"), _indices(classes, "classes")
    n = len(where)
    shapes, boxes_ = _shapes(boxes, masks)
    is_crowd = _flags(crowd, n, "crowd")
    is_ignored = _flags(ignored, n, "ignored") | is_crowd
    counted = np.ones(n, np.bool_) if ids is None else np.asarray(ids) != 0
    _same_length(n, classes=which, boxes=boxes_, crowd=is_crowd, ignored=is_ignored, ids=counted)
    return Truth(where, which, boxes_, _areas(areas, boxes_, shapes), is_crowd, is_ignored, counted, shapes)


def found(
    images: ArrayLike, classes: ArrayLike, boxes: ArrayLike | None, scores: ArrayLike, *, masks: Runs | None = None,
    areas: ArrayLike | None = None,
) -> Found:  # fmt: skip
    """Check detections. Areas and boxes default as for truth."""
    where, which = _indices(images, "images"), _indices(classes, "classes")
    shapes, boxes_ = _shapes(boxes, masks)
    values = np.ascontiguousarray(scores, np.float64)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError("matching: scores must be a list of finite numbers")
    _same_length(len(where), classes=which, boxes=boxes_, scores=values)
    return Found(where, which, boxes_, values, _areas(areas, boxes_, shapes), shapes)


@overload
def take(of: Truth, rows: NDArray[np.integer]) -> Truth: ...
@overload
def take(of: Found, rows: NDArray[np.integer]) -> Found: ...
def take(of: Truth | Found, rows: NDArray[np.integer]) -> Truth | Found:
    """Return the chosen objects, in the order of rows."""
    arrays = {f.name: getattr(of, f.name)[rows] for f in fields(of) if f.name != "masks"}
    return replace(of, **arrays, masks=None if of.masks is None else _take_segments(of.masks, rows))


def _take_segments(of: Segments, rows: NDArray[np.integer]) -> Segments:
    sizes = np.diff(of.starts)[rows]
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    source = np.repeat(of.starts[rows] - starts[:-1], sizes) + np.arange(starts[-1])
    return Segments(starts, of.pieces[source], of.pixels[rows], of.boxes[rows])


def _same_length(n: int, **arrays: NDArray[np.generic]) -> None:
    for name, array in arrays.items():
        if len(array) != n:
            raise ValueError(f"matching: {len(array)} {name} for {n} images")


def _indices(values: ArrayLike, name: str) -> NDArray[np.int64]:
    given = np.asarray(values)
    if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
        raise ValueError(f"matching: {name} must be a list of whole numbers")
    out = np.ascontiguousarray(given, np.int64)
    if len(out) and not 0 <= out.min() <= out.max() < 2**31:
        raise ValueError(f"matching: {name} must count from 0 and stay below 2^31")
    return out


def _flags(values: ArrayLike | None, n: int, name: str) -> NDArray[np.bool_]:
    out = np.zeros(n, np.bool_) if values is None else np.ascontiguousarray(values).astype(np.bool_)
    if out.shape != (n,):
        raise ValueError(f"matching: {name} has shape {out.shape}, expected ({n},)")
    return out


def _shapes(boxes: ArrayLike | None, masks: Runs | None) -> tuple[Segments | None, NDArray[np.float64]]:
    shapes = None if masks is None else segments(masks)
    if boxes is None:
        if shapes is None:
            raise ValueError("matching: boxes or masks are needed")
        return shapes, shapes.boxes
    out = np.ascontiguousarray(boxes, np.float64)
    if out.size == 0:
        out = out.reshape(0, 4)
    if out.ndim != 2 or out.shape[1] != 4:
        raise ValueError(f"matching: boxes must be (N, 4) x, y, w, h, not {out.shape}")
    sizes = out[:, 2:]
    if not (np.abs(out) <= FURTHEST).all():  # also False for NaN
        raise ValueError("matching: boxes must be finite and within 1e150")
    if ((sizes < LEAST) & (sizes != 0)).any():
        raise ValueError("matching: a box has a negative size, or one too small for its area to be told from 0")
    if shapes is not None and len(shapes.boxes) != len(out):
        raise ValueError(f"matching: {len(shapes.boxes)} masks for {len(out)} boxes")
    return shapes, out


def _areas(areas: ArrayLike | None, boxes: NDArray[np.float64], shapes: Segments | None) -> NDArray[np.float64]:
    if areas is None:
        return shapes.pixels if shapes is not None else boxes[:, 2] * boxes[:, 3]
    out = np.ascontiguousarray(areas, np.float64)
    if out.shape != (len(boxes),) or not (out >= 0).all():  # also False for NaN
        raise ValueError(f"matching: areas must be {len(boxes)} numbers, none of them negative")
    return out
