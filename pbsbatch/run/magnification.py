"""Measure a slide's um per pixel with the detector: red cells look like red cells near one working scale alone.

Laws. The answer depends on slide, model and engine alone, never on a plan. What is looked at is bounded: a few windows
at each rung of a ladder of scales, then again at the scale that the best rung tells. None where no red cells show.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pbsbatch.engines.base import Engine
from pbsbatch.errors import TileError
from pbsbatch.geometry import Box
from pbsbatch.models.base import Model
from pbsbatch.models.dense import DenseModel
from pbsbatch.models.scale import RED_CELL_UM, ScaleEstimate
from pbsbatch.models.survey import windows_of
from pbsbatch.slides.base import Slide

__all__ = ["LADDER_PX", "can_measure", "measured_mpp"]

RED_CELL = "RBC"
LADDER_PX = tuple(14.0 * 1.69**rung for rung in range(6))
"""Diameters of red cells, in level-0 px, that are tried: one taught at .6 to 1.6 of its scale misses none between.
On 217 labelled fields of three laboratories the answer was off by 1.6 % in the median and nowhere by a fifth; measuring
what stands alone (models/scale.py) was off by 3 to 7 % and refused 17."""
VIEW_PX, MARGIN_PX = 512, 32
"""Work pixels of a window, and around it: all rungs have one shape, so that an engine compiles once."""
MOST_WINDOWS = 4
LIKELY, SURE = 0.3, 0.5
"""Scores of the red cells that choose a rung, and of those that are measured."""
NEAR = math.log(1.6)
"""Red cells of a rung are at most so far, in ln, from the diameter that it is made for."""
LEAST_COVER = 0.01
MIN_CELLS = 2
FULL_CELLS = 12
"""From so many cells on their number lowers the confidence no more."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """Red cells of a rung: diameters in level-0 px, scores, which lie whole in the slide; their share of its area."""

    diameters: NDArray[np.float64]
    scores: NDArray[np.float64]
    whole: NDArray[np.bool_]
    cover: float


def can_measure(model: Model) -> bool:
    """Say whether a model looks at single places, so that any window at any scale can be shown to it."""
    return isinstance(model, DenseModel) and RED_CELL in model.spec.classes


def measured_mpp(slide: Slide, model: Model, engine: Engine) -> ScaleEstimate | None:
    """Return um per level-0 pixel, None where fewer than MIN_CELLS red cells are seen at any scale."""
    windows = _windows(slide)
    rungs = [_look(slide, model, engine, windows, diameter) for diameter in LADDER_PX]
    best = max(rungs, key=lambda seen: seen.cover)
    if best.cover < LEAST_COVER:
        return None
    return _estimate(_look(slide, model, engine, windows, float(np.median(best.diameters))))


def _estimate(seen: _Seen) -> ScaleEstimate | None:
    """Return what the surest red cells tell; those that the slide's border cuts only where few are whole."""
    sure = seen.scores >= SURE
    whole = sure & seen.whole
    measured = seen.diameters[whole if whole.sum() >= MIN_CELLS else sure]
    if len(measured) < MIN_CELLS:
        return None
    median = float(np.median(measured))
    spread = float(np.median(np.abs(measured - median))) / median
    trust = float(seen.scores[sure].mean()) * min(1.0, len(measured) / FULL_CELLS) * max(0.0, 1 - 3 * spread)
    return ScaleEstimate(RED_CELL_UM / median, round(trust, 3), len(measured))


def _windows(slide: Slide) -> tuple[tuple[float, float], ...]:
    """Return the centres, in level-0 px, of the windows that are looked at: of a field the middle."""
    level = slide.levels[0]
    whole = Box(0, 0, level.width, level.height)
    boxes = windows_of(*slide.thumbnail(1024), whole)
    some = boxes[:: -(-len(boxes) // MOST_WINDOWS)]
    return tuple((box.x + box.w / 2, box.y + box.h / 2) for box in some)


def _look(
    slide: Slide, model: Model, engine: Engine, windows: tuple[tuple[float, float], ...], diameter: float
) -> _Seen:
    """Return the red cells of the windows, seen so that a cell of that diameter has the size the model was taught."""
    scale = diameter * model.spec.work_mpp / RED_CELL_UM
    level = slide.levels[0]
    cells, area = [], 0.0
    for box, pixels in _pixels(slide, scale, windows):
        found = model.decode(engine(pixels[None]), 0, {})
        middle = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
        inside = ((middle >= MARGIN_PX) & (middle < MARGIN_PX + VIEW_PX)).all(1)
        red = inside & (found.classes == model.spec.classes.index(RED_CELL)) & (found.scores >= LIKELY)
        boxes = (found.boxes[red].astype(np.float64) + np.array([box.x, box.y] * 2)) * scale
        cells.append(np.column_stack([boxes, found.scores[red]]))
        slide_px = Box(0, 0, math.ceil(level.width / scale), math.ceil(level.height / scale))
        area += box.grow(-MARGIN_PX).intersect(slide_px).area * scale**2
    boxes = np.concatenate(cells) if cells else np.zeros((0, 5))
    sizes = np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    boxes, sizes = boxes[near := np.abs(np.log(sizes / diameter)) < NEAR], sizes[near]
    whole = (boxes[:, :2] > scale).all(1) & (boxes[:, 2] < level.width - scale) & (boxes[:, 3] < level.height - scale)
    cover = float((boxes[:, 4] * sizes**2).sum() / area) if area else 0.0
    return _Seen(sizes, boxes[:, 4], whole, cover)


def _pixels(
    slide: Slide, scale: float, windows: tuple[tuple[float, float], ...]
) -> Iterator[tuple[Box, NDArray[np.uint8]]]:
    """Yield what each window shows on the work grid of a scale; a window that cannot be read shows nothing."""
    side = VIEW_PX + 2 * MARGIN_PX
    for x, y in windows:
        box = Box(round(x / scale) - side // 2, round(y / scale) - side // 2, side, side)
        try:
            yield box, slide.read_scaled(scale, box.x, box.y, box.w, box.h)
        except TileError:
            continue
