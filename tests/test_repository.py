"""The repository stays small: no data, no slides, no results of a run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHIPPED, MOST_WEIGHTS = ROOT / "pbsbatch" / "models" / "shipped", 15_000_000
MOST_BYTES = 2_000_000
DATA_SUFFIXES = {".tif", ".tiff", ".svs", ".ndpi", ".npz", ".npy", ".zip", ".zarr", ".dcm"}


def test_no_large_file_and_no_slide_is_tracked() -> None:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    tracked = [ROOT / name for name in listed.split("\0") if name and (ROOT / name).exists()]
    assert len(tracked) > 100
    weights = [p for p in tracked if SHIPPED in p.parents]
    assert sum(p.stat().st_size for p in weights) < MOST_WEIGHTS
    assert [p.name for p in tracked if p.stat().st_size > MOST_BYTES and p not in weights] == []
    assert [p.name for p in tracked if p.suffix.lower() in DATA_SUFFIXES] == []
