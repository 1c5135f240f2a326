"""The folder that `pbsbatch data synth` draws: slides, truth.json, labels, and what it refuses."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import pyvips
from pycocotools.coco import COCO
from typer.testing import CliRunner

from pbsbatch.cli.data import app
from pbsbatch.errors import OutputError, UsageError
from pbsbatch.synth import scene_from
from pbsbatch.synth.archive import ArchiveSpec, draw_archive, parse_size


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("archive") / "demo"
    arguments = ["synth", "--output", str(path), "--slides", "3", "--size", "611x503", "--format", "mixed"]
    result = CliRunner().invoke(app, [*arguments, "--labels", "--broken", "--seed", "5"])
    assert result.exit_code == 0, result.output
    assert re.fullmatch(rf"3 slides with [\d,]+ cells in {re.escape(str(path))}\n", result.stdout)
    return path


@pytest.fixture(scope="module")
def truth(folder: Path) -> COCO:
    return COCO(str(folder / "truth.json"))


def test_the_files_are_there(folder):
    names = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    slides = {"slide_000.tif", "slide_001.jpg", "slide_002.png"}
    labels = {f"labels/slide_00{i}.labels.tif" for i in range(3)}
    assert names == slides | labels | {"truth.json", "broken.tif"}


def test_broken_is_broken(folder):
    with pytest.raises(pyvips.Error):
        pyvips.Image.new_from_file(str(folder / "broken.tif")).avg()


def test_truth_is_coco(truth):
    assert [c["name"] for c in truth.dataset["categories"]] == ["RBC", "WBC", "Platelet"]
    ids = [a["id"] for a in truth.dataset["annotations"]]
    assert ids == list(range(1, len(ids) + 1))
    for image in truth.dataset["images"]:
        notes = truth.imgToAnns[image["id"]]
        assert [a["label"] for a in notes] == list(range(1, image["n_cells"] + 1))
        corners = [(a["bbox"][1], a["bbox"][0]) for a in notes]
        assert corners == sorted(corners)
        for a in notes:
            x, y, w, h = a["bbox"]
            assert 0 <= x < x + w <= image["width"] and 0 <= y < y + h <= image["height"]
            assert 0 < a["area"] <= w * h


def test_outlines_decode_to_the_labels(folder, truth):
    for image in truth.dataset["images"]:
        labels = pyvips.Image.new_from_file(str(folder / "labels" / f"{Path(image['file_name']).stem}.labels.tif"))
        pixels = labels.numpy()
        for a in truth.imgToAnns[image["id"]]:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # pycocotools against numpy 2
                mask = truth.annToMask(a).astype(bool)
            visible = pixels == a["label"]
            assert mask.sum() == a["area"]
            assert not (visible & ~mask).any()
            assert (pixels[mask] > 0).all()


def test_a_scene_comes_back_from_its_truth(folder, truth):
    image = truth.dataset["images"][2]
    scene = scene_from(image)
    pixels = pyvips.Image.new_from_file(str(folder / image["file_name"])).numpy()
    assert np.array_equal(pixels, scene.render(0, 0, scene.width, scene.height))


def test_workers_do_not_change_the_folder(tmp_path):
    for n in (1, 3):
        draw_archive(ArchiveSpec(tmp_path / str(n), slides=2, width=600, height=400, seed=-9, workers=n, labels=True))
    files = sorted(p.relative_to(tmp_path / "1") for p in (tmp_path / "1").rglob("*") if p.is_file())
    assert len(files) == 5
    for name in files:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "3" / name).read_bytes()


def test_boxes_without_outlines(tmp_path):
    draw_archive(ArchiveSpec(tmp_path / "o", slides=1, width=300, height=300, outlines=False))
    truth = json.loads((tmp_path / "o" / "truth.json").read_text())
    assert all(a["segmentation"] == [] and a["area"] > 0 for a in truth["annotations"])


@pytest.mark.parametrize("text", ["", "4096", "4096x", "x4096", "-5x5", "0x10", "4096x4096x3", "a x b", "9999999x5"])
def test_sizes_that_make_no_sense(text):
    with pytest.raises(UsageError, match="--size"):
        parse_size(text)


def test_sizes_that_do():
    assert parse_size("37x1") == (37, 1)
    assert parse_size("100X200") == (100, 200)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"slides": 0}, "one slide"),
        ({"format": "bmp"}, "tiff, jpeg, png, mixed"),
        ({"format": "png", "width": 20000, "height": 20000}, "--format tiff"),
        ({"mpp": 0.0}, "mpp"),
        ({"profile": "round"}, "profile"),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_touched(wrong, says, tmp_path):
    with pytest.raises(UsageError, match=says):
        draw_archive(ArchiveSpec(**({"output": tmp_path / "o", "width": 50, "height": 50} | wrong)))
    assert not (tmp_path / "o").exists()


def test_a_folder_in_use_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"not empty.*--force"):
        draw_archive(ArchiveSpec(tmp_path, slides=1, width=50, height=50))
    draw_archive(ArchiveSpec(tmp_path, slides=2, width=50, height=50, force=True, labels=True, broken=True))
    draw_archive(ArchiveSpec(tmp_path, slides=1, width=50, height=50, force=True, format="png"))
    assert {p.name for p in tmp_path.rglob("*")} == {"mine.txt", "slide_000.png", "truth.json", "labels"}
    with pytest.raises(UsageError, match="not a folder"):
        draw_archive(ArchiveSpec(tmp_path / "mine.txt", slides=1))


def test_the_command_line_passes_errors_up():
    with pytest.raises(UsageError, match="WIDTHxHEIGHT"):
        CliRunner().invoke(app, ["synth", "--output", "x", "--size", "big"], catch_exceptions=False)


def test_a_folder_that_cannot_be_written_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        draw_archive(ArchiveSpec(tmp_path / "file" / "below", slides=1, width=50, height=50))
