"""A slide that an earlier run finished gives the row that it gave then."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from pbsbatch.config import Config
from pbsbatch.run.rows import sample_rows, slide_rows
from tests.oracle import draw_cells, write_oracle_slide
from tests.run.inline import run_one


def red_cells_apart(width: int, height: int) -> np.ndarray:
    """Draw discs whose numbers the fake takes for red cells, white cells and platelets, on a grid with gaps."""
    labels = np.zeros((height, width), np.int32)
    places = [(x, y) for y in range(20, height, 37) for x in range(20, width, 37)]
    for k, place in enumerate(places):
        cv2.circle(labels, place, 14, 3 * (k + 1) + (k % 50 == 0), -1)
    return labels


def test_a_kept_slide_gives_the_same_rows_but_for_seconds(tmp_path: Path) -> None:
    write_oracle_slide(tmp_path / "a.tif", red_cells_apart(1900, 1300))
    write_oracle_slide(tmp_path / "b.tif", draw_cells(900, 700, 200, seed=2))
    config = Config(core=400)
    results = [[run_one(tmp_path / f"{n}.tif", tmp_path / "out", config, slide_id=n) for n in "ab"] for _ in (1, 2)]
    assert [r.resumed for r in results[0] + results[1]] == [False, False, True, True]
    for rows in (lambda r: slide_rows(r, tmp_path, "m", "e"), lambda r: sample_rows(r, "m", "e")):
        for first, kept in zip(*map(rows, results), strict=True):
            assert {name for name in first if first[name] != kept[name]} <= {"seconds", "mpix_per_s"}
    row = slide_rows(results[1], tmp_path, "m", "e")[0]
    assert int(row["n_rbc"]) > 1500 and int(row["n_wbc"]) > 30 and float(row["analysed_fraction"]) == 1
