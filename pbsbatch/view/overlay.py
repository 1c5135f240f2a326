"""The cells of a tile as the page draws them: outlines from near, a picture of the label image from afar.

Laws. No tile is larger than MOST_BYTES. From near, a tile lists each cell that belongs to it once; only at the deepest
level it may leave some out, and says how many. Class, type and score come with the cells, so that the page filters
without asking again.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbsbatch.detections import DOUBTS, UNTYPED
from pbsbatch.geometry import Box
from pbsbatch.store import StoredLabels, StoredSlide
from pbsbatch.view.index import MOST_CELLS, SIDES, Columns, Index, Rows
from pbsbatch.view.tiles import SIDE, Place
from pbsbatch_kernels.masks import cut
from pbsbatch_kernels.polygons import trace

__all__ = ["MOST_BYTES", "at", "cell", "far", "near"]

MOST_BYTES = 300_000
HEAD_BYTES = 46 * MOST_CELLS + 1000
"""What everything but the outlines takes at most."""
REACH = SIDE
"""Cells that reach farther out of their tile, in pixels of the level, are drawn as boxes."""
ROOM = 0.25
"""A mask may lie outside its box by this share of the box."""


def near(store: StoredSlide, index: Index, place: Place, read: Rows) -> bytes:
    """Return the cells of a tile as JSON, one list for each column.

    An outline is x, y, dx, dy, dx, dy ... in halves of a pixel of the label level, from the tile's corner; `unit` is
    such a half in level-0 pixels. `boxed` are the places of cells whose box stands for their outline.
    """
    cells = index.rows(store, place, read)
    found = len(cells["id"])
    if found > MOST_CELLS:  # at the deepest level alone: the surest stay
        chosen = np.sort(np.argsort(-cells["score"], kind="stable")[:MOST_CELLS])
        cells = {name: values[chosen] for name, values in cells.items()}
    level = max(0, place.level)
    ids = cells["id"]
    outlines, boxed = _fitted(_traced(store, cells, place, level), _boxes(cells, place, level))
    about = {
        "unit": 2**level / 2, "left_out": found - len(ids), "id": ids.tolist(),
        "class": (index.classes[ids] - 1).tolist(), "type": index.types[ids].tolist(),
        "score": index.bins[ids].tolist(), "outline": outlines, "boxed": boxed,
    }  # fmt: skip
    return json.dumps(about, separators=(",", ":")).encode()


def far(store: StoredSlide, index: Index, place: Place) -> bytes:
    """Return a picture of the label image: width, height, then the planes of class + 1 (0: no cell), type and score.

    All behind the two uint16 is packed by zlib. A level coarser than the labels have takes every so many pixels.
    """
    level = min(place.level, store.levels - 1)
    labels = store.labels(level)
    step = 1 << (place.level - level)
    x, y = place.column * SIDE * step, place.row * SIDE * step
    w, h = min(SIDE * step, labels.width - x), min(SIDE * step, labels.height - y)
    ids = labels.read(x, y, w, h)[::step, ::step]
    packed = _packed(index, ids)
    # scores are noise: where they pack badly every other pixel stands for four, and 3 x 256 x 256 bytes always fit
    return packed if len(packed) <= MOST_BYTES else _packed(index, ids[::2, ::2])


def _packed(index: Index, ids: NDArray[np.int32]) -> bytes:
    planes = np.stack([index.classes[ids], index.types[ids], index.bins[ids]])
    planes[1:, ids == 0] = 0
    return struct.pack("<HH", ids.shape[1], ids.shape[0]) + zlib.compress(planes.tobytes(), 3)


def _traced(store: StoredSlide, cells: Columns, place: Place, level: int) -> list[list[int]]:
    """Return the outlines of cells; of a cell without a pixel at this level, and of one too large, none."""
    n = len(cells["id"])
    level = min(level, store.levels - 1)
    labels = store.labels(level)
    window = _window(cells, place, level).intersect(Box(0, 0, labels.width, labels.height))
    if not n or not window.area:
        return [[] for _ in range(n)]
    whole = _inside(cells, window, labels, level)
    ids = cells["id"]
    first = int(ids[0])  # ids are in order
    local = np.zeros(int(ids[-1]) - first + 3, np.int32)
    local[ids[whole] - first + 1] = np.flatnonzero(whole) + 1
    seen = labels.read(window.x, window.y, window.w, window.h)
    numbered = local[np.clip(seen - (first - 1), 0, len(local) - 1)]
    bits, offsets, windows = cut(np.ascontiguousarray(numbered, np.int32), 1, n)
    points, starts = trace(bits, offsets, windows)
    scale = 1 << max(0, place.level - level)  # a slide may have fewer label levels than the page has
    corner = np.array([place.x / 2**level - window.x, place.y / 2**level - window.y])
    halves = np.rint((points - corner) * 2 / scale).astype(np.int64)
    steps = np.diff(halves, axis=0, prepend=halves[:1])
    begins = starts[:-1][np.diff(starts) > 0]
    steps[begins] = halves[begins]
    flat = steps.ravel().tolist()
    return [flat[2 * a : 2 * b] for a, b in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)]


def _window(cells: Columns, place: Place, level: int) -> Box:
    """Return the part of a label level that holds the cells, as far as the tile's reach."""
    if not len(cells["id"]):
        return Box(0, 0, 0, 0)
    x0, y0, x1, y1 = (cells[name] / 2**level for name in SIDES)
    room = math.ceil(ROOM * float(max((x1 - x0).max(), (y1 - y0).max()))) + 1
    x, y, side = (v / 2**level for v in (place.x, place.y, place.side))
    reach = Box(math.floor(x), math.floor(y), math.ceil(side) + 1, math.ceil(side) + 1).grow(REACH)
    low, high = (
        (math.floor(float(v.min())) - room for v in (x0, y0)),
        (math.ceil(float(v.max())) + room for v in (x1, y1)),
    )
    return Box.between(*low, *high).intersect(reach)


