"""What people corrected is in every format alike, and says so; --as-run gives the bytes of before."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from pbsbatch.cli import app
from pbsbatch.export import export
from pbsbatch.ledger import LEDGER, Correction, Label, append, writing
from pbsbatch.results import Run, open_run
from tests.export.conftest import NAMES

SQUARE = ((100.0, 200.0), (140.5, 200.0), (140.5, 260.0), (100.0, 260.0))
AREA = round(40.5 * 60)
DONE = {1: "renamed", 3: "outlined", 5: "renamed and outlined"}  # by the cell's number
Found = Counter[tuple[str, str, str]]  # class, type, what was done


@pytest.fixture(scope="module")
def corrected(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run with a ledger: some cells of its first slide renamed, outlined, taken away, added."""
    out: Path = tmp_path_factory.mktemp("corrected") / "out"
    shutil.copytree(run.path, out)
    slide = run.slide(NAMES[0])
    key, cells = slide.store.info.key, slide.store.info.cells

    def said(cell: int, new: Label | None, outline: Any = None, store: str = key) -> Correction:
        kind = slide.store.classes[int(slide.cells["class"][cell - 1])] if cell <= cells else ""
        return Correction(
            slide.id, store, cell, Label(kind) if kind else None, new, outline, "ada", "2026", "why", "0" * 64
        )

    found = [slide.store.classes[i] for i in slide.cells["class"]]
    corrections = [
        said(1, Label("../blast", "odd")), said(2, None), said(3, Label(found[2]), SQUARE),
        said(4, Label("x")), said(4, Label(found[3])), said(5, Label("WBC", "odd"), SQUARE),
        said(6, None, store="of another run"), said(cells + 1, Label("WBC"), SQUARE),
        said(cells + 2, Label("WBC"), SQUARE), said(cells + 2, None),
    ]  # fmt: skip
    with writing(out, out / "lock") as ledger:
        append(ledger, corrections)
    return open_run(out)


def wanted(run: Run) -> Found:
    """Return what the first slide's cells are now."""
    slide = run.slide(NAMES[0])
    table = slide.cells
    now = {i: (slide.store.classes[k], "", "") for i, k in zip(table["id"].tolist(), table["class"], strict=True)}
    del now[2]
    now[1], now[3], now[5] = ("../blast", "odd", DONE[1]), (now[3][0], "", DONE[3]), ("WBC", "odd", DONE[5])
    return Counter([*now.values(), ("WBC", "", "added")])


def of_csv(path: Path) -> Found:
    with path.open(newline="") as handle:
        rows = [r for r in csv.DictReader(handle) if r["slide"] == NAMES[0]]
    return Counter((r["class"], r["type"], r["corrected"]) for r in rows)


def of_parquet(path: Path) -> Found:
    rows = [r for r in parquet.read_table(path).to_pylist() if r["slide"] == NAMES[0]]
    return Counter((r["class"], r["type"] or "", r["corrected"] or "") for r in rows)


def of_anndata(path: Path) -> Found:
    obs = pytest.importorskip("anndata", reason="anndata is not installed").read_h5ad(path).obs
    rows = obs[obs["slide"] == NAMES[0]].astype(object).fillna("")
    return Counter(zip(rows["class"], rows["type"], rows["corrected"], strict=True))


def of_coco(path: Path) -> Found:
    data = json.loads(path.read_text())
    names = {c["id"]: c["name"] for c in data["categories"]}
    (image,) = [i["id"] for i in data["images"] if i["file_name"] == NAMES[0]]
    found = [a for a in data["annotations"] if a["image_id"] == image]
    return Counter(
        (names[a["category_id"]], a["attributes"].get("type", ""), a["attributes"].get("corrected", "")) for a in found
    )


def of_geojson(path: Path) -> Found:
    said = [f["properties"] for f in json.loads(path.read_text())["features"]]
    names = [(*p["classification"]["name"].split(": "), "")[:2] for p in said]
    return Counter((*n, p.get("metadata", {}).get("corrected", "")) for n, p in zip(names, said, strict=True))


def of_json(path: Path) -> Found:
    (image,) = [i for i in json.loads(path.read_text())["data"].values() if i["filename"] == NAMES[0]]
    return Counter((m["class_name"], "", m.get("corrected", "")) for m in image["masks"])


def of_cvat(path: Path) -> Found:
    (image,) = [i for i in ElementTree.parse(path).getroot().findall("image") if i.get("name") == NAMES[0]]
    kinds = [(p.get("label") or "", p.findtext("attribute[@name='type']") or "") for p in image.findall("polygon")]
    return Counter((name, kind.replace("none", ""), "") for name, kind in kinds)


