"""What a tile's pixels and cells say about the smear: focus, density, overlap, pallor, stain. Pure.

Law: what is measured is summed over blocks of a grid that depends on slide and scale alone, in whole numbers, so that
it does not matter how tiles cut the slide. A tile's own figures are those of its parts of blocks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pbsbatch.geometry import Box, Tile
from pbsbatch.models.classical_colour import DENSITY
from pbsbatch.plan import Plan
from pbsbatch.rules import BLOCK_UM, NEAR, OVER, PALE
from pbsbatch.store import SUMS, TILE_FAILED, TILE_OK, BlockRows, TileRows
from pbsbatch_kernels import quality as kernels
from pbsbatch_kernels.neighbours import ALIKE, OVER_ALIKE, OVER_OTHERS, touching

__all__ = ["NO_CLASS", "block_px", "failed_tile", "figures_of", "read_tile"]

NO_CLASS = 256
"""The class of red cells of a model that knows none."""


def block_px(plan: Plan) -> int:
    """Return the side of the slide's blocks in work pixels."""
    return kernels.LATTICE_PX * max(1, round(BLOCK_UM / plan.work_mpp / kernels.LATTICE_PX))


def read_tile(
    pixels: NDArray[np.uint8], boxes: NDArray[np.float32], classes: NDArray[np.uint8], red: int, tile: Tile, plan: Plan,
) -> TileRows:  # fmt: skip
    """Measure one tile. boxes are all the cells seen in it, in its own work pixels; red is the class of red cells."""
    core, read, side = tile.core, tile.read, block_px(plan)
    where = boxes.astype(np.float64) + np.array([read.x, read.y, read.x, read.y], np.float64)
    centres = (where[:, :2] + where[:, 2:]) / 2
    owned = tile.owns(centres)
    bits = _bits(where, classes == red, owned, touching(where, classes, NEAR, OVER), plan)
    summed = kernels.block_sums(
        np.ascontiguousarray(pixels), (read.x, read.y), (core.x, core.y, core.x1, core.y1),
        (plan.work_width, plan.work_height), side, where, bits, DENSITY, PALE,
    )  # fmt: skip
    return _rows(plan, tile, _parts(plan, core, summed), TILE_OK, int(owned.sum()))


def failed_tile(tile: Tile, plan: Plan) -> TileRows:
    """Return the row of a tile that could not be read."""
    blocks = _blocks_of(tile.core, block_px(plan))
    nothing = np.zeros((*blocks, len(kernels.SUMMED)), np.int64)
    return _rows(plan, tile, _parts(plan, tile.core, nothing, failed=1), TILE_FAILED, 0)


def _bits(
    boxes: NDArray[np.float64], red: NDArray[np.bool_], owned: NDArray[np.bool_], touched: NDArray[np.uint8], plan: Plan
) -> NDArray[np.uint8]:
    uncut = (boxes[:, :2] > 1).all(1) & (boxes[:, 2] < plan.work_width - 1) & (boxes[:, 3] < plan.work_height - 1)
    clear = touched & (OVER_ALIKE | OVER_OTHERS) == 0
    bits = red * kernels.RED | owned * kernels.OWNED | uncut * kernels.UNCUT | clear * kernels.CLEAR
    bits = bits | ((touched & ALIKE) != 0) * kernels.TOUCHES | ((touched & OVER_ALIKE) != 0) * kernels.OVERLAPS
    return np.asarray(bits, np.uint8)


def _blocks_of(core: Box, side: int) -> tuple[int, int]:
    """Return how many rows and columns of blocks a core touches."""
    return (core.y1 - 1) // side - core.y // side + 1, (core.x1 - 1) // side - core.x // side + 1


def _parts(plan: Plan, core: Box, summed: NDArray[np.int64], failed: int = 0) -> BlockRows:
    """Return a core's parts of blocks with their places in level-0 pixels."""
    side = block_px(plan)
    rows, cols = summed.shape[:2]
    col, row = (a.ravel() for a in np.meshgrid(np.arange(cols) + core.x // side, np.arange(rows) + core.y // side))
    at = np.stack([col, row], axis=1).astype(np.int32)
    corners = (core.x, core.y), (core.x1, core.y1)
    low = np.clip(at * side, *corners) * plan.scale
    high = np.clip((at + 1) * side, *corners) * plan.scale
    box = np.minimum(np.concatenate([low, high], axis=1), [plan.width, plan.height] * 2).astype(np.float64)
    sums = np.concatenate([summed.reshape(len(at), -1), np.full((len(at), 1), failed)], axis=1).astype(np.int64)
    return BlockRows(at, box, (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1]), sums)


def _rows(plan: Plan, tile: Tile, blocks: BlockRows, status: int, n_cells: int) -> TileRows:
    """Return a tile's row: what its parts of blocks sum up to."""
    figures = figures_of(blocks.sums.sum(axis=0, keepdims=True), np.array([blocks.area.sum()]))
    return TileRows(
        core=np.array([plan.core_level0(tile)], np.float64), status=np.array([status], np.uint8),
        n_cells=np.array([n_cells], np.int32), blocks=blocks,
        **{name: values.astype(np.float32) for name, values in figures.items()},
    )  # fmt: skip


def figures_of(sums: NDArray[np.int64], area: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Return what sums (N, len(SUMS)) over areas in level-0 px mean; not a number where nothing was measured."""
    s = {name: column.astype(np.float64) for name, column in zip(SUMS, sums.T, strict=True)}
    read = s["samples"] > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = s["laplace"] / s["samples"]
        return {
            "focus": (s["laplace2"] / s["samples"] - mean**2) / 16,
            "edge_px": 1000 * s["edges"] / s["slope"],
            "rbc_per_mpx": np.where(read, 1e6 * s["red"] / area, np.nan),
            "covered": 1 - s["bare"] / s["samples"],
            "overlap": s["touching"] / s["red"],
            "pallor": s["pale"] / s["whole"],
            "glass_od": s["bare_g"] / s["bare"],
            "rbc_od": s["red_g"] / s["points"],
        }  # fmt: skip
