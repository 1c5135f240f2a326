"""Count cells across tile borders: every rule gets the same views of the same drawn cells.

`python -m benchmarks.seams --json` prints one JSON object and adds a row per case and rule to results/seams.csv. An
oracle sees each cell in each tile that shows a quarter of it (or a twentieth: "slivers"), cut off at the tile's edge,
0.4 px (sigma) beside its place. A peer that is not installed is named as absent.
"""

from __future__ import annotations

import argparse
import ctypes
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import record
from pbsbatch_kernels import seams

TILE, BAND, SIGMA = 1024, 3.0, 0.4
GROWTH = (1, 3, 9, 21, 39)  # tiles along a side of the crowded slide: 1e3 to 2e6 views
PEER_VIEWS = 700_000  # beyond this the peers take minutes

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Case:
    """Cells (x, y, side, class) on a slide of n x n tiles."""

    name: str
    n: int
    overlap: int
    cells: Array
    visible: float = 0.25  # the share of a cell that a tile must show for the oracle to see it

    @property
    def stride(self) -> int:
        return TILE - self.overlap


@dataclass(frozen=True, slots=True)
class Views:
    """What all tiles together see, and which cell each view is of."""

    boxes: Array
    scores: Array
    classes: Array
    tiles: Array
    cell: Array
    cores: Array


Rule = Callable[[Views], Array]


def grid(name: str, n: int, pitch: float, side: float = 30.0, overlap: int = 64, kind: int = 0) -> Case:
    """Plant a grid over the slide, each cell up to 2 px off, so that centres lie on both sides of borders.

    A cell lies wholly on the slide: what is cut by its edge has its centre elsewhere, in truth too.
    """
    rng = np.random.default_rng(n)
    x, y = np.meshgrid(*2 * [np.arange(side / 2 + 4, n * (TILE - overlap) - side / 2 - 4, pitch)])
    shake = rng.uniform(-2, 2, (2, x.size))
    return Case(name, n, overlap, planted(x.ravel() + shake[0], y.ravel() + shake[1], side, kind))


def planted(x: Array, y: Array, side: float, kind: int) -> Array:
    return np.column_stack([x, y, np.full(x.size, side), np.full(x.size, kind)])


def on_seams(n: int) -> Case:
    """Plant cells on the borders between cores only, and on every corner of four."""
    stride = TILE - 64
    lines = np.arange(1, n) * float(stride)
    along = np.arange(40.0, n * stride - 40, 40.0)
    along = along[(np.abs(along[:, None] - lines[None]) > 40).all(1)]
    a, b = (g.ravel() for g in np.meshgrid(along, lines))
    corner = [g.ravel() for g in np.meshgrid(lines, lines)]
    cells = [planted(a, b, 30, 0), planted(b, a, 30, 0), planted(*corner, 30, 0)]
    return Case("on seams and corners", n, 64, np.concatenate(cells))


