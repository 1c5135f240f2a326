"""Count a slide's cells from the tables of its store, and measure its red cells. Pure.

Law: the result depends on the tables alone, and memory does not grow with the number of cells: rows are streamed in
the order of their upper edges, and a cell waits only until every cell that may touch it has come.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbsbatch import rules
from pbsbatch.detections import DISAGREE, LOW_MARGIN
from pbsbatch.models.taxonomy import ERYTHROBLAST, IN_DIFFERENTIAL
from pbsbatch.models.words import type_of_word
from pbsbatch.plan import Plan
from pbsbatch.quality.frame import Frame
from pbsbatch.quality.tiles import block_px
from pbsbatch.quality.zones import MONOLAYER, ZONES, zones_of
from pbsbatch.store import SUMS, UNTYPED, BlockRows, TileRows
from pbsbatch_kernels.neighbours import ALIKE, touching

__all__ = ["Measures", "measure"]

Columns = Mapping[str, NDArray[Any]]
Counts = Mapping[str, Mapping[str, int]]
"""Cells by class and, within it, by type; "" where they have none."""
NO_TYPE = ""


@dataclass(frozen=True, slots=True)
class Measures:
    """What the store of a slide says in numbers, kept in its attributes. Areas and lengths are in level-0 px."""

    zones_px: Mapping[str, float]  # area of each zone
    frame_px: float  # area of the counting frame
    seen: Counts  # every cell
    framed: Counts  # those that the frame counts
    red_n: int  # whole red cells of the monolayer that touch no cell
    red_sum: float  # of their diameters, and of these squared
    red_sum2: float
    clumped: int  # platelets in clumps
    typed: bool  # white cells were given types of the differential
    glass_od: tuple[float, float, float] | None  # mean optical density of red, green and blue, 1/100, in the monolayer
    red_od: tuple[float, float, float] | None
    edge_px: float | None  # width of red cells' rims, in work px
    nucleated: bool = True  # types would have told nucleated red cells
    second: Mapping[str, int] | None = None  # cells asked of, disagree and low_margin; None: no second opinion

    def to_json(self) -> dict[str, Any]:
        """Return the measures as plain values, which share what they are made of with these."""
        known = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.second is None:  # left out: the stores of runs that ask none are what they were before any could
            del known["second"]
        return known

    @classmethod
    def from_json(cls, known: Mapping[str, Any]) -> Measures:
        """Return what to_json gave, also after a way through JSON."""
        ods = {n: None if known[n] is None else tuple(map(float, known[n])) for n in ("glass_od", "red_od")}
        return cls(**{**known, **ods})


def measure(
    cells: Iterable[Columns], tiles: TileRows, *, classes: tuple[str, ...], types: tuple[str, ...], plan: Plan
) -> Measures:
    """Return the measures of a slide. cells are chunks of the table in its order, tiles with whole blocks."""
    blocks = tiles.blocks
    zones = zones_of(blocks)
    side = block_px(plan) * plan.scale
    frame = Frame.of(blocks, zones, side=side, width=plan.width, height=plan.height, mpp=plan.mpp)
    tally = _Tally(classes, types, plan, frame)
    for chunk, touched in _with_neighbours(cells):
        tally.add(chunk, touched)
    mono = BlockRows(*(getattr(blocks, n)[zones == MONOLAYER] for n in ("at", "box", "area", "sums")))
    sums = dict(zip(SUMS, mono.sums.sum(axis=0).tolist(), strict=True))
    edges = dict(zip(SUMS, blocks.sums.sum(axis=0).tolist(), strict=True))
    return Measures(
        zones_px={name: float(blocks.area[zones == i].sum()) for i, name in enumerate(ZONES)}, frame_px=frame.area,
        seen=tally.named(tally.seen), framed=tally.named(tally.framed), red_n=tally.red_n, red_sum=tally.red_sum,
        red_sum2=tally.red_sum2, clumped=tally.clumped, typed=any(type_of_word(n) in IN_DIFFERENTIAL for n in types),
        glass_od=_mean(sums, "bare", "bare"), red_od=_mean(sums, "red", "points"),
        edge_px=1000 * edges["edges"] / edges["slope"] if edges["slope"] else None, nucleated=ERYTHROBLAST in types,
        second=tally.second,
    )  # fmt: skip


def _mean(sums: Mapping[str, int], name: str, over: str) -> tuple[float, float, float] | None:
    n = sums[over]
    return (sums[f"{name}_r"] / n, sums[f"{name}_g"] / n, sums[f"{name}_b"] / n) if n else None


class _Tally:
    """Counts so far."""

    def __init__(self, classes: tuple[str, ...], types: tuple[str, ...], plan: Plan, frame: Frame) -> None:
        self.classes, self.types, self.plan, self.frame = classes, types, plan, frame
        self.seen = np.zeros((len(classes), len(types) + 1), np.int64)
        self.framed = np.zeros_like(self.seen)
        self.red = _index(classes, rules.RED_CELL)
        self.platelet = _index(classes, rules.PLATELET)
        self.red_n = self.clumped = 0
        self.red_sum = self.red_sum2 = 0.0
        self.second: dict[str, int] | None = None

    def add(self, cells: Columns, touched: NDArray[np.uint8]) -> None:
        """Count some cells whose neighbours are known."""
        kind = np.where(cells["type"] == UNTYPED, len(self.types), cells["type"]).astype(np.int64)
        np.add.at(self.seen, (cells["class"], kind), 1)
        counted = self.frame.holds(cells["x1"], cells["y1"])
        np.add.at(self.framed, (cells["class"][counted], kind[counted]), 1)
        if "second_flags" in cells:
            self._seconds(cells["second_type"] != UNTYPED, cells["second_flags"])
        self._diameters(cells, touched)
        platelets = cells["class"] == self.platelet
        large = cells["area_px"] > rules.CLUMP_UM2 / self.plan.mpp**2
        self.clumped += int((platelets & (large | ((touched & ALIKE) != 0))).sum())

    def _seconds(self, asked: NDArray[np.bool_], flags: NDArray[np.uint8]) -> None:
        found = {"asked": asked, "disagree": (flags & DISAGREE) != 0, "low_margin": (flags & LOW_MARGIN) != 0}
        before = self.second or {}
        self.second = {name: before.get(name, 0) + int(each.sum()) for name, each in found.items()}

    def _diameters(self, cells: Columns, touched: NDArray[np.uint8]) -> None:
        margin = self.plan.scale  # a work pixel
        width, height = self.plan.width - margin, self.plan.height - margin
        whole = (cells["x0"] > margin) & (cells["y0"] > margin) & (cells["x1"] < width) & (cells["y1"] < height)
        x, y = (cells["x0"] + cells["x1"]) / 2, (cells["y0"] + cells["y1"]) / 2
        there = self.frame.zone_at(x, y) == MONOLAYER
        alone = (cells["class"] == self.red) & (touched == 0) & whole & there
        diameters = 2 * np.sqrt(cells["area_px"][alone].astype(np.float64) / np.pi)
        self.red_n += int(alone.sum())
        self.red_sum += float(diameters.sum())
        self.red_sum2 += float((diameters**2).sum())

    def named(self, counts: NDArray[np.int64]) -> Counts:
        """Return counts under the names of classes and of the types that occur."""
        names = (*self.types, NO_TYPE)
        return {
            name: {n: int(c) for n, c in zip(names, row.tolist(), strict=True) if c}
            for name, row in zip(self.classes, counts, strict=True)
        }


def _index(names: tuple[str, ...], name: str) -> int:
    return names.index(name) if name in names else len(names)


def _with_neighbours(chunks: Iterable[Columns]) -> Iterator[tuple[Columns, NDArray[np.uint8]]]:
    """Yield all cells once, in their order, with what they touch."""
    held: dict[str, NDArray[Any]] = {}
    told = np.zeros(0, np.bool_)  # of the held cells: yielded already, and kept because others may touch them
    for chunk in _then_none(chunks):
        if chunk is not None:
            held = {n: np.concatenate([held[n], column]) if held else column for n, column in chunk.items()}
            told = np.concatenate([told, np.zeros(len(chunk["y0"]), np.bool_)])
        if not held or not len(told):
            continue
        reach = (rules.NEAR - 1) * float((held["y1"] - held["y0"]).max()) + 1
        last = np.inf if chunk is None else float(held["y0"][-1])
        ready = ~told & (held["y1"] + reach < last)
        if not ready.any():
            continue
        boxes = np.stack([held[n] for n in ("x0", "y0", "x1", "y1")], axis=1)
        touched = touching(boxes, held["class"], rules.NEAR, rules.OVER)
        yield {n: column[ready] for n, column in held.items()}, touched[ready]
        told |= ready
        waiting = held["y0"][~told]
        keep = ~told | (held["y1"] + reach >= (float(waiting[0]) if len(waiting) else np.inf))
        held, told = {n: column[keep] for n, column in held.items()}, told[keep]


def _then_none(chunks: Iterable[Columns]) -> Iterator[Columns | None]:
    yield from chunks
    yield None
