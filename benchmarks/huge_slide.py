"""One slide too big for memory: time, memory of the whole process tree, files.

`python -m benchmarks.huge_slide --json` draws a 60,000 x 60,000 smear (3.6 gigapixels; some minutes) unless
--input gives a folder with a slide, and runs `pbsbatch run` over it. Memory is the proportional set size of
the driver and its workers, sampled five times a second. With --side 40000 the smear has a million cells, with
--density 2600 beside it a quarter of them: what memory does not depend on.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import record
from pbsbatch.config import cores
from pbsbatch.synth import Scene, write_slide


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=60_000, help="side of the drawn slide in pixels of 0.25 um")
    parser.add_argument("--density", type=float, default=10_500.0, help="red cells per mm2 of monolayer")
    parser.add_argument("--input", type=Path, help="a folder with one slide that is there already")
    parser.add_argument("--model", default="smear")
    parser.add_argument("--json", action="store_true", help="print one JSON object (the default prints it too)")
    asked = parser.parse_args()
    with TemporaryDirectory() as folder:
        slides = asked.input or Path(folder) / "slides"
        if asked.input is None:
            slides.mkdir()
            scene = Scene(asked.side, asked.side, profile="slide", density_per_mm2=asked.density)
            write_slide(scene, slides / "smear.tif", workers=cores())
        out = Path(folder) / "out"
        seconds, peak = run_and_watch(
            "run", "--input", str(slides), "--output", str(out), "--model", asked.model, "--quiet"
        )
        row = measured(out, seconds, peak)
    record.append("huge_slide", [row])
    record.show(row)


def run_and_watch(*arguments: str) -> tuple[float, int]:
    """Run the command line; return seconds and the peak of its process tree's memory in bytes."""
    start, peak = time.perf_counter(), 0
    with subprocess.Popen([sys.executable, "-m", "pbsbatch", *arguments]) as process:
        while process.poll() is None:
            peak = max(peak, sum(proportional_bytes(pid) for pid in tree(process.pid)))
            time.sleep(0.2)
    if process.returncode != 0:
        raise SystemExit(f"the run ended with {process.returncode}")
    return time.perf_counter() - start, peak


def tree(root: int) -> list[int]:
    """Return a process and all its descendants."""
    children = defaultdict(list)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue  # it ended meanwhile
        children[parent].append(int(stat.parent.name))
    found = [root]
    for pid in found:
        found += children[pid]
    return found


def proportional_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def measured(out: Path, seconds: float, peak: int) -> dict[str, Any]:
    """Return the row of a finished run."""
    with (out / "summary.csv").open(encoding="utf-8", newline="") as handle:
        slide = next(csv.DictReader(handle))
    facts = json.loads((out / "run.json").read_text())
    pixels = int(slide["width_px"]) * int(slide["height_px"])
    files = [path.stat().st_size for path in (out / slide["store"]).rglob("*") if path.is_file()]
    cells = sum(int(slide[column]) for column in ("n_rbc", "n_wbc", "n_platelet"))
    return {
        "model": slide["model"], "precision": facts["engine"]["precision"],
        "width_px": slide["width_px"], "height_px": slide["height_px"], "cells": cells, "seconds": round(seconds, 1),
        "mpix_per_s": round(pixels / 1e6 / seconds, 1),
        "mm2_per_s": round(pixels * float(slide["mpp"]) ** 2 / 1e6 / seconds, 2), "cells_per_s": round(cells / seconds),
        "peak_pss_gb": round(peak / 1e9, 3), "store_files": len(files), "store_mb": round(sum(files) / 1e6, 1),
        "bound_by": facts["bound_by"], "stage_busy_seconds": json.dumps(facts["stage_busy_seconds"]),
    }  # fmt: skip


if __name__ == "__main__":
    main()
