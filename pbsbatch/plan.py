"""Plan: from a slide's levels and a model's needs to tiles, strips and projected bytes. Pure.

The slide is cut on the work grid into cores of equal size that divide it evenly, a strip being one
or more whole rows of cores. A tile reads its core plus a halo on all sides, at one fixed shape.

Laws, each a property test: the cores of the tiles cover the slide; no point lies in two cores; the
halo holds half of the largest cell, the seam band and the model's context; where the slide has room
for it, cores are at least 0.8 of what is computed. The sides of tiles are multiples of STEP_PX, and
so are their places unless an origin is given. Geometry depends on slide, model and config alone, so
that a strip means the same to every worker and to every later run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbsbatch.config import Config
from pbsbatch.errors import PlanError
from pbsbatch.geometry import Box, Level, Tile

__all__ = ["BAND_PX", "PREVIEW_PX", "EngineMemory", "Needs", "Plan", "make_plan", "required_halo", "work_scale"]

BAND_PX = 3
"""Seam band in work pixels: centres jitter by less than this between two tiles' views of a cell."""
CORE_SHARE = 0.8
"""Least share of computed pixels that cores make up on a slide with room for it."""
FIELD_MARGIN_PX = 16
"""A slide of one tile needs no halo, only a margin so that no cell touches the border of the array."""
SNAP = 0.05
"""A level this near the working scale is used as it is: resampling would cost more than it gives."""
STEP_PX = 16
"""Cores, halos and so tiles are multiples of this, a network's coarsest stride: neighbours see a cell on one grid."""
TILES_PER_STRIP = 16
"""Narrow slides group rows of cores until a strip has about this many tiles."""
WORKER_BYTES = 600_000_000
"""Memory of a worker whatever the tile: its libraries, the compiled network, and settling a slide. 480 MB is usual;
where the parity gate ran in the same process, 570 MB were seen."""
BYTES_PER_TILE_PX = 55
"""Memory per pixel of a tile that is there once: the batches of the ring, libvips' rows, decoding and masks."""
BYTES_PER_LANE_PX = 40
"""Memory per pixel of a tile for each lane: the network's planes and its output. Peaks of 484, 661 and 960 MB were
measured with one lane and tiles of 0.9, 3.3 and 6.6 MP, and of 561, 755 and 1200 MB with two."""
STORE_BYTES = 100_000
"""Disk of a store's metadata and of files that are hardly filled."""
PREVIEW_PX = 2048
"""Longer side of the preview image kept in a store."""
PREVIEW_BYTES_PER_PX = 4
"""RGB and the smaller levels."""
DISK_BYTES_PER_PX = 0.3
"""Disk of strips, labels and tables per level-0 pixel on a crowded slide."""


@dataclass(frozen=True, slots=True)
class EngineMemory:
    """What an engine takes of the host beside what is reckoned for every worker: bytes once, and how many times what
    the model says of a lane.
    """

    once: int = 0
    times: float = 1.0


@dataclass(frozen=True, slots=True)
class Needs:
    """What a model asks of the geometry."""

    work_mpp: float
    max_cell_um: float
    context_px: int
    tile_px: int | None = None  # the side of its tiles, where it takes no other
    step_px: int = STEP_PX  # halos, and so the tiles of a fixed side, lie on multiples of it
    lane_bytes_px: int = BYTES_PER_LANE_PX  # memory per pixel of a tile for each lane
    beside_bytes: int = 0  # memory of what runs beside it in a worker


