"""Where benchmark results go: one JSON object on stdout, one row per result in benchmarks/results."""

from __future__ import annotations

import csv
import json
import os
import platform
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

__all__ = ["ROOT", "append", "data_folder", "machine", "peak_mb", "show"]

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def data_folder() -> Path | None:
    """Return the folder of real fields, or None where there is none."""
    folder = Path(os.environ.get("PBSBATCH_DATA", ROOT.parent / "shared" / "data"))
    return folder if folder.is_dir() else None


def machine() -> dict[str, str]:
    """Say on what a figure was measured."""
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    packages = " ".join(f"{name} {version(name)}" for name in ("numpy", "numba", "opencv-python-headless", "zarr"))
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"), "cpu": model, "cores": str(os.cpu_count()),
        "python": platform.python_version(), "pbsbatch": version("pbsbatch"), "packages": packages,
    }  # fmt: skip


def append(stem: str, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Append rows to the stem's CSV, each with the machine's facts in front."""
    path = RESULTS / f"{stem}.csv"
    facts = machine()
    new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as handle:
        for row in rows:
            writer = csv.DictWriter(handle, [*facts, *row], lineterminator="\n")
            if new:
                writer.writeheader()
                new = False
            writer.writerow(facts | dict(row))
    return path


def peak_mb() -> int:
    """Return the most memory that this process has held since it began.

    Not getrusage: its peak outlives exec, so that a child begins with that of the process that started it.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) // 1000


def show(result: Mapping[str, Any]) -> None:
    """Print one JSON object."""
    print(json.dumps(result, indent=2))
