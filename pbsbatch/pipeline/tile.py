"""What becomes of one tile: the cells it owns, in level-0 pixels, and its row in the table of tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbsbatch.detections import NEAR_BORDER, OWNED, UNTYPED, Detections, untyped
from pbsbatch.geometry import Tile
from pbsbatch.models.base import Found
from pbsbatch.pipeline.base import Refiner
from pbsbatch.plan import BAND_PX, Plan
from pbsbatch.quality import failed_tile, read_tile
from pbsbatch.store import TileRows
from pbsbatch_kernels.packing import pack_scaled

__all__ = ["Seen", "keep_owned", "look_at", "refine", "to_level0", "unread", "with_candidates", "with_crops"]


@dataclass(frozen=True, slots=True)
class Seen:
    """One tile's outcome."""

    tile: Tile
    cells: Detections
    row: TileRows  # one
    error: str | None = None
    crops: NDArray[Any] | None = None  # what a refiner wants to look at again
    candidates: NDArray[Any] | None = None  # what cells were chosen from, where that is to be kept


def unread(tile: Tile, plan: Plan, error: str) -> Seen:
    """Return the outcome of a tile that cannot be read."""
    return Seen(tile, Detections.empty(), failed_tile(tile, plan), error)


def look_at(
    found: Found, red: int, tile: Tile, plan: Plan, pixels: NDArray[np.uint8], least: NDArray[np.float32]
) -> Seen:
    """Return the outcome of a tile that was read: its own cells and those near its border.

    least: the score of each class below which a cell is left out.
    """
    sure = found.scores >= least[found.classes]
    row = read_tile(pixels, found.boxes[sure], found.classes[sure], red, tile, plan)
    return Seen(tile, to_level0(keep_owned(found, tile, sure), tile, plan), row)


def with_candidates(seen: Seen, candidates: NDArray[Any]) -> Seen:
    """Remember what a tile's cells were chosen from, in work pixels of the slide.

    Those stay that the tile does not own: what it sees beyond its core suppresses too.
    """
    tile, moved = seen.tile, candidates.copy()
    moved["flags"] = flags_of(candidates["box"].astype(np.float64), tile)
    shift = np.array([tile.read.x, tile.read.y, tile.read.x, tile.read.y], np.float64)
    for name in ("nms_box", "box"):
        moved[name] = candidates[name] + shift
    moved["tile"] = tile.index
    return replace(seen, candidates=moved)


def with_crops(seen: Seen, refiner: Refiner, plan: Plan, pixels: NDArray[np.uint8]) -> Seen:
    """Cut out what will be looked at again while the tile's pixels are there."""
    return replace(seen, crops=refiner.look(seen.cells, seen.tile, plan, pixels))


def refine(tiles: Sequence[Seen], refiner: Refiner) -> list[Seen]:
    """Return the tiles with their cells refined, all in one batch."""
    crops = [one.crops for one in tiles if one.crops is not None and len(one.crops)]
    if not crops:
        return list(tiles)
    cells = refiner.refine(Detections.concat([one.cells for one in tiles]), np.concatenate(crops))
    ends = np.cumsum([len(one.cells) for one in tiles])
    parts = (cells.take(np.arange(end - len(one.cells), end)) for one, end in zip(tiles, ends, strict=True))
    return [replace(one, cells=part, crops=None) for one, part in zip(tiles, parts, strict=True)]


@dataclass(frozen=True, slots=True)
class _Kept:
    found: Found
    index: NDArray[np.intp]
    flags: NDArray[np.uint8]


def keep_owned(found: Found, tile: Tile, sure: NDArray[np.bool_]) -> _Kept:
    """Choose, of those that are sure, the cells whose centre lies in the core, and those within the seam band outside.

    Near the border, and so to be settled, is what lies within the band outside or twice the band inside.

    Law: with identical views, the owned cells of all tiles are every cell exactly once.
    """
    flags = flags_of(found.boxes.astype(np.float64), tile)
    index = np.flatnonzero((flags != 0) & sure)
    return _Kept(found, index, flags[index])


def flags_of(boxes: NDArray[np.float64], tile: Tile) -> NDArray[np.uint8]:
    """Say which boxes, in the tile's work pixels, are its own and which lie near its border."""
    centre_x = (boxes[:, 0] + boxes[:, 2]) / 2 + tile.read.x
    centre_y = (boxes[:, 1] + boxes[:, 3]) / 2 + tile.read.y
    core = tile.core
    inside = tile.owns(np.stack([centre_x, centre_y], axis=1))
    deep = np.minimum.reduce([centre_x - core.x, core.x1 - centre_x, centre_y - core.y, core.y1 - centre_y])
    # deep is negative outside. Owned views further in too: at a corner of four tiles, two that missed a cell may match
    near = (deep > -BAND_PX) & (deep < 2 * BAND_PX)
    return np.asarray(inside * OWNED | near * NEAR_BORDER, np.uint8)


def to_level0(kept: _Kept, tile: Tile, plan: Plan) -> Detections:
    """Move the kept cells from the tile's work pixels to level-0 pixels. This happens here and nowhere else."""
    found, index = kept.found, kept.index
    if len(index) == 0:
        return Detections.empty()
    shift = np.array([tile.read.x, tile.read.y, tile.read.x, tile.read.y], np.float64)
    boxes = (found.boxes[index].astype(np.float64) + shift) * plan.scale
    limit = np.array([plan.width, plan.height, plan.width, plan.height], np.float64)
    windows = found.windows[index].astype(np.int64)
    windows[:, 0] += tile.read.x
    windows[:, 1] += tile.read.y
    masks = [found.masks[i] for i in index]
    level0_windows, offsets, bits = pack_scaled(masks, windows, plan.scale, plan.width, plan.height)
    return Detections(
        boxes=np.clip(boxes, 0.0, limit).astype(np.float32),
        scores=found.scores[index].astype(np.float32),
        classes=found.classes[index].astype(np.uint8),
        tiles=np.full(len(index), tile.index, np.int32),
        flags=kept.flags,
        windows=level0_windows,
        offsets=offsets,
        bits=bits,
        **_types(found, index),
    )


def _types(found: Found, index: NDArray[np.intp]) -> dict[str, NDArray[Any]]:
    """Return the types that the model itself has given to cells, as sure as the cells are."""
    if found.types is None:
        return untyped(len(index))
    types = found.types[index]
    return {"types": types, "type_scores": np.where(types == UNTYPED, 0, found.scores[index]).astype(np.float32)}
