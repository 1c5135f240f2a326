"""The path a new user takes: draw smears, look at one, run over them, read the table. Core install only."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import pytest

from pbsbatch import store
from tests.test_cli import pbsbatch

pytestmark = pytest.mark.smoke


def test_from_nothing_to_counts_near_the_truth(tmp_path: Path) -> None:
    made = pbsbatch(
        "data", "synth", "--output", "slides", "--slides", "3", "--size", "1200x900", "--format", "mixed", "--broken",
        cwd=tmp_path,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert pbsbatch("inspect", "slides/slide_000.tif", cwd=tmp_path).returncode == 0
    done = pbsbatch("run", "--input", "slides", "--output", "results", cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr  # the broken one
    truth = json.loads((tmp_path / "slides" / "truth.json").read_text())
    names = {image["id"]: image["file_name"] for image in truth["images"]}
    kinds = {category["id"]: category["name"] for category in truth["categories"]}
    true = Counter((names[a["image_id"]], kinds[a["category_id"]]) for a in truth["annotations"])
    with (tmp_path / "results" / "summary.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert sorted(row["status"] for row in rows) == ["failed", "ok", "ok", "ok"]
    for row in rows:
        if row["status"] == "ok":
            assert int(row["n_rbc"]) == pytest.approx(true[row["slide"], "RBC"], rel=0.05)
            stored = store.open(tmp_path / "results" / row["store"])
            counted = sum(int(row[f"n_{name}"]) for name in ("rbc", "wbc", "platelet", "nrbc"))
            assert len(stored.cells["id"]) == counted