@dataclass(frozen=True, slots=True)
class Plan:
    """How one slide is cut. Work pixels unless a name says level 0."""

    slide_id: str
    width: int  # level-0 px
    height: int  # level-0 px
    mpp: float
    mpp_source: str
    scale: float  # level-0 px per work px
    work_width: int
    work_height: int
    core_w: int
    core_h: int
    halo: int
    max_cell_px: int
    origin: tuple[int, int]
    rows_per_strip: int
    wanted: NDArray[np.bool_] = field(repr=False)  # (rows, cols): tiles whose core may hold cells
    coarser: tuple[float, ...] = ()  # the one tile is looked at so many times shrunk, too
    lane_bytes_px: int = BYTES_PER_LANE_PX
    beside_bytes: int = 0

    @property
    def rows(self) -> int:
        return int(self.wanted.shape[0])

    @property
    def cols(self) -> int:
        return int(self.wanted.shape[1])

    @property
    def strips(self) -> int:
        return math.ceil(self.rows / self.rows_per_strip)

    @property
    def tiles(self) -> int:
        """Return how many tiles will be read."""
        return int(self.wanted.sum())

    @property
    def tile_shape(self) -> tuple[int, int]:
        """Return (height, width) of every tile's read box."""
        return self.core_h + 2 * self.halo, self.core_w + 2 * self.halo

    @property
    def work_mpp(self) -> float:
        """Return um per work pixel as it really is; it may differ from the model's wish by SNAP."""
        return self.mpp * self.scale

    def tile(self, row: int, col: int) -> Tile:
        """Return one tile: its read box has the plan's fixed shape, its core is cut off at the slide."""
        x, y = (
            _start(self.origin[0], self.core_w) + col * self.core_w,
            _start(self.origin[1], self.core_h) + row * self.core_h,
        )
        whole = Box(x, y, self.core_w, self.core_h)
        core = whole.intersect(Box(0, 0, self.work_width, self.work_height))
        return Tile(row * self.cols + col, row, col, whole.grow(self.halo), core)

    def strip_tiles(self, strip: int) -> Iterator[Tile]:
        """Yield the tiles of a strip that are to be read, in reading order."""
        first = strip * self.rows_per_strip
        for row in range(first, min(first + self.rows_per_strip, self.rows)):
            for col in range(self.cols):
                if self.wanted[row, col]:
                    yield self.tile(row, col)

    def core_level0(self, tile: Tile) -> tuple[float, float, float, float]:
        """Return a core as x0, y0, x1, y1 in level-0 pixels, cut off at the slide; neighbours share the same edge."""
        c = tile.core
        return (
            min(c.x * self.scale, self.width), min(c.y * self.scale, self.height),
            min(c.x1 * self.scale, self.width), min(c.y1 * self.scale, self.height),
        )  # fmt: skip

    @property
    def roi_level0_px(self) -> float:
        """Return the area of all wanted cores in level-0 pixels."""
        total = 0.0
        for strip in range(self.strips):
            for tile in self.strip_tiles(strip):
                x0, y0, x1, y1 = self.core_level0(tile)
                total += (x1 - x0) * (y1 - y0)
        return total

    @property
    def core_share(self) -> float:
        """Return the share of computed pixels that lies in cores."""
        height, width = self.tile_shape
        owned = sum(t.core.area for s in range(self.strips) for t in self.strip_tiles(s))
        return owned / (self.tiles * height * width) if self.tiles else 1.0

    def projected_memory(self, lanes: int = 1, engine: EngineMemory = EngineMemory()) -> int:
        """Return the bytes a worker of so many lanes needs at its peak: the tile tells, not the slide or its cells."""
        height, width = self.tile_shape
        each = BYTES_PER_TILE_PX + lanes * self.lane_bytes_px * engine.times
        return WORKER_BYTES + self.beside_bytes + engine.once + math.ceil(height * width * each)

    @property
    def projected_disk(self) -> int:
        """Return the bytes that strips and store need at most while the slide is settled."""
        shrink = min(1.0, PREVIEW_PX / max(self.width, self.height))
        preview = self.width * self.height * shrink**2 * PREVIEW_BYTES_PER_PX
        return STORE_BYTES + math.ceil(preview + self.roi_level0_px * DISK_BYTES_PER_PX)

    def facts(self) -> dict[str, Any]:
        """Return what the plan says about itself, for `pbsbatch plan` and run.json."""
        return {
            "tiles": self.tiles, "strips": self.strips, "core_px": [self.core_w, self.core_h], "halo_px": self.halo,
            "core_share": round(self.core_share, 4), "scale": self.scale, "work_mpp": self.work_mpp,
            "tile_shape": list(self.tile_shape), "cols": self.cols, "origin": list(self.origin),
            "coarser": list(self.coarser),
        }  # fmt: skip


