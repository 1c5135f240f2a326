"""A two-stage model's tiles per second beside torchvision's own model.eval(), in one run on the same tiles.

`python -m benchmarks.two_stage --json` draws random weights, as the speed does not hang on them: proposals are as many
as the model allows, which is the most work that a tile makes. Ours takes tiles as a run's lanes do, a core for each;
torchvision takes the batch on all cores. Rounds alternate, so that a machine that slows down slows both. That both find
the same is shown by tests/rcnn/test_parity.py; here is said on how many cells they agree.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import record
from pbsbatch.engines.gate import probe_tiles
from pbsbatch.engines.rcnn import RcnnEngine
from pbsbatch.engines.rcnn_openvino import OpenVINOParts
from pbsbatch.models.rcnn import RcnnModel
from pbsbatch.nets.rcnn import ARCHS, build
from pbsbatch.nets.rcnn_export import export_rcnn
from pbsbatch.train.rcnn.shape import Shape, facts_of

CORES = len(os.sched_getaffinity(0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", action="append", choices=ARCHS, help="repeat for several [all]")
    parser.add_argument("--tile", type=int, default=512, help="side of a tile in px, a multiple of 64")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument("--json", action="store_true", help="print one JSON object (the default prints it too)")
    parser.add_argument("--no-record", action="store_true", help="do not append to benchmarks/results")
    asked = parser.parse_args()
    rows = [measure(arch, asked) for arch in asked.arch or ARCHS]
    if not asked.no_record:
        record.append("two_stage", rows)
    record.show({"rows": rows})


def measure(arch: str, asked: argparse.Namespace) -> dict[str, Any]:
    """Return one architecture's row."""
    shape = Shape(
        classes=("RBC", "WBC", "Platelet"), work_mpp=0.25, input_px=asked.tile, max_cell_um=1000.0, detections=100
    )
    facts = facts_of(shape, arch, masks=ARCHS[arch].masks)
    torch.manual_seed(0)
    net = build(facts).eval().requires_grad_(False)
    tiles = probe_tiles(asked.batch, (asked.tile, asked.tile), 0.25)
    images = [torch.from_numpy(tile).permute(2, 0, 1).float() / 255 for tile in tiles]
    torch.set_num_threads(CORES)
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(CORES) as lanes:
        folder = export_rcnn(net, facts, Path(place) / "model")
        engine = RcnnEngine(OpenVINOParts(folder, asked.precision, CORES), facts)

        def ours() -> list[Any]:
            return list(lanes.map(lambda tile: engine(tile[None]), tiles))

        def theirs() -> list[Any]:
            with torch.inference_mode():
                return list(net(images))

        both = {"ours": ours, "torchvision": theirs}
        found = {name: run() for name, run in both.items()}  # and all is warm
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in both}
        for _ in range(asked.rounds):
            for name, run in both.items():
                times[name].append(timed(run))
        engine.close()
        agree = agreement(RcnnModel(folder), found["ours"], found["torchvision"])
    wall, cpu = ({n: float(np.median([t[i] for t in ts])) for n, ts in times.items()} for i in (0, 1))
    return {
        "arch": arch, "tile_px": asked.tile, "batch": asked.batch, "precision": asked.precision,
        "ours_tiles_per_s": round(asked.batch / wall["ours"], 4),
        "torchvision_tiles_per_s": round(asked.batch / wall["torchvision"], 4),
        "times_torchvision": round(wall["torchvision"] / wall["ours"], 3),
        "ours_cpu_s": round(cpu["ours"], 3), "torchvision_cpu_s": round(cpu["torchvision"], 3),
        "cells": sum(len(one["scores"]) for one in found["torchvision"]), "cells_alike": agree,
        "openvino": version("openvino"), "torch": version("torch"), "torchvision": version("torchvision"),
    }  # fmt: skip


def timed(run: Callable[[], object]) -> tuple[float, float]:
    """Return how long a call takes, by the clock and in processor time."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - cpu


def agreement(model: RcnnModel, ours: list[Any], theirs: list[Any]) -> int:
    """Return how many of torchvision's cells are ours too: within 0.1 px, of the same class."""
    alike = 0
    for raw, wanted in zip(ours, theirs, strict=True):
        found = model.decode(raw, 0, {})
        for box, label in zip(wanted["boxes"].numpy(), wanted["labels"].numpy(), strict=True):
            near = np.abs(found.boxes - box).max(1, initial=0.0) < 0.1
            alike += bool((near & (found.classes == label - 1)).any())
    return alike


if __name__ == "__main__":
    main()
