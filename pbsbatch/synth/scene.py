"""Scene: a virtual smear of any size with random access to its pixels and its truth.

Law: pixels, ids, boxes and labels are functions of the scene's fields and the place alone, whatever region
they are asked for in, in any order, on any number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pbsbatch.synth.cells import CELL, CLASSES, DEBRIS, REACH_UM, TYPES
from pbsbatch.synth.draw import EXP, GRID, develop, draw, light
from pbsbatch.synth.noise import hash2
from pbsbatch.synth.outline import boxes, paint, raster, rings
from pbsbatch.synth.placement import BLOCK_UM, SLOTS, block
from pbsbatch.synth.pyramid import halve, levels_of
from pbsbatch.synth.stain import STAINS, Stain, stain_for
from pbsbatch.synth.zones import MONOLAYER, zone_map

__all__ = ["DIFFERENTIAL", "Scene", "SceneCells"]

DIFFERENTIAL = (0.57, 0.03, 0.03, 0.01, 0.28, 0.07, 0.005, 0.005)
"""An adult's white cells: shares of cells.TYPES[2:10]."""
_PIECE = 256
_RANGES = {
    "density_per_mm2": 16000, "overlap": 1, "rouleaux": 0.5, "white_per_1000": 1000, "platelets_per_1000": 1000,
    "polychromatic_per_1000": 1000, "debris_per_1000": 1000, "focus_um": 4, "noise": 50,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class SceneCells:
    """Cells as a struct of arrays, sorted by id. Boxes hold the whole mask, cut to the slide alone."""

    ids: NDArray[np.int32]
    classes: NDArray[np.uint8]  # index into CLASSES
    types: NDArray[np.uint8]  # index into TYPES
    zones: NDArray[np.uint8]  # index into ZONES, at the centre
    centres: NDArray[np.float64]  # (N, 2) x, y in level-0 px
    diameter_um: NDArray[np.float64]  # of the circle of the whole cell's outline area
    boxes: NDArray[np.int32]  # (N, 4) x0, y0, x1, y1 in level-0 px
    areas: NDArray[np.int32]  # pixels of the whole mask on the slide
    mpp: float
    records: NDArray[np.void] = field(repr=False)  # what the outlines are made from

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, index: NDArray[np.integer] | NDArray[np.bool_]) -> SceneCells:
        """Return the chosen cells."""
        return SceneCells(
            self.ids[index], self.classes[index], self.types[index], self.zones[index], self.centres[index],
            self.diameter_um[index], self.boxes[index], self.areas[index], self.mpp, self.records[index],
        )  # fmt: skip

    def class_names(self) -> list[str]:
        """Return each cell's class name."""
        return [CLASSES[c] for c in self.classes]

    def type_names(self) -> list[str]:
        """Return each cell's type name."""
        return [TYPES[t] for t in self.types]

    def mask(self, i: int) -> NDArray[np.bool_]:
        """Return cell i's whole mask within its box, also where another cell covers it."""
        return raster(self.records, i, self.mpp, self.boxes[i])

    def polygons(self, i: int) -> list[list[int]]:
        """Return cell i's outline along pixel edges as flat x, y lists; one list unless the slide's edge cuts it."""
        corners, ends = rings(self.mask(i))
        corners += self.boxes[i, :2]
        return [part.ravel().tolist() for part in np.split(corners, ends[:-1])]


