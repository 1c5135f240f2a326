"""Look at one tile at several working scales: an image pasted together of fields of several magnifications.

Laws. Every place belongs to the scale at which the red cells around it have the size that the model was taught; a cell
that another scale saw there is dropped, and what two scales saw at their common border is one cell: exact NMS over all.
One scale alone changes nothing. The order of the scales does not matter.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pbsbatch.engines.base import Engine
from pbsbatch.models.base import Calibration, Found, Model
from pbsbatch.models.scale import RED_CELL_UM
from pbsbatch.plan import STEP_PX
from pbsbatch.rules import RED_CELL
from pbsbatch_kernels.nms import nms

__all__ = ["at_home", "look_coarser", "merged"]

WHITE = 255
REACH = 2.0
"""Red cells speak for the scale of what lies within so many of their diameters (a standard deviation)."""
SAME_IOU, OTHER_IOU = 0.5, 0.75
"""From so much overlap on two scales saw one cell, of one class or of two."""
ROWS = 512
"""Cells whose surroundings are weighed at once."""


def look_coarser(
    found: Found, pixels: NDArray[np.uint8], coarser: tuple[float, ...], model: Model, engine: Engine,
    calibration: Calibration,
) -> Found:  # fmt: skip
    """Return a tile's cells: those that `found` holds, and those of the same pixels shrunk so many times."""
    looks = [(1.0, found)]
    for factor in coarser:
        shrunk, (right, down) = _shrunk(pixels, factor)
        looks.append((factor, _enlarged(model.decode(engine(shrunk[None]), 0, calibration), right, down)))
    red = model.spec.classes.index(RED_CELL) if RED_CELL in model.spec.classes else -1
    return merged(looks, red, RED_CELL_UM / model.spec.work_mpp)


def merged(looks: list[tuple[float, Found]], red: int, red_cell_px: float) -> Found:
    """Return the cells of several looks (how much coarser, cells in common pixels) as one set, best first."""
    cells = _joined([found for _, found in looks])
    look = np.repeat(np.arange(len(looks)), [len(found.scores) for _, found in looks])
    wanted = red_cell_px * np.array([factor for factor, _ in looks])
    home = np.flatnonzero(at_home(cells.boxes, cells.scores, cells.classes == red, look, wanted))
    # of equal scores the one further left and up, and so the same whatever the order of the looks
    order = home[np.lexsort([*cells.boxes[home].T, -cells.scores[home]])]
    order = order[nms(cells.boxes[order], cells.scores[order], cells.classes[order], SAME_IOU)]
    none = np.zeros(len(order), np.uint8)
    return _taken(cells, order[nms(cells.boxes[order], cells.scores[order], none, OTHER_IOU)])


def at_home(
    boxes: NDArray[np.floating], scores: NDArray[np.floating], red: NDArray[np.bool_], look: NDArray[np.int64],
    wanted: NDArray[np.float64],
) -> NDArray[np.bool_]:  # fmt: skip
    """Say which cells lie where the red cells speak for the scale that saw them.

    look says which one that was, wanted how large red cells are at each, in the boxes' pixels. Where none speaks, all
    are at home.
    """
    boxes = boxes.astype(np.float64)
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    sizes = np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(1))
    nearest = np.abs(np.log(np.maximum(sizes, 1e-6))[:, None] - np.log(wanted)).argmin(1)
    speaks = np.flatnonzero(red & (nearest == look))
    reach = REACH * wanted[look[speaks]]
    weight = scores[speaks] * (sizes[speaks] / reach) ** 2
    said = np.zeros((len(boxes), len(wanted)))
    for start in range(0, len(boxes), ROWS):
        rows = slice(start, start + ROWS)
        apart = ((middle[rows, None] - middle[None, speaks]) ** 2).sum(-1)
        share = weight * np.exp(-apart / (2 * reach**2))
        for k in range(len(wanted)):
            said[rows, k] = share[:, look[speaks] == k].sum(1)
    return np.asarray(said[np.arange(len(boxes)), look] >= said.max(1, initial=0.0))


def _shrunk(pixels: NDArray[np.uint8], factor: float) -> tuple[NDArray[np.uint8], tuple[float, float]]:
    """Return the pixels so many times smaller, white up to a whole step, and how much smaller along x and y."""
    height, width = pixels.shape[:2]
    wide, tall = max(1, round(width / factor)), max(1, round(height / factor))
    out = np.full((-(-tall // STEP_PX) * STEP_PX, -(-wide // STEP_PX) * STEP_PX, 3), WHITE, np.uint8)
    out[:tall, :wide] = cv2.resize(pixels, (wide, tall), interpolation=cv2.INTER_AREA)
    return out, (width / wide, height / tall)


def _enlarged(found: Found, right: float, down: float) -> Found:
    """Return cells in pixels that are so many times smaller."""
    windows = np.zeros_like(found.windows)
    masks = []
    for i, (x, y, w, h) in enumerate(found.windows.tolist()):
        x0, y0, x1, y1 = round(x * right), round(y * down), round((x + w) * right), round((y + h) * down)
        windows[i] = x0, y0, x1 - x0, y1 - y0
        mask = cv2.resize(found.masks[i].astype(np.uint8), (x1 - x0, y1 - y0), interpolation=cv2.INTER_NEAREST_EXACT)
        masks.append(mask > 0)
    boxes = found.boxes * np.array([right, down, right, down], np.float32)
    return Found(boxes, found.scores, found.classes, windows, tuple(masks), found.types)


def _joined(parts: list[Found]) -> Found:
    return Found(
        np.concatenate([p.boxes for p in parts]), np.concatenate([p.scores for p in parts]),
        np.concatenate([p.classes for p in parts]), np.concatenate([p.windows for p in parts]),
        tuple(mask for p in parts for mask in p.masks),
        None if any(p.types is None for p in parts) else np.concatenate([p.types for p in parts]),
    )  # fmt: skip


def _taken(found: Found, index: NDArray[np.integer]) -> Found:
    masks = tuple(found.masks[i] for i in index.tolist())
    types = None if found.types is None else found.types[index]
    return Found(found.boxes[index], found.scores[index], found.classes[index], found.windows[index], masks, types)
