"""Measure the classical model: accuracy per source, how little tiling matters, and speed.

`python -m benchmarks.classical --json` prints one JSON object and adds a row to results/classical.csv.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import platform
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pbsbatch import engines, models
from pbsbatch.models.classical_colour import histogram, thresholds
from pbsbatch.synth import STAINS, Scene

DATA = Path(os.environ.get("PBSBATCH_DATA", Path(__file__).resolve().parents[1] / "../shared/data"))
RESULTS = Path(__file__).parent / "results" / "classical.csv"
SOURCES = ("bccd", "pbc", "raabin")
RED_PX = 28.8  # a red cell's labelled box at the working scale
OF_YOLO = {0: 1, 1: 0, 2: 2}  # WBC, RBC, Platelet in classes.txt -> the model's order
PAD = 100

Boxes = NDArray[np.float64]


def field(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64], Boxes]:
    """Return a labelled field at working scale, its classes and boxes; the scale comes from the labelled red cells."""
    image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    h, w = image.shape[:2]
    label = Path(str(path).replace("/images/", "/labels/")).with_suffix(".txt")
    rows = np.array([line.split() for line in label.read_text().splitlines() if line.strip()], float).reshape(-1, 5)
    kinds = np.array([OF_YOLO[int(k)] for k in rows[:, 0]], np.int64)
    centre, half = rows[:, 1:3] * [w, h], rows[:, 3:5] * [w, h] / 2
    boxes = np.hstack([centre - half, centre + half])
    whole = (kinds == 0) & (boxes[:, :2] > 3).all(1) & (boxes[:, 2:] < np.array([w, h]) - 3).all(1)
    sizes = np.sqrt(np.prod(2 * half, axis=1))
    known = sizes[whole] if whole.sum() > 2 else sizes[kinds == 0]
    factor = RED_PX / float(np.median(known)) if len(known) else 0.3
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), kinds, boxes * factor


def detect(image: NDArray[np.uint8]) -> tuple[NDArray[Any], Boxes, NDArray[Any]]:
    """Return classes, boxes and scores, with white around the field as the pipeline reads it."""
    model = models.load("classical")
    known = thresholds(histogram(image)).as_calibration()
    around = np.pad(image, ((PAD, PAD), (PAD, PAD), (0, 0)), constant_values=255)
    found = model.decode(engines.load(model, "auto")(around[None]), 0, known)
    limit = np.array([image.shape[1], image.shape[0]] * 2)
    return found.classes, np.clip(found.boxes - PAD, 0, limit).astype(np.float64), found.scores


def hits(boxes: Boxes, scores: NDArray[Any], truth: Boxes) -> int:
    """Return how many boxes match a truth of their own at IoU 0.5, best scores first."""
    if not len(boxes) or not len(truth):
        return 0
    lo, hi = np.maximum(boxes[:, None, :2], truth[None, :, :2]), np.minimum(boxes[:, None, 2:], truth[None, :, 2:])
    common = np.prod(np.clip(hi - lo, 0, None), axis=2)
    areas = [np.prod(b[:, 2:] - b[:, :2], axis=1) for b in (boxes, truth)]
    iou = common / (areas[0][:, None] + areas[1][None] - common + 1e-9)
    n = 0
    for i in np.argsort(-scores, kind="stable"):
        j = int(iou[i].argmax())
        if iou[i, j] >= 0.5:
            iou[:, j] = -1
            n += 1
    return n


def accuracy(fields: list[tuple[NDArray[np.uint8], NDArray[np.int64], Boxes]]) -> dict[str, Any]:
    """Return precision, recall and F1 per class and the red cells' count error over fields."""
    tally = np.zeros((3, 3))
    errors = []
    for image, kinds, truth in fields:
        classes, boxes, scores = detect(image)
        for k in range(3):
            mine, true = classes == k, kinds == k
            tally[k] += hits(boxes[mine], scores[mine], truth[true]), mine.sum(), true.sum()
        errors.append(((classes == 0).sum() - (kinds == 0).sum()) / max((kinds == 0).sum(), 1))
    out: dict[str, Any] = {"fields": len(fields)}
    for k, name in enumerate(("rbc", "wbc", "platelet")):
        hit, found, true = tally[k]
        out[name] = {
            "precision": round(hit / max(found, 1), 4), "recall": round(hit / max(true, 1), 4),
            "f1": round(2 * hit / max(found + true, 1), 4), "n": int(true),
        }  # fmt: skip
    out["rbc_mape"] = round(float(np.mean(np.abs(errors))), 4)
    out["rbc_bias"] = round(float(np.mean(errors)), 4)
    return out


