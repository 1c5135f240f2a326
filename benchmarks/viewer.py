"""The viewer on a slide of very many cells: how long its index takes, and each tile of cells, and how large they are.

`python -m benchmarks.viewer --json` writes the store of a slide of ten million cells (some minutes), each with a place,
a score and a mask of its own, as crowded as a smear is, and asks for tiles of every level as a browser would, through
all of the viewer but the socket. Memory is the peak of the process that answers, which is not the one that drew.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks import record
from pbsbatch.store import Preview, Store, StoreHeader, TileRows
from pbsbatch.testing.stores import KEY, cells_of
from pbsbatch.view.site import Site
from pbsbatch.view.tiles import Grid

DENSITY = 0.8e-3
"""Cells per pixel at 0.25 um, as of a drawn smear."""
RADIUS, STRIP_PX, SLIDE = 12, 2048, "many"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=10_000_000)
    parser.add_argument("--tiles", type=int, default=40, help="tiles asked for at each level")
    parser.add_argument("--answer", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--no-record", action="store_true", help="append nothing to benchmarks/results")
    parser.add_argument("--json", action="store_true", help="print one JSON object (the default prints it too)")
    asked = parser.parse_args()
    if asked.answer is not None:
        print(json.dumps(answered(asked.answer, asked.tiles)))
        return
    with TemporaryDirectory() as folder:
        draw(Path(folder), asked.cells)
        command = [sys.executable, "-m", "benchmarks.viewer", "--answer", folder, "--tiles", str(asked.tiles)]
        row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    if not asked.no_record:
        record.append("viewer", [row])
    record.show(row)


def draw(out: Path, cells: int, density: float = DENSITY) -> None:
    """Write the store of a slide twice as wide as high."""
    height = -(-int((cells / density / 2) ** 0.5) // STRIP_PX) * STRIP_PX
    width, strips = 2 * height, height // STRIP_PX
    header = StoreHeader(SLIDE, width, height, 0.25, ("RBC", "WBC", "Platelet"), strips, 3.0)
    store, rng = Store.begin(out, header, KEY), np.random.default_rng(0)
    for k in range(strips):
        n, top = cells * (k + 1) // strips - cells * k // strips, k * STRIP_PX
        low, high = (RADIUS + 4, top + RADIUS + 4), (width - RADIUS - 4, top + STRIP_PX - RADIUS - 4)
        centres = rng.uniform(low, high, (n, 2))
        boxes = np.concatenate([centres - RADIUS, centres + RADIUS], axis=1).astype(np.float32)
        found = cells_of(boxes, rng.random(n), None, (rng.random(n) < 0.01).astype(np.uint8))
        core = np.array([[0, top, width, top + STRIP_PX]], np.float64)
        store.append(k, found, TileRows.plain(core, np.zeros(1, np.uint8), np.array([n], np.int32)))
    store.commit(Preview(np.full((100, 200, 3), 200, np.uint8), width / 200))


def answered(out: Path, tiles: int) -> dict[str, Any]:
    """Ask the viewer and return its figures."""
    site, rng = Site(out), np.random.default_rng(1)
    facts = json.loads(site.answer(f"slide/{SLIDE}.json").body)
    start = time.perf_counter()
    index = json.loads(site.answer(f"index/{SLIDE}.json").body)
    row: dict[str, Any] = {"cells": facts["cells"], "index_s": round(time.perf_counter() - start, 2)}
    grid, largest, spent = Grid(facts["width"], facts["height"]), 0, {"near": [], "far": []}
    for level in range(grid.coarsest + 1):
        kind = "near" if level <= index["near"] else "far"
        rows, columns = grid.shape(level)
        for _ in range(min(tiles, rows * columns)):
            at = f"{level}/{rng.integers(columns)}/{rng.integers(rows)}"
            start = time.perf_counter()
            answer = site.answer(f"{kind}/{SLIDE}/{at}.{'json' if kind == 'near' else 'bin'}")
            spent[kind].append(1000 * (time.perf_counter() - start))
            assert answer.status == 200
            largest = max(largest, len(answer.body))
    for kind, taken in spent.items():
        row |= {f"{kind}_ms_p{p}": round(float(np.percentile(taken, p)), 1) for p in (50, 80)} if taken else {}
    return row | {"largest_tile_bytes": largest, "finest_far_level": index["near"] + 1, "peak_mb": record.peak_mb()}


if __name__ == "__main__":
    main()
