"""SAHI's and supervision's sliced inference with our network, for benchmarks/end_to_end.py.

Both get the slide as an array in memory, the tiles' size and overlap of our plan, our engine and our decoding of its
output: what differs is how they cut, call and merge. Ours reads the file and packs masks, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbsbatch.config import cores
from pbsbatch.detections import OWNED, Detections
from pbsbatch.models.base import Calibration, Found
from pbsbatch.pipeline import Job, process
from pbsbatch.plan import STEP_PX, Plan
from pbsbatch.run.prepare import Workbench, prepare_slide
from pbsbatch.slides.base import SlideRef
from pbsbatch.store import TileRows

__all__ = ["figures"]

Image = NDArray[np.uint8]
PEERS = ("sahi", "supervision")


def figures(bench: Workbench, ref: SlideRef | None) -> dict[str, Any]:
    """Return megapixels per second and cells of ours and of each peer; blank for one that is not installed."""
    row: dict[str, Any] = {"peer_side_px": "", "ours_mpix_per_s": "", "ours_cells": ""}
    row |= {f"{name}_{what}": "" for name in PEERS for what in ("mpix_per_s", "cells", "version")}
    if ref is None:
        return row
    prepared, slide = prepare_slide(bench, ref)
    plan = prepared.plan
    mpix = plan.work_width * plan.work_height / 1e6
    row["peer_side_px"] = plan.work_width
    sink = _Count()
    job = Job(slide, plan, prepared.calibration, tuple(range(plan.strips)), sink)
    start = time.perf_counter()
    for _ in process([job], bench.model, bench.engine):
        pass
    row |= {"ours_mpix_per_s": round(mpix / (time.perf_counter() - start), 1), "ours_cells": sink.cells}
    image = slide.read_scaled(plan.scale, 0, 0, plan.work_width, plan.work_height)
    slide.close()
    look = _look(bench, prepared.calibration)
    for name, run in (("sahi", _sahi), ("supervision", _supervision)):
        try:
            import_module(name)
        except ImportError:
            row[f"{name}_version"] = "absent"
            continue
        start = time.perf_counter()
        cells = run(image, look, plan)
        seconds = time.perf_counter() - start
        row |= {
            f"{name}_mpix_per_s": round(mpix / seconds, 1),
            f"{name}_cells": cells,
            f"{name}_version": version(name),
        }
    return row


class _Count:
    """A sink that counts the cells that tiles own."""

    def __init__(self) -> None:
        self.cells = 0

    def append(self, strip: int, cells: Detections, tiles: TileRows) -> None:
        self.cells += int((cells.flags & OWNED > 0).sum())


def _look(bench: Workbench, calibration: Calibration) -> Callable[[Image], Found]:
    """Return what finds the cells of one slice; slices at the right and lower border are padded to our steps."""

    def look(image: Image) -> Found:
        height, width = (-(-side // STEP_PX) * STEP_PX for side in image.shape[:2])
        padded = np.full((1, height, width, 3), 255, np.uint8)
        padded[0, : image.shape[0], : image.shape[1]] = image
        return bench.model.decode(bench.engine(padded), 0, calibration)

    return look


def _sahi(image: Image, look: Callable[[Image], Found], plan: Plan) -> int:
    base, predict = import_module("sahi.models.base"), import_module("sahi.predict")
    prediction = import_module("sahi.prediction").ObjectPrediction
    height, width = plan.tile_shape

    class Model(base.DetectionModel):  # type: ignore[name-defined, misc]
        has_mask = False
        num_categories = 3
        category_names = ("RBC", "WBC", "Platelet")

        def load_model(self) -> None:
            self.model = look

        def set_model(self, model: Any, **_: Any) -> None:
            self.model = model

        def perform_inference(self, image: Image) -> None:
            self._original_predictions = self.model(image)

        def _create_object_prediction_list_from_original_predictions(
            self, shift_amount_list: Any = None, full_shape_list: Any = None
        ) -> None:
            found = self._original_predictions
            shift, full = (one[0] if isinstance(one[0], list) else one for one in (shift_amount_list, full_shape_list))
            cells = zip(found.boxes.tolist(), found.scores.tolist(), found.classes.tolist(), strict=True)
            self._object_prediction_list_per_image = [[
                prediction(bbox=box, score=score, category_id=kind, category_name=self.category_names[kind],
                           shift_amount=shift, full_shape=full)
                for box, score, kind in cells
            ]]  # fmt: skip

    result = predict.get_sliced_prediction(
        image, Model(model_path="ours", confidence_threshold=0.3), slice_height=height, slice_width=width,
        overlap_height_ratio=2 * plan.halo / height, overlap_width_ratio=2 * plan.halo / width,
        perform_standard_pred=False, verbose=0,
    )  # fmt: skip
    return len(result.object_prediction_list)


def _supervision(image: Image, look: Callable[[Image], Found], plan: Plan) -> int:
    sv = import_module("supervision")

    def callback(part: Image) -> Any:
        found = look(part)
        inside = np.clip(found.boxes, 0, [part.shape[1], part.shape[0]] * 2)  # the last slices were padded
        return sv.Detections(xyxy=inside, confidence=found.scores, class_id=found.classes.astype(np.int64))

    height, width = plan.tile_shape
    slicer = sv.InferenceSlicer(
        callback=callback, slice_wh=(width, height), overlap_wh=(2 * plan.halo, 2 * plan.halo),
        thread_workers=cores(),
    )  # fmt: skip
    return len(slicer(image))
