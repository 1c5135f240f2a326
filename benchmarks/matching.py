"""Matching beside its peers: COCO-sized sets, dense fields, and slides on which the peers' dense matrices explode.

    python -m benchmarks.matching --json [--case slide-20000 ...] [--with PEER ...] [--seconds 60] [--memory 10]

Each figure comes from a process of its own, which draws the set, runs three times unless the first run is long, and
reports the fastest: `seconds` from loaded sets to finished tables (the default 10 IoUs, 4 area ranges, 3 limits),
`with_reading_seconds` from lists of dictionaries in memory, `peak_mb` what the process grew by while matching. A peer
that is not installed is `absent`, one that needs more than --seconds or --memory is `stopped`.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.record import append, show
from pbsbatch.evaluate import from_coco
from pbsbatch_kernels import matching

STEM = "matching"
SLIDES = (1_000, 10_000, 20_000, 100_000, 1_000_000)
CASES = ("coco-5000x500000", "fields-400x120000", *(f"slide-{n}" for n in SLIDES))
OURS = "pbsbatch"
PEERS = ("ultrafast-pycocotools", "hotcoco", "faster-coco-eval", "pycocotools")
CELL_PX = (20.0, 60.0)
OUT_OF_MEMORY = 77
"""exit status of a process that held too much"""


class Set(NamedTuple):
    """Truth and detections as dictionaries, and the detections that each image is cut to."""

    data_set: dict[str, Any]
    results: list[dict[str, Any]]
    limits: tuple[int, int, int]


def draw(case: str) -> Set:
    """Draw truth and detections: a third sit on a truth with its class, the others lie anywhere."""
    images, truths, found, classes, side, limits = size_of(case)
    rng = np.random.default_rng(1)
    where, kinds = np.sort(rng.integers(0, images, truths)), rng.integers(0, classes, truths)
    boxes = np.concatenate([rng.uniform(0, side, (truths, 2)), rng.uniform(*CELL_PX, (truths, 2))], axis=1)
    pick, near = rng.integers(0, truths, found), rng.random(found) < 1 / 3
    seen = boxes[pick] + rng.normal(0, 3, (found, 4))
    seen[~near, :2] = rng.uniform(0, side, (int((~near).sum()), 2))
    seen[:, 2:] = np.maximum(seen[:, 2:], 1)
    seen_kinds = np.where(near, kinds[pick], rng.integers(0, classes, found))
    truth_rows = zip(where.tolist(), kinds.tolist(), boxes.tolist(), strict=True)
    found_rows = zip(where[pick].tolist(), seen_kinds.tolist(), seen.tolist(), rng.random(found).tolist(), strict=True)
    data_set = {
        "info": {},
        "images": [{"id": i + 1, "width": 640, "height": 640, "file_name": str(i)} for i in range(images)],
        "categories": [{"id": k + 1, "name": str(k)} for k in range(classes)],
        "annotations": [
            {"id": j, "image_id": i + 1, "category_id": k + 1, "bbox": b, "area": b[2] * b[3], "iscrowd": 0}
            for j, (i, k, b) in enumerate(truth_rows, 1)
        ],
    }
    return Set(
        data_set,
        [{"image_id": i + 1, "category_id": k + 1, "bbox": b, "score": s} for i, k, b, s in found_rows],
        limits,
    )


def size_of(case: str) -> tuple[int, int, int, int, float, tuple[int, int, int]]:
    """Return images, truths, detections, classes, the side of an image in px, and limits."""
    kind, _, size = case.partition("-")
    if kind == "coco":
        return 5000, 36_000, 500_000, 80, 640.0, (1, 10, 100)
    if kind == "fields":
        return 400, 24_000, 120_000, 3, 640.0, (1, 10, 1000)
    n = int(size)
    return 1, n, n * 6 // 5, 1, 50.0 * n**0.5, (1, 100, 10 * n)


def ours(case: Set) -> Iterator[Callable[[], Any]]:
    """Yield reading, then matching."""
    sets: list[Any] = []
    yield lambda: sets.append(from_coco(case.data_set, case.results))
    true, found, names = sets[-1]

    def evaluate() -> matching.Curves:
        matches = matching.match(true, found, areas=matching.COCO_AREAS, limit=case.limits[-1])
        return matching.curves(true, found, matches, len(names), limits=case.limits)

    yield evaluate


def peers(case: Set, peer: str) -> Iterator[Callable[[], Any]]:
    """Yield a peer's reading, then its matching."""
    module = importlib.import_module(peer.replace("-", "_"))
    if peer == "pycocotools":
        coco = importlib.import_module("pycocotools.coco").COCO
        evaluator = importlib.import_module("pycocotools.cocoeval").COCOeval
    else:
        coco, evaluator = module.COCO, module.COCOeval_faster if peer == "faster-coco-eval" else module.COCOeval
    sides: list[Any] = []

    def read() -> None:
        true = coco() if peer == "pycocotools" else coco(case.data_set)
        if peer == "pycocotools":
            true.dataset = case.data_set
            true.createIndex()
        sides[:] = [true, (true.load_res if peer == "hotcoco" else true.loadRes)(case.results)]

    yield read

    def evaluate() -> Any:
        asked = evaluator(*sides, "bbox")
        asked.params.maxDets = list(case.limits)
        asked.evaluate()
        asked.accumulate()
        return asked

    yield evaluate