def three_classes(n: int) -> Case:
    """Plant 250 px white cells in a crowd of red cells and platelets; the halo holds half a white cell and the band."""
    white = grid("", n, 430, 250, 288, 1).cells
    platelets = grid("", n, 60, 12, 288, 2).cells + np.array([30.0, 30, 0, 0])
    small = np.concatenate([grid("", n, 60, 30, 288, 0).cells, platelets])
    rows = (small[:, 1] // 430).astype(int), (small[:, 0] // 430).astype(int)
    centre = (np.stack([rows[1], rows[0]], 1) + 0.5) * 430
    free = (np.abs(small[:, :2] - centre) > 145).any(1) & (small[:, :2] < n * (TILE - 288)).all(1)
    return Case("three classes", n, 288, np.concatenate([white, small[free]]))


def see(case: Case) -> Views:
    """Return the views of every tile."""
    rng = np.random.default_rng(7)
    home = np.floor(case.cells[:, :2] / case.stride).astype(np.int64)
    halo, parts = case.overlap / 2, []
    for step in np.ndindex(3, 3):
        tile = home + np.array(step) - 1
        low = tile * case.stride - halo
        centre = case.cells[:, :2] + rng.normal(0, SIGMA, home.shape)
        half = case.cells[:, 2:3] / 2
        first, last = np.maximum(centre - half, low), np.minimum(centre + half, low + TILE)
        shown = np.prod(np.clip(last - first, 0, None), axis=1) >= case.visible * case.cells[:, 2] ** 2
        at = np.flatnonzero(shown & (tile >= 0).all(1) & (tile < case.n).all(1))
        parts.append((np.hstack([first, last])[at], tile[at, 1] * case.n + tile[at, 0], at))
    boxes, tiles, cell = (np.concatenate([part[k] for part in parts]) for k in range(3))
    col, row = np.meshgrid(np.arange(case.n), np.arange(case.n))
    corner = np.stack([col.ravel(), row.ravel()], 1) * float(case.stride)
    return Views(
        boxes.astype(np.float32), rng.uniform(0.5, 1, len(cell)).astype(np.float32),
        case.cells[cell, 3].astype(np.uint8), tiles.astype(np.int32), cell, np.hstack([corner, corner + case.stride]),
    )  # fmt: skip


def reconciled(views: Views) -> Array:
    kept, _ = seams.reconcile(views.boxes, views.scores, views.classes, views.tiles, views.cores, BAND)
    return np.flatnonzero(kept)


def owned(views: Views) -> Array:
    return np.flatnonzero(seams.own(views.boxes, views.tiles, views.cores, BAND)[0])


def peers() -> dict[str, Rule | None]:
    """Return SAHI's rules; None for what is not installed."""
    names = {"SAHI NMS, IOU 0.5": ("batched_nms", "IOU"), "SAHI GreedyNMM, IOS 0.5": ("batched_greedy_nmm", "IOS")}
    try:
        combine = import_module("sahi.postprocess.combine")
    except ImportError:
        return dict.fromkeys(names)

    def rule(function: str, metric: str) -> Rule:
        def kept(views: Views) -> Array:
            table = np.column_stack([views.boxes, views.scores, views.classes]).astype(np.float32)
            return np.array(sorted(getattr(combine, function)(table, metric, 0.5)), np.int64)

        return kept

    return {name: rule(*how) for name, how in names.items()}


def measured(case: Case, views: Views, name: str, rule: Rule, repeats: int) -> dict[str, Any]:
    """Return one row: what was counted, how often wrongly, in what time and memory."""
    before, seconds = reset_peak(), []
    for _ in range(repeats):
        start = time.perf_counter()
        kept = rule(views)
        seconds.append(time.perf_counter() - start)
    peak = memory("VmHWM") - before
    seen = np.bincount(views.cell[kept], minlength=len(case.cells))
    error = 100.0 * (len(kept) - len(seen)) / len(seen)
    return head(case, views, name) | {
        "count_error_pct": round(error, 3), "duplicates": int((seen - 1).clip(0).sum()),
        "misses": int((seen == 0).sum()), "seconds": round(float(np.median(seconds)), 4),
        "peak_mb": round(peak / 1e6, 1),
    }  # fmt: skip


def head(case: Case, views: Views, name: str) -> dict[str, Any]:
    return {"case": case.name, "rule": name, "tiles": case.n**2, "cells": len(case.cells), "views": len(views.cell)}


def reset_peak() -> int:
    """Forget the process's highest memory so far; return what it holds now, in bytes."""
    ctypes.CDLL(None).malloc_trim(0)  # what was freed before must not hide what is taken now
    Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


def memory(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":"))


def peer_version() -> str:
    try:
        return f"sahi {version('sahi')}"
    except PackageNotFoundError:
        return "sahi absent"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--largest", type=int, default=GROWTH[-1], help="tiles along a side of the largest slide")
    parser.add_argument("--json", action="store_true", help="print one JSON object (the default prints it too)")
    asked = parser.parse_args()
    others = peers()
    cases = [on_seams(21), three_classes(9), grid("sparse", 21, 61)]
    cases += [grid("crowded", n, 28) for n in GROWTH if n <= asked.largest]
    crowd = grid("crowded", 9, 28)
    cases.append(Case("crowded, slivers", crowd.n, crowd.overlap, crowd.cells, 0.05))
    small = [see(grid("warm-up", n, 28)) for n in (1, 4)]  # peers choose their loop by the number of boxes
    rows: list[dict[str, Any]] = []
    rules: dict[str, Rule | None] = {"ownership + band": reconciled, "ownership alone": owned, **others}
    for rule in rules.values():
        if rule is not None:
            for views in small:
                rule(views)
    for case in cases:
        views = see(case)
        for name, rule in rules.items():
            if rule is None:
                rows.append(head(case, views, f"{name}: absent"))
            elif name not in others or len(views.cell) <= PEER_VIEWS:
                rows.append(
                    measured(case, views, name, rule, 1 if len(views.cell) > 20_000 and name in others else 5)
                    | {"peer": peer_version()}
                )
    record.append("seams", rows)
    record.show({"machine": record.machine(), "rows": rows})


if __name__ == "__main__":
    main()
