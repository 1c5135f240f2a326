"""Whole runs on drawn smears with exact truth: count error, and what the grid of tiles changes.

`python -m benchmarks.first_run --json` draws a smear with a thick part, a monolayer and a feathered edge,
runs `pbsbatch run` over it for core sizes 256, 512 and 1024 and three grid origins each, and holds the
cells of the stores against the truth. Seconds are of the whole process.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks import record
from pbsbatch import store
from pbsbatch.synth import CLASSES, ZONES, Scene, write_slide

CORES = (256, 512, 1024)
ORIGINS = ((0, 0), (101, 37), (200, 150))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=8192, help="side of the drawn slide in pixels of 0.25 um")
    parser.add_argument("--seed", type=int, default=60)
    parser.add_argument("--json", action="store_true", help="print one JSON object (the default prints it too)")
    parser.add_argument("--no-record", action="store_true", help="do not append to benchmarks/results")
    asked = parser.parse_args()
    scene = Scene(asked.size, asked.size // 2, seed=asked.seed, profile="slide")
    with TemporaryDirectory() as folder:
        slide = Path(folder) / "slides" / "smear.tif"
        slide.parent.mkdir()
        write_slide(scene, slide, workers=2)
        truth = true_counts(scene)
        rows = [one_run(scene, slide, Path(folder), None, (0, 0), truth)]
        rows += [one_run(scene, slide, Path(folder), core, origin, truth) for core in CORES for origin in ORIGINS]
    if not asked.no_record:
        record.append("first_run", rows)
    record.show({"slide_px": [scene.width, scene.height], "truth": truth, "runs": rows, "spread": spread(rows[1:])})


def in_monolayer(scene: Scene, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return scene.zone(x, y) == ZONES.index("monolayer")


def true_counts(scene: Scene) -> dict[str, int]:
    """Count the drawn cells whose centre lies on the slide, all and in the monolayer."""
    cells = scene.cells(0, 0, scene.width, scene.height)
    x, y = cells.centres[:, 0], cells.centres[:, 1]
    here = (x >= 0) & (x < scene.width) & (y >= 0) & (y < scene.height)
    mono = here & in_monolayer(scene, x, y)
    counts = {f"{name}": int((here & (cells.classes == i)).sum()) for i, name in enumerate(CLASSES)}
    return counts | {f"{name}_monolayer": int((mono & (cells.classes == i)).sum()) for i, name in enumerate(CLASSES)}


def one_run(
    scene: Scene, slide: Path, folder: Path, core: int | None, origin: tuple[int, int], truth: dict[str, int]
) -> dict[str, Any]:
    """Run the command line once and return its counts beside the truth."""
    out = folder / f"out-{core}-{origin[0]}"
    config = folder / "config.toml"
    config.write_text((f"core = {core}\n" if core else "") + f"origin = [{origin[0]}, {origin[1]}]\n")
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "pbsbatch", "run", "--input", str(slide.parent), "--output", str(out), "--config",
         str(config), "--quiet"], check=True,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    with (out / "summary.csv").open(encoding="utf-8", newline="") as handle:
        row = next(csv.DictReader(handle))
    stages = json.loads((out / "run.json").read_text())["stage_busy_seconds"]
    cells = store.open(out / row["store"]).cells
    x, y = (cells["x0"] + cells["x1"]) / 2, (cells["y0"] + cells["y1"]) / 2
    mono = in_monolayer(scene, x, y)
    result: dict[str, Any] = {
        "seed": scene.seed,
        "model": row["model"],
        "width_px": scene.width,
        "core": core or "auto",
        "origin": f"{origin[0]} {origin[1]}",
    }
    for i, name in enumerate(CLASSES):
        of_class = cells["class"] == i
        result[f"{name}_count"] = int(of_class.sum())
        result[f"{name}_error_pct"] = percent(int(of_class.sum()), truth[name])
        result[f"{name}_monolayer_error_pct"] = percent(int((of_class & mono).sum()), truth[f"{name}_monolayer"])
    pixels = scene.width * scene.height / 1e6
    return result | {
        "seconds": round(seconds, 2), "mpix_per_s": round(pixels / seconds, 1),
        "mpix_per_busy_core_s": round(pixels / sum(stages.values()), 1),
    }  # fmt: skip


def percent(found: int, true: int) -> float:
    return round(100 * (found - true) / max(1, true), 3)


def spread(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return the largest difference between any two grids, in percent of the mean count."""
    result = {}
    for name in CLASSES:
        counts = np.array([row[f"{name}_count"] for row in rows], float)
        result[f"{name}_spread_pct"] = round(100 * float(np.ptp(counts) / counts.mean()), 3)
    return result


if __name__ == "__main__":
    main()
