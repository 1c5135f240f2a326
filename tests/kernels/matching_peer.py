"""Random data sets full of what goes wrong, and pycocotools' answer to them."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pbsbatch_kernels import matching


@dataclass(frozen=True)
class Case:
    n_images: int
    n_classes: int
    true_images: np.ndarray
    true_classes: np.ndarray
    true_boxes: np.ndarray
    areas: np.ndarray
    crowd: np.ndarray
    ids: np.ndarray
    images: np.ndarray
    classes: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    limits: tuple[int, ...]

    def truth(self) -> matching.Truth:
        return matching.truth(
            self.true_images, self.true_classes, self.true_boxes, areas=self.areas, crowd=self.crowd, ids=self.ids
        )

    def found(self) -> matching.Found:
        return matching.found(self.images, self.classes, self.boxes, self.scores)


def draw(seed: int, most: int = 60) -> Case:
    """Draw a data set: a few crowded images, coarse coordinates and scores for ties, empty classes, crowds, id 0."""
    rng = np.random.default_rng(seed)
    n_images, n_classes = int(rng.integers(1, 5)), int(rng.integers(1, 4))
    n, m = int(rng.integers(0, most)), int(rng.integers(0, most * 2))
    size, step = float(rng.choice([20, 60, 300])), float(rng.choice([1, 1, 0.37]))
    true_boxes = np.concatenate([rng.uniform(0, size, (n, 2)), rng.uniform(0, 1.2 * size, (n, 2)) ** rng.choice(2)], 1)
    true_boxes = np.round(true_boxes / step) * step
    true_images, true_classes = rng.integers(0, n_images, n), rng.integers(0, max(n_classes - seed % 2, 1), n)
    boxes = np.round(rng.uniform(0, size, (m, 4)) / step) * step
    images, classes = rng.integers(0, n_images, m), rng.integers(0, n_classes, m)
    if n:
        near = np.flatnonzero(rng.random(m) < 0.8)
        pick = rng.integers(0, n, len(near))
        boxes[near] = np.maximum(true_boxes[pick] + rng.integers(-3, 4, (len(near), 4)) * step, 0)
        images[near], classes[near] = true_images[pick], true_classes[pick]
    own = true_boxes[:, 2] * true_boxes[:, 3]
    on_the_bound = rng.choice([0.0, 32.0**2, 96.0**2, 1e10, 1e11, 500.0], n)
    return Case(
        n_images, n_classes, true_images, true_classes, true_boxes, np.where(rng.random(n) < 0.6, own, on_the_bound),
        rng.random(n) < 0.15, rng.permutation(n) + seed % 3 // 2, images, classes, boxes, rng.integers(0, 9, m) / 8,
        tuple(np.sort(rng.choice([1, 2, 5, 10, 100, 1000], 3, replace=False)).tolist()),
    )  # fmt: skip


def peer(case: Case, *, with_classes: bool = True, masks: tuple[list[Any], list[Any]] | None = None) -> COCOeval:
    """Ask pycocotools; with masks, whole-picture masks of truths and detections."""
    images = [{"id": i, "height": 1, "width": 1} for i in range(case.n_images)]  # read for polygons only
    categories = [{"id": k, "name": f"class {k}"} for k in range(case.n_classes)]
    marks = [
        {"id": int(i), "image_id": int(im), "category_id": int(k), "bbox": b.tolist(), "area": float(a),
         "iscrowd": int(c)}
        for i, im, k, b, a, c in zip(
            case.ids, case.true_images, case.true_classes, case.true_boxes, case.areas, case.crowd, strict=True
        )
    ]  # fmt: skip
    results = [
        {"id": j + 1, "image_id": int(im), "category_id": int(k), "bbox": b.tolist(), "area": float(b[2] * b[3]),
         "score": float(s), "iscrowd": 0}
        for j, (im, k, b, s) in enumerate(zip(case.images, case.classes, case.boxes, case.scores, strict=True))
    ]  # fmt: skip
    if masks is not None:
        for entries, drawn in zip((marks, results), masks, strict=True):
            for entry, mask in zip(entries, drawn, strict=True):
                entry["segmentation"] = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        for entry in results:
            entry["area"] = float(coco_mask.area(entry["segmentation"]))
    with contextlib.redirect_stdout(io.StringIO()):
        sides = []
        for entries in (marks, results):
            side = COCO()
            side.dataset = {"images": images, "categories": categories, "annotations": entries}
            side.createIndex()
            sides.append(side)
        asked = COCOeval(*sides, "bbox" if masks is None else "segm")
        asked.params.maxDets = list(case.limits)
        asked.params.useCats = int(with_classes)
        asked.evaluate()
        asked.accumulate()
        asked.summarize()
    return asked


def same(curves: matching.Curves, asked: COCOeval) -> None:
    """Hold every bit of the curves against pycocotools."""
    for name in ("precision", "recall", "scores"):
        np.testing.assert_array_equal(getattr(curves, name), asked.eval[name], err_msg=name, strict=True)