READERS: dict[str, tuple[Callable[[Path], Found], bool, bool]] = {  # whether it says types, and what was done
    "csv": (of_csv, True, True), "parquet": (of_parquet, True, True), "anndata": (of_anndata, True, True),
    "coco": (of_coco, True, True), "geojson": (of_geojson, True, True), "json": (of_json, False, True),
    "cvat": (of_cvat, True, False),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # anndata's own
@pytest.mark.parametrize("which", READERS)
def test_every_format_holds_the_cells_as_people_corrected_them(
    run: Run, corrected: Run, tmp_path: Path, which: str
) -> None:
    read, types, done = READERS[which]
    slides = [corrected.slide(NAMES[0])] if which == "geojson" else None
    told = export(corrected, which, tmp_path / "now", slides=slides)
    assert read(tmp_path / "now") == Counter(
        (name, kind if types else "", what if done else "") for name, kind, what in wanted(run).elements()
    )
    assert told.corrected == 7  # 1 to 5, and the two that were added; that of another run is none
    if which == "anndata":
        return  # its files hold the time
    export(corrected, which, tmp_path / "found", slides=slides, as_run=True)
    export(run, which, tmp_path / "before", slides=slides and [run.slide(NAMES[0])])
    assert (tmp_path / "found").read_bytes() == (tmp_path / "before").read_bytes()
    assert (tmp_path / "now").read_bytes() != (tmp_path / "found").read_bytes()


def test_numbers_are_those_of_what_people_drew_and_their_word_has_the_score_one(corrected: Run, tmp_path: Path) -> None:
    export(corrected, "csv", tmp_path / "now.csv")
    export(corrected, "csv", tmp_path / "found.csv", as_run=True)
    now, found = ({r["id"]: r for r in rows_of(tmp_path / name)} for name in ("now.csv", "found.csv"))
    cells = corrected.slide(NAMES[0]).store.info.cells
    assert list(now) == [str(i) for i in range(1, cells + 2) if i != 2]  # in order, the added one last
    assert {i for i in found if now.get(i) != found[i]} == {"1", "2", "3", "5"}
    for number in ("3", "5", str(cells + 1)):
        row = now[number]
        assert [float(row[n]) for n in ("x0", "y0", "x1", "y1")] == [100.0, 200.0, 140.5, 260.0]
        assert int(row["area_px"]) == AREA and float(row["area_um2"]) == pytest.approx(AREA / 16)  # 0.25 um per pixel
    assert now["3"]["score"] == found["3"]["score"] != "1.0" and now["3"]["type_score"] == ""
    assert now["1"]["score"] == now["5"]["type_score"] == now[str(cells + 1)]["score"] == "1.0"
    assert [now["1"][n] for n in ("x0", "area_px")] == [found["1"][n] for n in ("x0", "area_px")]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as handle:
        return [r for r in csv.DictReader(handle) if r["slide"] == NAMES[0]]


def test_outlines_are_those_that_people_drew(corrected: Run, tmp_path: Path) -> None:
    export(corrected, "coco", tmp_path / "now.json", slides=[corrected.slide(NAMES[0])])
    data = json.loads((tmp_path / "now.json").read_text())
    drawn = {a["attributes"]["cell"]: a for a in data["annotations"]}
    cells = corrected.slide(NAMES[0]).store.info.cells
    for number in (3, 5, cells + 1):
        assert drawn[number]["segmentation"] == [np.array(SQUARE).ravel().tolist()]
        assert drawn[number]["bbox"] == [100.0, 200.0, 40.5, 60.0] and drawn[number]["area"] == AREA
    assert drawn[1]["segmentation"] != drawn[3]["segmentation"]


def test_crops_lie_in_folders_of_what_people_said_and_nowhere_else(corrected: Run, tmp_path: Path) -> None:
    slide = corrected.slide(NAMES[0])
    export(corrected, "crops", tmp_path / "crops", slides=[slide], classes=("WBC", "../blast"))
    names = {p.relative_to(tmp_path / "crops").as_posix() for p in (tmp_path / "crops").rglob("*.png")}
    assert {
        f"odd/{slide.id}-1.png",
        f"odd/{slide.id}-5.png",
        f"WBC/{slide.id}-{slide.store.info.cells + 1}.png",
    } <= names
    assert f"WBC/{slide.id}-2.png" not in names
    plain = Correction(slide.id, slide.store.info.key, 1, None, Label("../blast"), None, "ada", "2026", "why", "1" * 64)
    shutil.copytree(corrected.path, tmp_path / "out")
    with writing(tmp_path / "out", tmp_path / "lock") as ledger:
        append(ledger, [plain])
    export(open_run(tmp_path / "out"), "crops", tmp_path / "blasts", slides=None, classes=("../blast",))
    assert [p.parent.relative_to(tmp_path / "blasts").as_posix() for p in (tmp_path / "blasts").rglob("*.png")] == [
        "_blast"
    ]
    assert not (tmp_path / "blast").exists()


def test_the_command_says_it_and_a_damaged_ledger_is_refused_but_not_as_run(corrected: Run, tmp_path: Path) -> None:
    asked = ["export", str(corrected.path), "--format", "csv", "--output"]
    done = CliRunner().invoke(app, [*asked, str(tmp_path / "a.csv")])
    assert done.exit_code == 0 and "7 cells as corrected by hand" in done.output
    done = CliRunner().invoke(app, [*asked, str(tmp_path / "b.csv"), "--as-run"])
    assert done.exit_code == 0 and "corrected" not in done.output
    shutil.copytree(corrected.path, tmp_path / "out")
    (tmp_path / "out" / LEDGER).write_text("no ledger\n")
    asked[1] = str(tmp_path / "out")
    damaged = CliRunner().invoke(app, [*asked, str(tmp_path / "c.csv")])
    assert damaged.exit_code != 0 and "line 1 of the ledger" in str(damaged.exception)
    assert not (tmp_path / "c.csv").exists()
    assert CliRunner().invoke(app, [*asked, str(tmp_path / "c.csv"), "--as-run"]).exit_code == 0