@dataclass(frozen=True)
class Scene:
    """A smear of width x height level-0 pixels. Rates of cells are per 1000 red cells."""

    width: int
    height: int
    mpp: float = 0.25
    seed: int = 0
    profile: str = "field"  # field: all monolayer; slide: thick part, monolayer, feathered edge, glass
    density_per_mm2: float = 10500.0  # red cells in the monolayer
    overlap: float = 0.2  # share of red cells that do not keep their distance
    rouleaux: float = 0.03  # share of red cells that head a roll
    white_per_1000: float | None = None  # None: 40 in a field, 2 on a slide
    platelets_per_1000: float = 55.0
    polychromatic_per_1000: float = 12.0
    debris_per_1000: float = 6.0
    differential: tuple[float, ...] = DIFFERENTIAL
    stain: str = ""  # one of STAINS; empty: by seed
    focus_um: float = 0.25  # width of edges at best focus
    noise: float = 1.2  # sd of the sensor's noise, grey levels

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise ValueError(f"a scene needs at least one pixel, not {self.width}x{self.height}")
        if not 0.02 <= self.mpp <= 5.0:
            raise ValueError(f"mpp must lie in 0.02..5 um per pixel, not {self.mpp}")
        if self.profile not in ("field", "slide"):
            raise ValueError(f"profile must be field or slide, not {self.profile!r}")
        if self.stain and self.stain not in STAINS:
            raise ValueError(f"stain must be one of {', '.join(STAINS)}, not {self.stain!r}")
        if len(self.differential) != 8 or min(self.differential) < 0 or sum(self.differential) <= 0:
            raise ValueError("the differential needs eight shares, none negative")
        for name, high in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not 0 <= value <= high:
                raise ValueError(f"{name} must lie in 0..{high:g}, not {value}")
        if self._grid[0] * self._grid[1] * SLOTS >= 2**31 - 1:
            raise ValueError("the scene is too large: cell ids would not fit 32 bits")

    @property
    def levels(self) -> int:
        """Return how many levels a pyramid has: halved while the longer side exceeds 1024 px."""
        return levels_of(self.width, self.height)

    @property
    def _grid(self) -> tuple[int, int]:
        """Return rows and columns of blocks, with one row or column of margin all around."""
        return (int(self.height * self.mpp / BLOCK_UM) + 3, int(self.width * self.mpp / BLOCK_UM) + 3)

    def render(self, x: int, y: int, w: int, h: int, level: int = 0) -> NDArray[np.uint8]:
        """Return the pixels (h, w, 3) of a region in pixels of that level.

        Level k is level 0 halved k times by rounded 2 x 2 means: pixel i covers [i * 2**k, (i + 1) * 2**k).
        """
        if x < 0 or y < 0 or w < 0 or h < 0 or x + w > self.width >> level or y + h > self.height >> level:
            raise ValueError(f"region {x},{y} {w}x{h} does not lie in level {level} of {self.width}x{self.height}")
        out = np.empty((h, w, 3), np.uint8)
        for j in range(0, h, step := max(1, _PIECE >> level)):
            for i in range(0, w, step):
                ww, hh = min(step, w - i), min(step, h - j)
                out[j : j + hh, i : i + ww] = self._piece(x + i, y + j, ww, hh, level)
        return out

    def _piece(self, x: int, y: int, w: int, h: int, level: int) -> NDArray[np.uint8]:
        x, y, w, h = x << level, y << level, w << level, h << level
        far_down = level and w * h > 4 * _PIECE * _PIECE  # one pixel of such a level is many pieces
        out = self.render(x, y, w, h) if far_down else self._level0(x, y, w, h)
        for _ in range(level):
            out = halve(out)
        return out

    def _level0(self, x: int, y: int, w: int, h: int) -> NDArray[np.uint8]:
        stain = _stain(self)
        od, out = np.zeros((h, w, 3), np.float32), np.empty((h, w, 3), np.uint8)
        draw(self._records(x, y, w, h), self.mpp, x, y, od, stain.density)
        gx, gy = x // GRID, y // GRID
        fall = 0.06 if self.profile == "field" else 0.0
        centre = np.array([self.width / 2, self.height / 2, fall])
        size = float(np.hypot(self.width, self.height) / 2)
        nx, ny = (x + w - 1) // GRID - gx + 2, (y + h - 1) // GRID - gy + 2
        lamp = light(_key(self, 31), gx, gy, nx, ny, centre, size, stain.background)
        develop(od, x, y, lamp, gx, gy, EXP, self.noise, _key(self, 32), out)
        return out

    def _records(self, x: int, y: int, w: int, h: int) -> NDArray[np.void]:
        """Return the cells of all blocks that can reach the region, in the order of drawing."""
        halo = 2.5 * max(2.0 * self.focus_um, self.mpp)  # edges are drawn this far out, see draw._red
        x0, y0 = x * self.mpp - REACH_UM - halo, y * self.mpp - REACH_UM - halo
        x1, y1 = (x + w) * self.mpp + REACH_UM + halo, (y + h) * self.mpp + REACH_UM + halo
        parts = [
            _block(self, row, col)
            for row in range(int(y0 // BLOCK_UM), int(y1 // BLOCK_UM) + 1)
            for col in range(int(x0 // BLOCK_UM), int(x1 // BLOCK_UM) + 1)
        ]
        cells: NDArray[np.void] = np.concatenate(parts)
        waves = sum(np.hypot(cells[a], cells[b]) for a, b in (("a2", "b2"), ("a3", "b3"), ("a5", "b5")))
        far = cells["r"] * (1.0 + waves) + halo
        near = (cells["x"] + far > x * self.mpp) & (cells["x"] - far < (x + w) * self.mpp)
        near &= (cells["y"] + far > y * self.mpp) & (cells["y"] - far < (y + h) * self.mpp)
        cells = cells[near]
        return cells[np.lexsort((cells["id"], cells["kind"]))]

    def cells(self, x: int, y: int, w: int, h: int) -> SceneCells:
        """Return the cells whose whole mask's box touches the region, sorted by id."""
        records = self._records(x, y, w, h)
        records = records[records["kind"] != DEBRIS]
        measured = boxes(records, self.mpp, self.width, self.height)
        b = measured[:, :4]
        keep = (measured[:, 4] > 0) & (b[:, 0] < x + w) & (b[:, 2] > x) & (b[:, 1] < y + h) & (b[:, 3] > y)
        rows = np.flatnonzero(keep)[np.argsort(records["id"][keep], kind="stable")]
        records = records[rows]
        waves = sum(records[k] ** 2 for k in ("a2", "b2", "a3", "b3", "a5", "b5"))
        return SceneCells(
            ids=records["id"].copy(), classes=records["kind"].copy(), types=records["type"].copy(),
            zones=records["zone"].copy(), centres=np.stack([records["x"], records["y"]], axis=1) / self.mpp,
            diameter_um=2.0 * records["r"] * np.sqrt(1.0 + waves / 2.0), boxes=b[rows], areas=measured[rows, 4],
            mpp=self.mpp, records=records,
        )  # fmt: skip

    def labels(self, x: int, y: int, w: int, h: int) -> NDArray[np.int32]:
        """Return the label image (h, w) of a level-0 region: the id of the uppermost cell, 0 where there is none."""
        out = np.zeros((h, w), np.int32)
        paint(self._records(x, y, w, h), self.mpp, x, y, out)
        return out

    def truth(self, x: int, y: int, w: int, h: int) -> tuple[NDArray[np.int32], SceneCells]:
        """Return the label image of a level-0 region and its cells."""
        return self.labels(x, y, w, h), self.cells(x, y, w, h)

    def zone(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Return the zone (index into ZONES) at points in level-0 px."""
        px, py = np.ravel(np.asarray(x, np.float64)), np.ravel(np.asarray(y, np.float64))
        codes = zone_map(
            px * self.mpp, py * self.mpp, self.width * self.mpp, self.height * self.mpp, self.profile == "slide",
            np.uint64(hash2(_key(self, 0), 1, 2)),
        )  # fmt: skip
        return codes.reshape(np.shape(x))

    def monolayer_mm2(self) -> float:
        """Return the area of the monolayer, counted on a 256 x 256 grid."""
        y, x = np.mgrid[0:256, 0:256]
        codes = self.zone((x + 0.5) * self.width / 256, (y + 0.5) * self.height / 256)
        return float((codes == MONOLAYER).mean() * self.width * self.height * (self.mpp / 1000) ** 2)


def _key(scene: Scene, what: int) -> np.uint64:
    # numba hands 64 unsigned bits back as a Python int
    seed = np.uint64(scene.seed % 2**64)
    return np.uint64(hash2(seed, what, 0)) if what else seed


@lru_cache(maxsize=256)
def _stain(scene: Scene) -> Stain:
    name = scene.stain or STAINS[int(np.random.default_rng([scene.seed % 2**64, 77]).choice(3, p=[0.6, 0.2, 0.2]))]
    return stain_for(name, scene.seed)


@lru_cache(maxsize=1024)
def _block(scene: Scene, row: int, col: int) -> NDArray[np.void]:
    """Return one block's cells with their ids; the cache only saves work."""
    white = scene.white_per_1000
    if white is None:
        white = 40.0 if scene.profile == "field" else 2.0
    rates = np.array([
        scene.density_per_mm2, scene.overlap, scene.rouleaux, white / 1000, scene.platelets_per_1000 / 1000,
        scene.debris_per_1000 / 1000, scene.polychromatic_per_1000 / 1000, scene.focus_um, scene.seed % 2**31,
    ])  # fmt: skip
    shares = np.array(scene.differential) / sum(scene.differential)
    size = np.array([scene.width * scene.mpp, scene.height * scene.mpp])
    cells = block(_key(scene, 0), row, col, size, scene.profile == "slide", rates, shares)
    first = 1 + ((row + 1) * scene._grid[1] + col + 1) * SLOTS
    cells["id"] = np.arange(first, first + len(cells))
    cells.flags.writeable = False
    return cells if len(cells) else np.zeros(0, CELL)
