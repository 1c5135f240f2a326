"""What `pbsbatch data explore` finds in a labelled data set, each made to be found."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from pbsbatch.cli.data import app
from pbsbatch.datasets.explore import Findings, explore
from pbsbatch.datasets.explore.alike import overlapping_across
from pbsbatch.datasets.explore.look import THUMB_PX
from tests.data import data
from tests.datasets.drawn import field, yolo


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with one of each trouble."""
    root = yolo(tmp_path_factory.mktemp("set"), 6)
    yolo(root, 4, "val")
    train, labels = root / "images" / "train", root / "labels" / "train"
    twice = (labels / "lab_train0.txt").read_text().splitlines()
    (labels / "lab_train0.txt").write_text("\n".join([*twice, twice[0], "0 .5 .5 .1 0", "1 1.6 .5 .1 .1"]))
    (labels / "lab_train1.txt").write_text("")  # cells without labels
    (labels / "lab_train2.txt").write_text("0 .5 .5 .1\n")
    (train / "lab_empty.png").write_bytes(cv2.imencode(".png", np.full((150, 200, 3), 225, np.uint8))[1].tobytes())
    (root / "images" / "val" / "lab_val0.png").write_bytes((train / "lab_train3.png").read_bytes())  # a leak
    return root


@pytest.fixture(scope="module")
def found(troubled: Path) -> Findings:
    return explore(troubled)


def test_every_trouble_is_found_and_named(found: Findings) -> None:
    table = found.table()
    assert table["format"] == "yolo" and table["splits"] == {"train": 6, "val": 4}
    assert table["zero_area"] == [["lab_train0", 1]] and table["outside"] == [["lab_train0", 1]]
    assert table["duplicate_boxes"] == [["lab_train0", 1]]
    assert [name for name, _ in table["unlabelled"]] == ["lab_train1"]
    assert table["without_labels"] == ["lab_empty", "lab_train1"]
    assert ["lab_train3", "lab_val0"] in table["same_across_splits"] and not table["same_within_split"]
    assert len(table["problems"]) == 1 and "lab_train2.txt, line 1" in table["problems"][0]


def test_counts_and_sizes_are_those_of_the_labels(found: Findings) -> None:
    cells = [c for seed in (0, 3, 4, 5) for c in field(seed)[1]] + [c for s in range(4) for c in field(100 + s)[1]]
    rows = {row["class"]: row for row in found.table()["classes"]}
    extra = {field(0)[1][0][0]: 1}
    for name, row in rows.items():
        boxes = np.array([b for kind, b in cells if kind == name])
        assert row["cells"] == len(boxes) + extra.get(name, 0)
        side = np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
        assert row["side_px"]["50"] == pytest.approx(np.median(side), rel=0.05)
    counts = [len(field(s)[1]) for s in (3, 4, 5, 100, 101, 102, 103)]
    assert found.table()["cells_per_image"]["50"] == pytest.approx(np.median([0, 0, counts[0] + 1, *counts]), abs=2)


def test_the_command_tells_it_and_makes_a_page(troubled: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    told = CliRunner().invoke(app, ["explore", str(troubled), "--page", str(page)])
    assert told.exit_code == 0, told.output
    for word in ("10 images", "RBC", "no area", "outside", "marked twice", "look unlabelled", "lab_train1", "lab_val0"):
        assert word in told.stdout, word
    html = page.read_text()
    assert html.count("data:image/jpeg") >= 9 and "http://" not in html and "https://" not in html
    assert "default-src 'none'" in html and "lab_train3" in html
    raw = CliRunner().invoke(app, ["explore", str(troubled), "--json"])
    assert json.loads(raw.stdout)["splits"] == {"train": 6, "val": 4}


def test_names_from_outside_cannot_write_the_page(tmp_path: Path) -> None:
    root = yolo(tmp_path / "set", 2)
    evil = "<img src=x onerror=alert(1)>"
    (root / "classes.txt").write_text(f"{evil}\nWBC\nPlatelet")
    page = tmp_path / "page.html"
    assert CliRunner().invoke(app, ["explore", str(root), "--page", str(page)]).exit_code == 0
    assert "<img src=x" not in page.read_text() and "&lt;img src=x" in page.read_text()


def smear(seed: int, side: int = 500) -> np.ndarray:
    """Return a smear of pale discs at random, with a few dark ones."""
    rng = np.random.default_rng(seed)
    image = np.full((side, side, 3), 225, np.uint8)
    for n in range(90):
        x, y, r = (int(v) for v in rng.integers((0, 0, 16), (side, side, 26)))
        cv2.circle(image, (x, y), r, (90, 40, 120) if n % 30 == 0 else (190, 160, 165), -1)
        cv2.circle(image, (x, y), r // 2, (215, 200, 200), -1)
    return np.clip(image + rng.normal(0, 2, image.shape), 0, 255).astype(np.uint8)


def thumb(image: np.ndarray) -> np.ndarray:
    return cv2.resize(np.ascontiguousarray(image), (THUMB_PX, THUMB_PX), interpolation=cv2.INTER_AREA)


def test_shifted_views_across_splits_are_found_and_others_are_not() -> None:
    views, splits = [], []
    for seed in range(6):
        whole = smear(seed)
        views += [thumb(whole[:340, :340]), thumb(whole[40:380, 20 + 10 * seed : 360 + 10 * seed])]
        splits += ["train", "val"]
    assert overlapping_across(views, splits) == [(2 * k, 2 * k + 1) for k in range(6)]
    assert overlapping_across(views, ["train"] * 12) == []
    assert overlapping_across([], []) == []


def test_class_folders_tell_one_picture_under_two_labels(tmp_path: Path) -> None:
    for n, kind in enumerate(("basophil", "monocyte")):
        (tmp_path / kind).mkdir()
        for k in range(3):
            cv2.imwrite(str(tmp_path / kind / f"{k}.png"), smear(10 * n + k, 120))
    cv2.imwrite(str(tmp_path / "monocyte" / "again.png"), smear(1, 120))
    found = explore(tmp_path).table()
    assert {r["class"]: r["cells"] for r in found["classes"]} == {"basophil": 3, "monocyte": 4}
    assert found["same_other_label"] == [["basophil/1", "monocyte/again"]]


def test_fields_whose_cells_nobody_marked_are_found_in_public_data() -> None:
    table = explore(data("cbc")).table()
    none = (134, 147, 150, 152, 224, 249, 250, 258, 267, 268, 303, 322, 327, 330)
    assert {f"BloodImage_{n:05d}" for n in none} <= {name for name, _ in table["unlabelled"]}
    assert table["zero_area"] == [["BloodImage_00338", 1]]
