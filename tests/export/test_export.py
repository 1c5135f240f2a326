"""Every format is read back by its own reader and holds every cell of every slide once."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from pyarrow import parquet
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from shapely.geometry import box, shape
from typer.testing import CliRunner

from pbsbatch.cli import app
from pbsbatch.errors import StoreError, UsageError
from pbsbatch.export import FORMATS, cells, export
from pbsbatch.results import Run, open_run
from pbsbatch.testing.oracle import CLASSES, cell_class
from tests.export.conftest import NAMES, Truth
from tests.outlines import filled, largest_piece


def ids_of(labels) -> list[int]:  # type: ignore[no-untyped-def]
    return [int(v) for v in np.unique(labels) if v]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own
def test_coco_is_read_by_pycocotools_and_its_polygons_are_the_masks(run: Run, truth: Truth, tmp_path: Path) -> None:
    done = export(run, "coco", tmp_path / "cells.json")
    data = COCO(str(tmp_path / "cells.json"))
    assert done.cells == len(data.anns) == sum(len(ids_of(labels)) for labels in truth.values())
    assert [c["name"] for c in data.loadCats(data.getCatIds())] == list(CLASSES)
    for image in data.loadImgs(data.getImgIds()):
        labels = truth[image["file_name"]]
        assert (image["height"], image["width"]) == labels.shape
        stored = run.slide(image["file_name"]).store.labels(0).read(0, 0, labels.shape[1], labels.shape[0])
        found = data.loadAnns(data.getAnnIds(imgIds=[image["id"]]))
        assert len(found) == len(ids_of(labels))
        for annotation in found:
            drawn = coco_mask.decode(data.annToRLE(annotation)).astype(bool)
            x, y, w, h = annotation["bbox"]
            number = int(labels[stored == annotation["attributes"]["cell"]][0])
            mine = labels == number
            assert annotation["area"] == mine.sum()
            assert CLASSES[int(cell_class(np.array([number]))[0])] == CLASSES[annotation["category_id"] - 1]
            rows, cols = np.nonzero(mine)
            assert (x, y, w, h) == (cols.min(), rows.min(), np.ptp(cols) + 1, np.ptp(rows) + 1)
            solid = filled(largest_piece(mine))
            cross = np.ones((3, 3), np.uint8)
            near = cv2.dilate(solid, cross) - cv2.erode(solid, cross, borderType=cv2.BORDER_CONSTANT, borderValue=0)
            assert not ((drawn != solid.astype(bool)) & (near == 0)).any()


def test_geojson_is_what_qupath_opens(run: Run, truth: Truth, tmp_path: Path) -> None:
    export(run, "geojson", tmp_path / "all")
    assert sorted(p.stem for p in (tmp_path / "all").iterdir()) == sorted(s.id for s in run)
    export(run, "geojson", tmp_path / "one.geojson", slides=[run.slide(NAMES[0])])
    table = json.loads((tmp_path / "one.geojson").read_text())
    assert table["type"] == "FeatureCollection" and len(table["features"]) == len(ids_of(truth[NAMES[0]]))
    for feature in table["features"]:
        polygon = shape(feature["geometry"])
        assert polygon.is_valid and polygon.area > 0
        said = feature["properties"]
        assert said["objectType"] == "detection" and said["classification"]["name"] in CLASSES
        assert len(said["classification"]["color"]) == 3
        # a scale of 0.25 um per pixel
        assert said["measurements"]["area um^2"] == pytest.approx(said["measurements"]["area px"] / 16, abs=1e-3)


def test_cvat_xml_names_images_and_cells(run: Run, truth: Truth, tmp_path: Path) -> None:
    export(run, "cvat", tmp_path / "cvat.xml")
    root = ElementTree.fromstring((tmp_path / "cvat.xml").read_text())
    assert root.findtext("version") == "1.1" and root.findtext("meta/task/size") == "2"
    assert [e.findtext("name") for e in root.findall("meta/task/labels/label")] == list(CLASSES)
    for image in root.findall("image"):
        labels = truth[image.attrib["name"]]
        assert (int(image.attrib["height"]), int(image.attrib["width"])) == labels.shape
        polygons = image.findall("polygon")
        assert len(polygons) == len(ids_of(labels))
        numbers = [int(p.findtext("attribute[@name='cell']") or 0) for p in polygons]
        assert numbers == list(range(1, len(polygons) + 1))
        assert all(len(p.attrib["points"].split(";")) >= 3 for p in polygons)
        assert {p.findtext("attribute[@name='type']") for p in polygons} == {"none"}


def test_the_json_of_outlines_keeps_its_contract(run: Run, truth: Truth, tmp_path: Path) -> None:
    export(run, "json", tmp_path / "masks.json")
    data = json.loads((tmp_path / "masks.json").read_text())["data"]
    assert list(data) == ["0", "1"]
    for entry in data.values():
        assert (entry["height"], entry["width"]) == truth[entry["filename"]].shape
        assert len(entry["masks"]) == len(ids_of(truth[entry["filename"]]))
        for mask in entry["masks"]:
            assert set(mask) == {"class_name", "score", "bounding_box", "vertices"}
            b = mask["bounding_box"]
            around = box(b["x1"] - 1, b["y1"] - 1, b["x2"] + 1, b["y2"] + 1)
            assert around.contains(shape({"type": "Polygon", "coordinates": [mask["vertices"]]}))


def test_csv_and_parquet_hold_the_same_rows(run: Run, truth: Truth, tmp_path: Path) -> None:
    export(run, "csv", tmp_path / "cells.csv")
    export(run, "parquet", tmp_path / "cells.parquet")
    with (tmp_path / "cells.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    table = parquet.read_table(tmp_path / "cells.parquet").to_pydict()
    assert len(rows) == len(table["id"]) == sum(len(ids_of(labels)) for labels in truth.values())
    assert {r["slide"] for r in rows} == {NAMES[0], f"'{NAMES[1]}"}  # no spreadsheet runs it as a formula
    assert set(table["slide"]) == set(NAMES)
    assert [float(r["diameter_um"]) for r in rows] == table["diameter_um"]
    assert table["type"] == [None] * len(rows) and {r["type"] for r in rows} == {""}
    areas = sorted(int((labels == i).sum()) for labels in truth.values() for i in ids_of(labels))
    assert sorted(table["area_px"]) == areas


def test_crops_show_the_cell(run: Run, truth: Truth, tmp_path: Path) -> None:
    done = export(run, "crops", tmp_path / "crops", classes=("WBC", "Platelet"))
    files = sorted((tmp_path / "crops").rglob("*.png"))
    assert {p.parent.name for p in files} == {"WBC", "Platelet"} and len(files) == done.cells
    slide = run.slide(NAMES[0])
    wanted = np.isin(slide.cells["class"], [1, 2])
    assert sum(p.name.startswith(slide.id) for p in files) == wanted.sum()
    number = int(slide.cells["id"][wanted][0])
    picture = cv2.imread(str(next(p for p in files if p.stem == f"{slide.id}-{number}")))
    centre = picture[picture.shape[0] // 2, picture.shape[1] // 2, ::-1].astype(int)
    x, y = (float(slide.cells[a][number - 1] + slide.cells[b][number - 1]) / 2 for a, b in (("x0", "x1"), ("y0", "y1")))
    shown = truth[NAMES[0]][int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2]
    assert int(centre[0]) << 16 | int(centre[1]) << 8 | int(centre[2]) in (*shown.ravel(), 0xFFFFFF)


def test_windows_do_not_change_an_outline(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    slide = run.slide(NAMES[1]).store
    whole = list(cells.stream(slide))
    monkeypatch.setattr(cells, "ROWS", 7)
    monkeypatch.setattr(cells, "BAND_PX", 100)
    monkeypatch.setattr(cells, "WINDOW_PX", 130)
    pieces = list(cells.stream(slide))
    assert len(pieces) > 5
    np.testing.assert_array_equal(np.concatenate([c.points for c in whole]), np.concatenate([c.points for c in pieces]))
    np.testing.assert_array_equal(np.concatenate([c.columns["id"] for c in pieces]), np.arange(1, slide.info.cells + 1))


def test_of_an_unfinished_run_the_finished_slides_are_exported_and_it_is_said(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(run[0].path, out / "slides" / run[0].path.name)
    asked = ["export", str(out), "--format", "csv", "--output", str(tmp_path / "cells.csv")]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0 and "has not finished" in done.output and "of 1 slide:" in done.output
    assert len((tmp_path / "cells.csv").read_text().splitlines()) == 1 + run[0].store.info.cells
    with pytest.raises(UsageError, match=r"the run has not finished.*put them back, or run again"):
        export(open_run(out), "crops", tmp_path / "crops")  # nothing says yet where its slides lie
    assert not (tmp_path / "crops").exists()


def test_an_older_store_is_refused_with_the_cure_and_nothing_is_left(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.path, tmp_path / "out")
    about = tmp_path / "out" / "slides" / run[1].path.name / "zarr.json"
    about.write_text(about.read_text().replace('"version": 2', '"version": 1'))
    with pytest.raises(StoreError, match=r"results version 1, this is 2.*Run the slide again"):
        export(open_run(tmp_path / "out"), "csv", tmp_path / "cells.csv")
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    again = open_run(tmp_path / "out")
    assert export(again, "csv", tmp_path / "cells.csv", slides=[again[0]]).slides == 1  # the others can be had


def test_what_cannot_be_exported_is_said(run: Run, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("mine")
    with pytest.raises(UsageError, match=r"stands there already.*--force"):
        export(run, "csv", tmp_path / "there")
    assert (tmp_path / "there").read_text() == "mine"
    export(run, "csv", tmp_path / "there", force=True)
    assert (tmp_path / "there").read_text().startswith("slide,id,")
    with pytest.raises(UsageError, match=r"no format 'xls'.*coco"):
        export(run, "xls", tmp_path / "x")
    with pytest.raises(UsageError, match="no finished slide"):
        export(run, "csv", tmp_path / "x", slides=[])
    assert [p.name for p in tmp_path.iterdir()] == ["there"]
    assert set(FORMATS) == {"coco", "geojson", "cvat", "json", "csv", "parquet", "anndata", "spatialdata", "crops"}