def digest(result: Any) -> str:
    """Return what tells whether two evaluations are the same bits."""
    table = result.eval if hasattr(result, "eval") else {"precision": result.precision, "recall": result.recall}
    parts = [np.ascontiguousarray(table[name], np.float64).tobytes() for name in ("precision", "recall")]
    return hashlib.sha256(b"".join(parts)).hexdigest()[:12]


def child(case: str, name: str) -> dict[str, Any]:
    """Measure one evaluator on one case in this process."""
    drawn = draw(case)
    if name == OURS:
        for step in ours(draw("slide-1000")):  # compile, or load what was compiled
            step()
    out: dict[str, Any] = {"seconds": float("inf"), "with_reading_seconds": float("inf"), "peak_mb": 0}
    for _ in range(3):
        times = []
        for step in ours(drawn) if name == OURS else peers(drawn, name):
            Path("/proc/self/clear_refs").write_text("5")  # the kernel forgets the peak so far
            before, start = memory("VmRSS"), time.perf_counter()
            result = step()
            times.append(time.perf_counter() - start)
        out["peak_mb"] = max(out["peak_mb"], memory("VmHWM") - before)
        out["seconds"] = min(out["seconds"], round(times[1], 4))
        out["with_reading_seconds"] = min(out["with_reading_seconds"], round(sum(times), 4))
        out["digest"] = digest(result)
        if sum(times) > 5:
            break
    return out


def memory(field: str) -> int:
    """Return what this process holds (VmRSS) or held at most (VmHWM), in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) // 1000


def row(case: str, name: str, seconds: float, gigabytes: float) -> dict[str, Any]:
    """Measure one evaluator on one case in a process of its own."""
    images, truths, found, classes, _, _ = size_of(case)
    out: dict[str, Any] = {
        "case": case, "images": images, "truths": truths, "detections": found, "classes": classes, "evaluator": name,
        "release": "", "state": "done", "seconds": "", "with_reading_seconds": "", "peak_mb": "", "digest": "",
    }  # fmt: skip
    try:
        out["release"] = version(name)
    except PackageNotFoundError:
        return out | {"state": "absent"}
    command = [sys.executable, "-m", "benchmarks.matching", "--child", name, "--case", case, "--memory", str(gigabytes)]
    # drawing the set, and reading it, take their time too
    patience = seconds + 10 + 6e-5 * (truths + found)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=patience, check=False)
    except subprocess.TimeoutExpired:
        return out | {"state": f"stopped at {patience:.0f} s"}
    if done.returncode == OUT_OF_MEMORY:
        return out | {"state": f"stopped at {gigabytes:g} GB"}
    if done.returncode != 0:
        return out | {"state": f"failed: {(done.stderr.strip().splitlines() or [done.returncode])[-1]}"[:100]}
    return out | json.loads(done.stdout.strip().splitlines()[-1])


def watch(gigabytes: float) -> None:
    """End this process once it holds more than it may; a limit on addresses would stop what is only reserved."""

    def look() -> None:
        while memory("VmRSS") < gigabytes * 1000:
            time.sleep(0.05)
        os._exit(OUT_OF_MEMORY)

    threading.Thread(target=look, daemon=True).start()


def main() -> int:
    """Print the figures and keep them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object (always so)")
    parser.add_argument("--case", action="append", choices=CASES)
    parser.add_argument("--with", dest="peers", action="append", choices=PEERS, help="default: every peer")
    parser.add_argument("--seconds", type=float, default=60.0, help="a peer's time for one case")
    parser.add_argument("--memory", type=float, default=10.0, help="GB that a process may hold")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        watch(asked.memory)
        with contextlib.redirect_stdout(io.StringIO()):
            result = child(asked.case[0], asked.child)
        print(json.dumps(result))
        return 0
    rows = []
    for case in asked.case or CASES:
        measured = [row(case, name, asked.seconds, asked.memory) for name in (OURS, *(asked.peers or PEERS))]
        bits = [each.pop("digest") for each in measured]
        for each, own in zip(measured, bits, strict=True):
            each["same_bits_as_ours"] = own == bits[0] if own else ""
        append(STEM, measured)  # case by case: what was measured stays if the next case is stopped
        rows += measured
    show({"stem": STEM, "results": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
