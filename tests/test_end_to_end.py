"""The end-to-end benchmark at the smallest size: every figure is there, and none is impossible."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_the_benchmark_runs_at_a_small_size(tmp_path: Path) -> None:
    sizes = ["--side", "1024", "--fields", "3", "--peer-side", "0", "--work", str(tmp_path), "--no-record"]
    told = subprocess.run(
        [sys.executable, "-m", "benchmarks.end_to_end", *sizes], cwd=ROOT, check=True, capture_output=True, text=True
    )
    row = json.loads(told.stdout)
    stages = ("prepare", "read", "infer", "decode", "write", "settle")
    assert all(row[f"{name}_core_s"] >= 0 for name in stages)
    assert row["infer_core_s"] > 0
    for name in ("limit_s", "run_s", "process_s", "mpix_per_s", "fields_mpix_per_s", "free_engine_mpix_per_s"):
        assert row[name] > 0, name
    assert row["process_s"] > row["run_s"]
    assert row["precision"] != "auto"
    assert row["sahi_version"] == row["ours_cells"] == "", "peers were not asked for"