def make_plan(
    *, slide_id: str, levels: Sequence[Level], mpp: float, mpp_source: str, needs: Needs, config: Config,
    foreground: NDArray[np.bool_] | None = None, magnifications: tuple[float, ...] = (1.0,),
) -> Plan:  # fmt: skip
    """Cut one slide. foreground, a map of the whole slide at any size, says where cells may be; None: everywhere.

    Where parts of an image show cells so many times larger than mpp says, it must fit one tile at the finest scale.
    """
    level0, least = levels[0], min(magnifications)
    scale = work_scale(levels, mpp / least, needs.work_mpp)
    work_w, work_h = max(1, math.ceil(level0.width / scale)), max(1, math.ceil(level0.height / scale))
    max_cell_px = math.ceil(needs.max_cell_um * least / (mpp * scale))
    halo = required_halo(max_cell_px, needs.context_px, config.halo, needs.step_px)
    one_tile = config.core is None and config.halo is None and config.origin == (0, 0)
    core_w, core_h = (_stepped(config.core or _even(length, _least_core(halo))) for length in (work_w, work_h))
    if needs.tile_px is not None:
        core_w = core_h = _core_of(needs.tile_px, halo)
    elif one_tile and core_w >= work_w and core_h >= work_h:
        halo = FIELD_MARGIN_PX
    cols, rows = _count(work_w, core_w, config.origin[0]), _count(work_h, core_h, config.origin[1])
    plan = Plan(
        slide_id=slide_id, width=level0.width, height=level0.height, mpp=mpp, mpp_source=mpp_source, scale=scale,
        work_width=work_w, work_height=work_h, core_w=core_w, core_h=core_h, halo=halo, max_cell_px=max_cell_px,
        origin=config.origin, rows_per_strip=max(1, TILES_PER_STRIP // cols), wanted=np.ones((rows, cols), np.bool_),
        coarser=tuple(m / least for m in sorted(set(magnifications)) if m > least), lane_bytes_px=needs.lane_bytes_px,
        beside_bytes=needs.beside_bytes,
    )  # fmt: skip
    if plan.coarser and rows * cols > 1:
        raise PlanError(
            f"an image of {work_w} x {work_h} px at its finest scale is too large to be looked at in several scales",
            cure="Use --scales single, or cut the image into its parts",
        )
    return plan if foreground is None else replace(plan, wanted=_wanted(plan, foreground))


def work_scale(levels: Sequence[Level], mpp: float, work_mpp: float) -> float:
    """Return level-0 pixels per work pixel, snapped to a level that is near enough."""
    scale = work_mpp / mpp
    near = min(levels, key=lambda level: abs(math.log(level.downsample / scale)))
    return near.downsample if abs(near.downsample / scale - 1) <= SNAP else scale


def required_halo(max_cell_px: int, context_px: int, asked: int | None, step_px: int = STEP_PX) -> int:
    """Return the halo, a multiple of step_px, or refuse one that would cut cells with the numbers in the message."""
    half = math.ceil(max_cell_px / 2)
    least = half + BAND_PX + context_px
    if asked is not None and asked < least:
        raise PlanError(
            f"a halo of {asked} px is too small: {least} px are needed, {half} for half of the largest cell, "
            f"{BAND_PX} for the seam band, {context_px} for the model's context",
            cure="Leave halo out of the config, or raise it",
        )
    return _stepped(least if asked is None else asked, step_px)


def _core_of(tile_px: int, halo: int) -> int:
    """Return the core of a model whose tiles have one size; such cores are a smaller share than CORE_SHARE."""
    core = tile_px - 2 * halo
    if core < 2 * STEP_PX:
        raise PlanError(
            f"the model's tiles of {tile_px} px are too small: its halo of {halo} px leaves a core of {core} px",
            cure="Give the model a larger input_px, or a smaller max_cell_um in its model.json",
        )
    return core


def _least_core(halo: int) -> int:
    """Return the least core, a multiple of 64, whose share of the tile is CORE_SHARE even after rounding."""
    root = math.sqrt(CORE_SHARE)
    return 64 * math.ceil((2 * halo + STEP_PX) * root / (1 - root) / 64)


def _even(length: int, least: int) -> int:
    """Return the core size that divides a length evenly into cores of at least `least`."""
    return math.ceil(length / max(1, length // least))


def _stepped(length: int, step_px: int = STEP_PX) -> int:
    """Return the least multiple of a step that holds a length."""
    return step_px * math.ceil(length / step_px)


def _start(origin: int, core: int) -> int:
    """Return where the first core starts: at or before 0."""
    return -(-origin % core)


def _count(length: int, core: int, origin: int) -> int:
    """Return how many cores cover a length when the grid passes through origin."""
    return math.ceil((length - _start(origin, core)) / core)


def _wanted(plan: Plan, foreground: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Say which tiles' cores, grown by the largest cell, touch any foreground: no cell is lost."""
    rows, cols = foreground.shape
    fx, fy = cols / plan.work_width, rows / plan.work_height
    sums = np.zeros((rows + 1, cols + 1), np.int64)
    sums[1:, 1:] = foreground.astype(np.int64).cumsum(0).cumsum(1)
    wanted = np.zeros((plan.rows, plan.cols), np.bool_)
    for row in range(plan.rows):
        for col in range(plan.cols):
            box = plan.tile(row, col).core.grow(plan.max_cell_px)
            x0, x1 = max(0, math.floor(box.x * fx)), min(cols, math.ceil(box.x1 * fx))
            y0, y1 = max(0, math.floor(box.y * fy)), min(rows, math.ceil(box.y1 * fy))
            wanted[row, col] = sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0] > 0
    return wanted
