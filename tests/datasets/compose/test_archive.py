"""The folder that `pbsbatch data compose` writes: pictures, truth, tables, and what it refuses."""

from __future__ import annotations

import csv
import json
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO
from typer.testing import CliRunner

from pbsbatch.cli.data import app
from pbsbatch.datasets.compose import ComposeSpec, Composite, compose_archive, load_source, parse_grid, parse_scales
from pbsbatch.datasets.compose.source import Source
from pbsbatch.datasets.readers import DataSet, read, recognise
from pbsbatch.errors import PbsbatchError, UsageError
from pbsbatch.slides import open_slide
from tests.datasets.drawn import field, yolo


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return yolo(tmp_path_factory.mktemp("fields"))


@pytest.fixture(scope="module")
def source(data: Path) -> Source:
    return load_source(recognise(data))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))


def test_the_command_writes_pictures_with_their_truth(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    asked = ["compose", "--data", str(data), "--output", str(out), "--images", "3", "--size", "500x400", "--seed", "4"]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0, result.output
    truth = json.loads((out / "truth.json").read_text())
    assert [i["file_name"] for i in truth["images"]] == [f"composite_000{n}.png" for n in range(3)]
    assert all(cv2.imread(str(out / i["file_name"])).shape == (400, 500, 3) for i in truth["images"])
    named = [a for a in truth["annotations"] if not a["iscrowd"]]
    kinds = {c["id"]: c["name"] for c in truth["categories"]}
    names = {i["id"]: i["file_name"] for i in truth["images"]}
    listed = rows(out / "cells.csv")
    assert len(named) == len(listed) > 20
    for a, row in zip(named, listed, strict=True):
        x, y, w, h = a["bbox"]
        assert (names[a["image_id"]], kinds[a["category_id"]]) == (row["image"], row["class"])
        assert [float(row[k]) for k in ("x0", "y0", "x1", "y1")] == pytest.approx([x, y, x + w, y + h])
        assert float(row["magnification"]) == a["magnification"] in (0.5, 1.0, 1.5)
    assert {r["image"] for r in rows(out / "parts.csv")} == set(names.values())
    assert CliRunner().invoke(app, asked).exit_code != 0, "it wrote over a folder in use"
    assert CliRunner().invoke(app, [*asked, "--force", "--images", "1"]).exit_code == 0
    assert sorted(p.name for p in out.glob("*.png")) == ["composite_0000.png"]


def test_what_it_writes_can_be_read_and_composed_again(source: Source, tmp_path: Path) -> None:
    compose_archive(ComposeSpec(400, 300, scales=(1.0,)), source, tmp_path, images=2)
    COCO(str(tmp_path / "truth.json"))
    samples, problems = read(DataSet(tmp_path, "coco", "truth", red_cell_px=22.0))
    assert len(samples) == 2 and not problems
    again = load_source(recognise(tmp_path))
    assert set(again.classes) <= set(source.classes) and len(again.items) == 2


@pytest.mark.parametrize("file_format", ["png", "jpeg", "tiff"])
def test_the_same_seed_writes_the_same_files(source: Source, tmp_path: Path, file_format: str) -> None:
    spec = ComposeSpec(600, 450, seed=3, overlap=True, mixup=0.5, mosaic=0.5, balance=True)
    folders = [tmp_path / name for name in "ab"]
    for folder, workers in zip(folders, (1, 2), strict=True):
        compose_archive(spec, source, folder, images=2, file_format=file_format, workers=workers)
    names = sorted(p.name for p in folders[0].iterdir())
    assert len(names) == 5
    assert all((folders[0] / n).read_bytes() == (folders[1] / n).read_bytes() for n in names)


def test_a_composite_slide_is_a_pyramid_with_its_scale(source: Source, tmp_path: Path) -> None:
    spec = ComposeSpec(2300, 1500, grid=(5, 4), scales=(1.0,), diameter=28.0)
    compose_archive(spec, source, tmp_path, images=1, file_format="tiff", workers=2)
    slide = open_slide(tmp_path / "composite_0000.tif", id="s")
    try:
        assert [(v.width, v.height) for v in slide.levels] == [(2300, 1500), (1150, 750), (575, 375)]
        assert slide.mpp == pytest.approx(7.2 / 28, rel=1e-3)
        seen = slide.read(0, 300, 200, 256, 256).astype(float)
    finally:
        slide.close()
    wanted = Composite(spec, source, 0).render(300, 200, 256, 256).astype(float)
    assert np.abs(seen - wanted).mean() < 6  # JPEG


def test_memory_does_not_follow_the_canvas(source: Source, tmp_path: Path) -> None:
    peaks = []
    for height in (1024, 1024, 6144):  # the first one fills caches and compiles
        tracemalloc.start()
        spec = ComposeSpec(768, height, grid=(4, height // 192), scales=(1.0,))
        compose_archive(spec, source, tmp_path, images=1, file_format="tiff", force=True)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.5 * peaks[1] + (2 << 20)


def test_a_folder_of_classes_makes_typed_grids(tmp_path: Path) -> None:
    for kind, colour in (("basophil", 40), ("monocyte", 120)):
        (tmp_path / "cells" / kind).mkdir(parents=True)
        for n in range(3):
            image = np.full((70, 60, 3), 230, np.uint8)
            cv2.circle(image, (30, 35), 20, (colour, 20 * n, 90), -1)
            cv2.imwrite(str(tmp_path / "cells" / kind / f"{n}.png"), image)
    source = load_source(recognise(tmp_path / "cells"))
    tally = compose_archive(
        ComposeSpec(180, 210, grid=(3, 3), scales=(1.0,), balance=True), source, tmp_path / "out", images=4
    )
    assert source.classes == ("basophil", "monocyte") and sum(tally.cells.values()) == 36 and not tally.crowds
    assert {r["magnification"] for r in rows(tmp_path / "out" / "cells.csv")} == {"1.0"}


def test_bad_fields_are_left_out_and_named(tmp_path: Path) -> None:
    root = yolo(tmp_path / "data", 3)
    (root / "labels" / "train" / "lab_train1.txt").write_text("0 .5 .5 .1\n")
    (root / "labels" / "train" / "lab_train2.txt").write_text("0 .5 .5 .1 0\n0 .5 .5 .1 .1\n")
    asked = ["compose", "--data", str(root), "--output", str(tmp_path / "out"), "--images", "1", "--size", "300x200"]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0
    assert "lab_train1.txt, line 1: '0 .5 .5 .1' is not `class x y w h`" in result.stderr
    assert "has no area. It was dropped" in result.stderr
    assert {i.name for i in load_source(recognise(root)).items} == {"lab_train0", "lab_train2"}


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"width": 0}, "each side may|Each side may"), ({"units": "cats"}, "units is 'cats'.*fields, cells"),
        ({"background": "x"}, "matched, blank"), ({"edge": "x"}, "clip, drop"), ({"fill": 1.5}, "fill is 1.5"),
        ({"scales": ()}, "scales are"), ({"scales": (-1.0,)}, "scales are"), ({"diameter": -3.0}, "red cells of -3"),
        ({"scales": (2.0, 1.0), "between": True}, "range of scales"), ({"grid": (0, 3)}, "grid of 0x3"),
        ({"width": 10, "grid": (40, 1)}, "finer than the canvas"),
    ],
)  # fmt: skip
def test_a_wrong_spec_is_refused_with_its_cure(change: dict[str, object], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        ComposeSpec(**change)  # type: ignore[arg-type]


def test_texts_of_scales_and_grids() -> None:
    assert parse_scales("0.5,1,1.5") == ((0.5, 1.0, 1.5), False) and parse_scales("0.5-1.5") == ((0.5, 1.5), True)
    assert parse_grid("3") == (3, 3) and parse_grid("3x2") == (3, 2) and parse_grid("") is None
    for wrong in ("x", "3x", "3,2", "-1"):
        with pytest.raises(UsageError, match="is no grid"):
            parse_grid(wrong)
    for wrong in ("", "a", "1-", "1,,2"):
        with pytest.raises(UsageError, match="no list of numbers"):
            parse_scales(wrong)


def test_what_cannot_be_composed_is_refused(source: Source, tmp_path: Path) -> None:
    spec = ComposeSpec(300, 200)
    for images, file_format, what in ((0, "png", "composes nothing"), (1, "gif", "Choose one of png, jpeg, tiff")):
        with pytest.raises(UsageError, match=what):
            compose_archive(spec, source, tmp_path / "no", images=images, file_format=file_format)
    with pytest.raises(UsageError, match="100 megapixels"):
        compose_archive(ComposeSpec(20_000, 20_000), source, tmp_path / "no", images=1)
    assert not (tmp_path / "no").exists()
    for name, pixels in (("a", field(1)[0]), ("b", field(2)[0])):
        (tmp_path / "one" / name).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "one" / name / "1.png"), pixels)
    typed = load_source(recognise(tmp_path / "one"))
    with pytest.raises(UsageError, match="no cell stands alone"):
        compose_archive(ComposeSpec(units="cells"), typed, tmp_path / "no", images=1)
    with pytest.raises(UsageError, match="nothing tells the size of a red cell"):
        compose_archive(ComposeSpec(diameter=30.0), typed, tmp_path / "no", images=1)
    (tmp_path / "none" / "Annotations").mkdir(parents=True)
    (tmp_path / "none" / "Images").mkdir()
    with pytest.raises(PbsbatchError, match="no labelled data set is recognised"):
        load_source(recognise(tmp_path / "none"))
    unmarked = yolo(tmp_path / "unmarked", 1)
    (unmarked / "labels" / "train" / "lab_train0.txt").write_text("")
    with pytest.raises(PbsbatchError, match="no picture with a usable cell"):
        load_source(recognise(unmarked))
