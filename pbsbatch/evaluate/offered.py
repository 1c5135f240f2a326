"""What a run could have found: from the candidates it kept to the cells that other settings would give.

Law: the cells are those that a run with these settings publishes, seams settled as its store settles them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbsbatch.detections import NEAR_BORDER, OWNED
from pbsbatch.evaluate.labels import Labelled, Labels
from pbsbatch.models.candidates import choose
from pbsbatch.plan import BAND_PX
from pbsbatch.results import Run, RunSlide
from pbsbatch.run.candidates import read_candidates
from pbsbatch.store import TILE_OK
from pbsbatch_kernels import seams

__all__ = ["Offered", "offered"]


@dataclass(frozen=True, slots=True, eq=False)
class _Slide:
    image: Labelled  # as the run found it
    candidates: NDArray[Any]
    scale: float  # level-0 px per work px
    band_px: float
    cores: NDArray[np.float64]  # of the tiles that were read


@dataclass(frozen=True, slots=True, eq=False)
class Offered:
    """The candidates of a run's slides."""

    classes: tuple[str, ...]
    slides: tuple[_Slide, ...]
    nms_iou: float  # as the run had it
    cross_iou: float

    def labels(self, thresholds: Mapping[str, float], nms_iou: float, floor: float = 0.0) -> Labels:
        """Return what a run with these settings would find; classes without a threshold go down to the floor."""
        least = np.array([thresholds.get(name, floor) for name in self.classes], np.float64)
        return Labels(self.classes, tuple(self._cells(slide, least, nms_iou) for slide in self.slides))

    def _cells(self, slide: _Slide, least: NDArray[np.float64], nms_iou: float) -> Labelled:
        chosen = slide.candidates[choose(slide.candidates, least, nms_iou, self.cross_iou)]
        chosen = chosen[chosen["flags"] != 0]
        width, height = slide.image.size or (0, 0)
        limit = np.array([width, height, width, height], np.float64)
        boxes = np.clip(chosen["box"].astype(np.float64) * slide.scale, 0.0, limit).astype(np.float32)
        kept = _settled(chosen, boxes, slide)
        boxes, chosen = boxes[kept].astype(np.float64), chosen[kept]
        order = np.lexsort((-chosen["score"], chosen["class"], *(boxes[:, k] for k in (2, 3, 0, 1))))  # as ids go
        return replace(
            slide.image, boxes=boxes[order], classes=chosen["class"][order].astype(np.int64),
            scores=chosen["score"][order].astype(np.float64), masks=None,
        )  # fmt: skip


def _settled(chosen: NDArray[Any], boxes: NDArray[np.float32], slide: _Slide) -> NDArray[np.bool_]:
    """Say which views of cells a store would keep."""
    own, near = (chosen["flags"] & OWNED) != 0, (chosen["flags"] & NEAR_BORDER) != 0
    kept: NDArray[np.bool_] = own & ~near
    rows = np.flatnonzero(near)
    views, mine = chosen[rows], own[rows]
    keep, _ = seams.settle(
        boxes[rows], views["score"].copy(), views["class"].copy(), views["tile"].copy(), mine, slide.band_px
    )
    orphan = np.flatnonzero(keep & ~mine)
    keep[orphan] = seams.covered(boxes[rows][orphan], slide.cores)
    kept[rows] = keep
    return kept


def offered(run: Run) -> Offered | None:
    """Return the candidates of a run; None where it kept none of some slide."""
    slides, limits = [], {"nms_iou": 1.0, "cross_iou": 1.0}
    for slide in run:
        found = read_candidates(run.path, slide.id, slide.store.info.key, slide.store.attributes)
        if found is None:
            return None
        limits = dict(found[1]) if len(found[0]) else limits
        slides.append(_slide(slide, found[0]))
    if not slides:
        return None
    return Offered(run[0].store.classes, tuple(slides), limits["nms_iou"], limits["cross_iou"])


def _slide(slide: RunSlide, candidates: NDArray[Any]) -> _Slide:
    about, tiles = slide.store.attributes, slide.store.tiles
    scale = float(about["plan"]["scale"])
    none = np.zeros(0)
    image = Labelled(
        slide.name, np.zeros((0, 4)), none.astype(np.int64), none, size=(slide.store.attributes["store"]["width_px"],
        slide.store.attributes["store"]["height_px"]), mpp=slide.mpp,
    )  # fmt: skip
    return _Slide(image, candidates, scale, BAND_PX * scale, tiles.core[tiles.status == TILE_OK])
