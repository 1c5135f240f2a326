"""Densities, red-cell diameters and zones of whole runs on drawn fields and smears, against the truth.

`python -m benchmarks.counting --json` draws camera fields of 640x480 px and smears with a thick part, a monolayer and a
feathered end, runs `pbsbatch run` over each, and holds summary.csv and the stores against what was drawn. The peer is
what a script does without a counting frame: every cell seen over the area looked at.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks import record
from pbsbatch import store
from pbsbatch.quality.zones import MONOLAYER, zones_of
from pbsbatch.store import BlockRows
from pbsbatch.synth import CLASSES, ZONES, Scene, write_slide

FIELD_MPP = 0.1
DENSITIES = (10500.0, 4500.0, 14000.0)
RED = CLASSES.index("RBC")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fields", type=int, default=300, help="fields of 640x480 px at 0.1 um")
    parser.add_argument("--size", type=int, default=12288, help="side of the drawn smears in pixels of 0.25 um")
    parser.add_argument("--seed", type=int, default=900)
    parser.add_argument("--json", action="store_true", help="print one JSON object (the default prints it too)")
    parser.add_argument("--no-record", action="store_true", help="do not append to benchmarks/results")
    asked = parser.parse_args()
    rows = []
    with TemporaryDirectory() as folder:
        rows.append(fields(Path(folder) / "fields", asked.fields, asked.seed))
        for k, density in enumerate(DENSITIES):
            scene = Scene(asked.size, asked.size, seed=asked.seed + k, profile="slide", density_per_mm2=density)
            rows.append(smear(Path(folder) / f"smear{k}", scene))
    if not asked.no_record:
        record.append("counting", rows)
    record.show({"rows": rows})


def fields(folder: Path, count: int, seed: int) -> dict[str, Any]:
    """Run over many fields; densities of all of them together."""
    (folder / "slides").mkdir(parents=True)
    scenes = [Scene(640, 480, mpp=FIELD_MPP, seed=seed + 1000 + k) for k in range(count)]
    for k, scene in enumerate(scenes):
        write_slide(scene, folder / "slides" / f"field{k:04d}.tif")
    out = run(folder)
    with (out / "summary.csv").open(encoding="utf-8", newline="") as handle:
        found = list(csv.DictReader(handle))
    used = [row for row in found if row["rbc_per_mm2"]]
    mm2 = np.array([float(row["analysed_mm2"]) for row in used])
    weights = mm2 / mm2.sum()
    true = sum(inside(scene) for scene in scenes) / (count * 640 * 480 * (FIELD_MPP / 1000) ** 2)
    raw = sum(int(row["n_rbc"]) for row in found) / sum(float(row["analysed_mm2"]) for row in found)
    framed = float((weights * [float(row["rbc_per_mm2"]) for row in used]).sum())
    touching = np.mean([touches_edge(scene) for scene in scenes])
    return row_of("fields", count, seed, found[0]["model"]) | {
        "cells_at_edge_pct": round(100 * float(touching), 1), "rbc_per_mm2_true": round(true, 1),
        "raw_density_error_pct": percent(raw, true), "frame_density_error_pct": percent(framed, true),
        "not_monolayer_pct": round(100 * (1 - len(used) / len(found)), 2),
    }  # fmt: skip


def inside(scene: Scene) -> int:
    """Return how many red cells have their centre in a field: the count that has no bias."""
    cells = scene.cells(0, 0, scene.width, scene.height)
    x, y = cells.centres[:, 0], cells.centres[:, 1]
    here = (x >= 0) & (x < scene.width) & (y >= 0) & (y < scene.height)
    return int((here & (cells.classes == RED)).sum())


def touches_edge(scene: Scene) -> float:
    """Return the share of a field's red cells that its edge cuts."""
    cells = scene.cells(0, 0, scene.width, scene.height)
    b = cells.boxes[cells.classes == RED]
    cut = (b[:, 0] <= 0) | (b[:, 1] <= 0) | (b[:, 2] >= scene.width) | (b[:, 3] >= scene.height)
    return float(cut.mean())


def smear(folder: Path, scene: Scene) -> dict[str, Any]:
    """Run over one smear: its zones, and the density and size of red cells in its monolayer."""
    (folder / "slides").mkdir(parents=True)
    write_slide(scene, folder / "slides" / "smear.tif", workers=2)
    out = run(folder)
    with (out / "summary.csv").open(encoding="utf-8", newline="") as handle:
        row = next(csv.DictReader(handle))
    blocks = store.open(out / row["store"]).tiles.blocks
    mono = zones_of(blocks) == MONOLAYER
    true_area = mono_share(scene, blocks) * blocks.area
    cells = scene.cells(0, 0, scene.width, scene.height)
    red = (cells.classes == RED) & (cells.zones == ZONES.index("monolayer"))
    mm2 = scene.monolayer_mm2()
    size = cells.diameter_um[red]
    raw = int(row["n_rbc"]) / float(row["analysed_mm2"])
    true = float(red.sum()) / mm2
    return row_of(f"smear {scene.density_per_mm2:.0f}", 1, scene.seed, row["model"]) | {
        "monolayer_purity": round(float(true_area[mono].sum() / blocks.area[mono].sum()), 4),
        "monolayer_recall": round(float(true_area[mono].sum() / true_area.sum()), 4),
        "monolayer_mm2_error_pct": percent(float(row["monolayer_mm2"]), mm2), "rbc_per_mm2_true": round(true, 1),
        "raw_density_error_pct": percent(raw, true),
        "frame_density_error_pct": percent(float(row["rbc_per_mm2"]), true),
        "diameter_um_true": round(float(size.mean()), 3),
        "diameter_error_pct": percent(float(row["rbc_diameter_um"]), float(size.mean())),
        "cv_pct_true": round(100 * float(size.std() / size.mean()), 2), "cv_pct": float(row["rbc_diameter_cv_pct"]),
    }  # fmt: skip


def mono_share(scene: Scene, blocks: BlockRows) -> np.ndarray:
    """Return which share of each block was drawn as monolayer."""
    shares = []
    for x0, y0, x1, y1 in blocks.box:
        x, y = np.meshgrid(np.linspace(x0 + 1, x1 - 1, 8), np.linspace(y0 + 1, y1 - 1, 8))
        shares.append((scene.zone(x.ravel(), y.ravel()) == ZONES.index("monolayer")).mean())
    return np.array(shares)


COLUMNS = (
    "what", "slides", "seed", "model", "cells_at_edge_pct", "monolayer_purity", "monolayer_recall",
    "monolayer_mm2_error_pct", "rbc_per_mm2_true", "raw_density_error_pct", "frame_density_error_pct",
    "not_monolayer_pct", "diameter_um_true", "diameter_error_pct", "cv_pct_true", "cv_pct",
)  # fmt: skip


def row_of(what: str, slides: int, seed: int, model: str) -> dict[str, Any]:
    """Return a row with every column, so that all have the same."""
    return dict.fromkeys(COLUMNS, "") | {"what": what, "slides": slides, "seed": seed, "model": model}


def run(folder: Path) -> Path:
    """Run the command line once and return its output folder."""
    out = folder / "out"
    command = [sys.executable, "-m", "pbsbatch", "run", "--input", str(folder / "slides"), "--output", str(out)]
    subprocess.run([*command, "--quiet", "--no-differential"], check=True)  # drawn white cells have no type
    return out


def percent(found: float, true: float) -> float:
    return round(100 * (found / true - 1), 2)


if __name__ == "__main__":
    main()