def drawn(stain: str, seed: int, size: int = 1200) -> tuple[NDArray[np.uint8], NDArray[np.int64], Boxes]:
    """Return a drawn field with its truth."""
    scene = Scene(size, size, 0.25, seed, stain=stain)
    cells = scene.cells(0, 0, size, size)
    return scene.render(0, 0, size, size), cells.classes.astype(np.int64), cells.boxes.astype(np.float64)


def tile_cells(image: NDArray[np.uint8], core: int, origin: int) -> set[tuple[Any, ...]]:
    """Return the cells that tiles of a grid own, as class, box, score."""
    model = models.load("classical")
    engine = engines.load(model, "auto")
    known = thresholds(histogram(image)).as_calibration()
    halo = math.ceil(model.spec.max_cell_um / model.spec.work_mpp / 2) + 3 + model.spec.context_px
    side = core + 2 * halo
    around = np.pad(image, ((side, side), (side, side), (0, 0)), constant_values=255)
    out: set[tuple[Any, ...]] = set()
    for y in range(-origin, image.shape[0], core):
        for x in range(-origin, image.shape[1], core):
            tile = around[y - halo + side : y + core + halo + side, x - halo + side : x + core + halo + side]
            found = model.decode(engine(tile[None]), 0, known)
            centres = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
            for i in np.flatnonzero(((centres >= halo) & (centres < halo + core)).all(1)):
                box = found.boxes[i] + np.array([x - halo, y - halo] * 2)
                out.add((int(found.classes[i]), *box.tolist(), float(found.scores[i])))
    return out


def invariance(image: NDArray[np.uint8]) -> dict[str, Any]:
    """Return how the cells differ between core sizes and grid origins."""
    grids = {
        f"{core}+{origin}": tile_cells(image, core, origin) for core in (256, 512, 1024) for origin in (0, 37, 101)
    }
    first = grids["1024+0"]
    return {
        "cells": len(first),
        "largest_count_difference": max(abs(len(g) - len(first)) for g in grids.values()),
        "most_cells_differing": max(len(g ^ first) for g in grids.values()),
    }


def speed(image: NDArray[np.uint8], repeats: int = 7) -> dict[str, float]:
    """Return megapixels per second on one core: the middle of several runs."""
    model = models.load("classical")
    engine = engines.load(model, "auto")
    known = thresholds(histogram(image)).as_calibration()
    model.decode(engine(image[None]), 0, known)
    dense, both = [], []
    for _ in range(repeats):
        start = time.perf_counter()
        raw = engine(image[None])
        middle = time.perf_counter()
        model.decode(raw, 0, known)
        dense.append(middle - start)
        both.append(time.perf_counter() - start)
    mp = image.shape[0] * image.shape[1] / 1e6
    p20, p50, p80 = np.percentile(both, [20, 50, 80])
    return {
        "mp_per_s": round(mp / p50, 2), "mp_per_s_p20": round(mp / p80, 2), "mp_per_s_p80": round(mp / p20, 2),
        "engine_mp_per_s": round(mp / float(np.median(dense)), 1),
    }  # fmt: skip


def cpu_model() -> str:
    """Return the processor's name."""
    info = Path("/proc/cpuinfo")
    names = (
        [x.split(":")[1].strip() for x in info.read_text().splitlines() if x.startswith("model name")]
        if info.exists()
        else []
    )
    return names[0] if names else platform.processor()


def measure() -> dict[str, Any]:
    """Run everything."""
    cv2.setNumThreads(1)
    scenes = [drawn(stain, seed) for seed, stain in enumerate(STAINS, 1)]
    out: dict[str, Any] = {
        "machine": cpu_model(), "cores": os.cpu_count(), "python": platform.python_version(),
        "numpy": np.__version__, "opencv": cv2.__version__, "model": models.load("classical").spec.digest[:12],
        "synth": accuracy(scenes), "invariance": invariance(scenes[0][0]), "speed": speed(scenes[0][0]),
    }  # fmt: skip
    images = DATA / "txl" / "images" / "val"
    for source in SOURCES:
        paths = sorted(images.glob(f"{source}_*"))
        if paths:
            out[source] = accuracy([field(p) for p in paths])
    return out


def append(result: dict[str, Any]) -> None:
    """Add one row to the results."""
    row = {"date": datetime.now(UTC).date().isoformat()}
    row |= {k: result[k] for k in ("machine", "cores", "python", "numpy", "opencv", "model")}
    row |= {f"rbc_f1_{s}": result[s]["rbc"]["f1"] if s in result else "" for s in (*SOURCES, "synth")}
    row |= {f"rbc_mape_{s}": result[s]["rbc_mape"] if s in result else "" for s in (*SOURCES, "synth")}
    row |= result["invariance"] | result["speed"]
    new = not RESULTS.exists()
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)


def main() -> int:
    """Print the figures and keep them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    asked = parser.parse_args()
    result = measure()
    append(result)
    print(json.dumps(result, indent=None if asked.json else 2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
