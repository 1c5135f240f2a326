"""The dense detector: from raw scores, boxes and outlines of a tile's grid to cells with masks.

Laws. Of the places that speak of one cell the best survives: greedy NMS within each class, then, at a higher overlap,
between classes; about its box the places around it vote. A cell does not depend on where its tile starts, provided
that tiles start on multiples of the network's coarsest stride (plan.STEP_PX). Scores are calibrated: of cells with
score 0.7, seven in ten are right.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pbsbatch.errors import EngineError
from pbsbatch.models.base import Calibration, Found, ModelSpec, Raw, Survey
from pbsbatch.models.candidates import FLOOR, best_of, candidate_table
from pbsbatch.models.facts import DetectorFacts
from pbsbatch.models.folder import RAYS, ModelFolder
from pbsbatch.plan import SNAP
from pbsbatch_kernels.nms import nms
from pbsbatch_kernels.outlines import Candidates, candidates, fill
from pbsbatch_kernels.voting import vote

__all__ = ["RESULTS_VERSION", "DenseModel", "decode"]

RESULTS_VERSION = 2
"""Raise it with every change of decoding that can change a result: it is part of the resume key."""
VOTERS_IOU = 0.8
"""Places whose boxes overlap a cell's by so much vote about it: it takes AP from .784 to .787 on labelled fields."""


@dataclass(frozen=True, slots=True)
class DenseModel:
    """A model folder as a Model. Engines take the network from the folder."""

    folder: ModelFolder

    @property
    def spec(self) -> ModelSpec:
        """Return what planning, resuming and results need; the digest holds all that decides the results."""
        facts = self.folder.facts
        told = f"{RESULTS_VERSION} {self.folder.digest}"
        return ModelSpec(
            name=facts.name, version=facts.version, digest=hashlib.sha256(told.encode()).hexdigest(),
            classes=facts.classes, work_mpp=facts.work_mpp, max_cell_um=facts.max_cell_um,
            context_px=facts.context_px, engine="openvino",
        )  # fmt: skip

    def calibrate(self, seen: Survey) -> Calibration:
        """Need nothing of a slide."""
        return {}

    @property
    def limits(self) -> tuple[float, float]:
        """Return the IoU above which a better candidate suppresses another: of its class, and of any class."""
        return self.folder.facts.nms_iou, self.folder.facts.cross_iou

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Return the least score of each class."""
        return self.folder.facts.thresholds

    def at(self, thresholds: Mapping[str, float], nms_iou: float | None) -> DenseModel:
        """Return the same network with other thresholds of some classes, and another suppression."""
        facts = self.folder.facts
        least = tuple(thresholds.get(name, own) for name, own in zip(facts.classes, facts.thresholds, strict=True))
        facts = replace(facts, thresholds=least, nms_iou=facts.nms_iou if nms_iou is None else nms_iou)
        return replace(self, folder=replace(self.folder, facts=facts))

    def decode(self, raw: Raw, slot: int, calibration: Calibration) -> Found:
        """Turn one slot of a batch's raw output into cells."""
        with self._fitting():
            scores, boxes, outlines = (_slot(raw, name, slot) for name in ("scores", "boxes", "outlines"))
            return decode(scores, boxes, outlines, self.folder.facts)

    def candidates(self, raw: Raw, slot: int, calibration: Calibration) -> NDArray[Any]:
        """Return what decoding would choose from, down to candidates.FLOOR."""
        with self._fitting():
            return seen_in(_slot(raw, "scores", slot), _slot(raw, "boxes", slot), self.folder.facts)

    @contextmanager
    def _fitting(self) -> Iterator[None]:
        try:
            yield
        except (KeyError, IndexError, ValueError) as error:
            raise EngineError(
                f"the engine's output does not fit the model {self.folder.facts.name}: {error}",
                cure="Try --engine torch, and report this",
            ) from error


def decode(
    scores: NDArray[np.float32], boxes: NDArray[np.float32], outlines: NDArray[np.float32], facts: DetectorFacts
) -> Found:
    """Return the cells of one tile, best first, from raw scores (C, h, w), boxes (4, h, w), outlines (RAYS, h, w).

    Bad shapes and numbers that are not finite are a ValueError.
    """
    rows, cols = scores.shape[1:]
    if outlines.shape != (RAYS, rows, cols):
        raise ValueError(f"outlines must be ({RAYS}, {rows}, {cols}), not {outlines.shape}")
    largest = _largest(facts)
    seen = candidates(scores, boxes, _least_logits(facts.thresholds, facts), facts.stride, largest)
    merit = _merit(seen, facts)
    kept = nms(seen.boxes, merit, seen.classes, facts.nms_iou)
    kept = kept[nms(seen.boxes[kept], merit[kept], np.zeros(len(kept), np.uint8), facts.cross_iou)]
    places, classes = seen.places[kept], seen.classes[kept]
    voted = vote(scores, boxes, places, classes, facts.stride, largest, VOTERS_IOU)
    shapes = outlines.reshape(RAYS, -1)[:, places].T
    windows, masks = fill(voted, shapes, cols * facts.stride, rows * facts.stride)
    return Found(voted, _chances(merit[kept]), classes, windows, masks)


def seen_in(scores: NDArray[np.float32], boxes: NDArray[np.float32], facts: DetectorFacts) -> NDArray[Any]:
    """Return the candidates of one tile, the boxes that cells would have voted already."""
    largest = _largest(facts)
    seen = candidates(scores, boxes, _least_logits((FLOOR,) * len(facts.classes), facts), facts.stride, largest)
    merit = _merit(seen, facts)
    rows = best_of(merit)
    places, classes = seen.places[rows], seen.classes[rows]
    voted = vote(scores, boxes, places, classes, facts.stride, largest, VOTERS_IOU)
    return candidate_table(seen.boxes[rows], voted, merit[rows], _chances(merit[rows]), classes)


def _largest(facts: DetectorFacts) -> float:
    """Return the largest cell in pixels: a level within SNAP of the working scale is used as it is, and at the
    coarsest it has the fewest.
    """
    return facts.max_cell_um / (facts.work_mpp * (1 + SNAP))


def _merit(seen: Candidates, facts: DetectorFacts) -> NDArray[np.float32]:
    """Return calibrated logits, not yet squeezed: good scores would tie at 1."""
    a, b = np.array(facts.calibration, np.float32).T
    merit: NDArray[np.float32] = a[seen.classes] * seen.logits + b[seen.classes]
    return merit


def _chances(merit: NDArray[np.float32]) -> NDArray[np.float32]:
    return (1 / (1 + np.exp(-merit.astype(np.float64)))).astype(np.float32)


def _least_logits(thresholds: Sequence[float], facts: DetectorFacts) -> NDArray[np.float32]:
    """Return the logits at which calibrated scores reach thresholds."""
    pairs = zip(thresholds, facts.calibration, strict=True)
    return np.array([(math.log(t / (1 - t)) - b) / a for t, (a, b) in pairs], np.float32)


def _slot(raw: Raw, name: str, slot: int) -> NDArray[np.float32]:
    values: NDArray[Any] = raw[name][slot]
    if values.ndim != 3 or values.dtype != np.float32:
        raise ValueError(f"{name} must be float32 (channels, rows, columns), not {values.dtype} {values.shape}")
    return cast("NDArray[np.float32]", values)