def _inside(cells: Columns, window: Box, labels: StoredLabels, level: int) -> NDArray[np.bool_]:
    """Say which boxes lie in the window, or leave it where the slide ends."""
    x0, y0, x1, y1 = (cells[name] / 2**level for name in SIDES)
    across = ((x0 >= window.x) | (window.x == 0)) & ((x1 <= window.x1) | (window.x1 == labels.width))
    down = ((y0 >= window.y) | (window.y == 0)) & ((y1 <= window.y1) | (window.y1 == labels.height))
    return np.asarray(across & down)


def _boxes(cells: Columns, place: Place, level: int) -> list[list[int]]:
    """Return boxes as outlines."""
    scale = 2 / 2**level
    x0, y0, x1, y1 = (
        np.rint((cells[name].astype(np.float64) - corner) * scale).astype(np.int64)
        for name, corner in zip(SIDES, (place.x, place.y, place.x, place.y), strict=True)
    )
    w, h = np.maximum(x1 - x0, 1), np.maximum(y1 - y0, 1)
    zero = np.zeros_like(w)
    return np.stack([x0, y0, w, zero, zero, h, -w, zero], axis=1).tolist()  # type: ignore[no-any-return]


def _fitted(outlines: list[list[int]], boxes: list[list[int]]) -> tuple[list[list[int]], list[int]]:
    """Return each cell's outline, or its box where it has none, and which these are.

    Where the tile would grow too large the longest outlines become boxes: MOST_CELLS boxes always fit.
    """
    boxed = [i for i, outline in enumerate(outlines) if not outline]
    chosen = [outline or box for outline, box in zip(outlines, boxes, strict=True)]
    sizes = [_size(outline) for outline in chosen]
    total = sum(sizes)
    for i in sorted(range(len(chosen)), key=lambda i: -sizes[i]):
        if total <= MOST_BYTES - HEAD_BYTES:
            break
        if outlines[i]:
            boxed.append(i)
            total += _size(boxes[i]) - sizes[i]
            chosen[i] = boxes[i]
    return chosen, sorted(boxed)


def _size(values: list[int]) -> int:
    return len(json.dumps(values, separators=(",", ":"))) + 1


def cell(store: StoredSlide, number: int) -> dict[str, Any] | None:
    """Return what the table says of one cell, or None where there is no such cell."""
    if not 1 <= number <= store.info.cells:
        return None
    row = {name: values[0].item() for name, values in store.rows(number - 1, number).items()}
    typed = row["type"] < len(store.types)
    asked = row.get("second_type", UNTYPED) < len(store.second_types)
    second = {
        "second_type": store.second_types[row["second_type"]], "second_score": round(row["second_score"], 4),
        "doubt": DOUBTS[row["second_flags"]],
    } if asked else {}  # fmt: skip
    return {
        "id": number, "class": store.classes[row["class"]], "score": round(row["score"], 4),
        "type": store.types[row["type"]] if typed else None,
        "type_score": round(row["type_score"], 4) if typed else None, "area_px": row["area_px"],
        "box": [round(row[name], 2) for name in SIDES], **second,
    }  # fmt: skip


def at(store: StoredSlide, x: int, y: int) -> dict[str, Any] | None:
    """Return the cell whose pixel this is, or None."""
    labels = store.labels(0)
    if not (0 <= x < labels.width and 0 <= y < labels.height):
        return None
    return cell(store, int(labels.read(x, y, 1, 1)[0, 0]))
