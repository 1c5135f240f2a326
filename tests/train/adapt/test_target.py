"""Cells come from where a run cut them, or from a folder; labels find their cells; what is wrong is named."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from pbsbatch.config import Config
from pbsbatch.errors import UsageError
from pbsbatch.ledger import Correction, Label, append, writing
from pbsbatch.models.taxonomy import CALLED, TYPES
from pbsbatch.results import open_run
from pbsbatch.run import cluster
from pbsbatch.run.execute import execute
from pbsbatch.testing.oracle import fake_second_look, load_fake_engine, load_fake_oracle, load_fake_second_look
from pbsbatch.train.adapt import target as module
from pbsbatch.train.adapt.labels import Names, read_labels, read_mapping
from pbsbatch.train.adapt.target import read_target
from pbsbatch.train.classifier.crops import plain
from tests.oracle import draw_cells, write_oracle_slide
from tests.train.adapt.drawn import abroad, write_pictures

SECOND = fake_second_look()
FACTS = SECOND.classifier.folder.facts


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("target")
    (folder / "slides").mkdir()
    for n, name in enumerate(("a.tif", "b.tif")):
        write_oracle_slide(folder / "slides" / name, draw_cells(900 + 200 * n, 800, 60, seed=n))
    config = Config(inputs=(folder / "slides",), output=folder / "out", workers=1)
    loaders = cluster.Loaders(load_fake_oracle, load_fake_engine, load_fake_second_look)
    assert {r.status for r in execute(config, lambda event: None, loaders=loaders).results} == {"ok"}
    return folder / "out"


def test_a_runs_crops_are_what_the_run_was_shown(out: Path) -> None:
    found = read_target(out, FACTS, Names(), {}, mpp=None)
    assert found.left_out == () and not any(cell.label for cell in found.cells)
    called = {}
    for slide in open_run(out):
        white = slide.cells["class"] == slide.store.classes.index("WBC")
        for number, kind in zip(slide.cells["id"][white].tolist(), slide.cells["type"][white].tolist(), strict=True):
            called[f"{slide.id}:{number}"] = kind
    assert [cell.name for cell in found.cells] == list(called) and len(called) > 10
    crops = np.stack([plain(cell, FACTS.crop_px, FACTS.crop_mpp) for cell in found.cells])
    again, _ = SECOND.classifier.names(SECOND.engine(crops))
    assert again.tolist() == list(called.values())  # the fake tells the number that the middle pixel holds


def test_corrections_of_a_run_are_labels_and_the_file_wins(out: Path) -> None:
    run = open_run(out)
    first = run[0]
    white = first.cells["class"] == first.store.classes.index("WBC")
    one, two, three, four = first.cells["id"][white][:4].tolist()
    kind = {
        n: CALLED[k] for n, k in zip(first.cells["id"].tolist(), first.cells["type"].tolist(), strict=True) if k < 9
    }

    def said(cell: int, new: Label | None) -> Correction:
        old = Label("WBC", kind.get(cell, ""))
        return Correction(first.id, first.store.info.key, cell, old, new, None, "me", "now", "test", "0" * 64)

    other = {n: next(t for t in TYPES if t != kind.get(n)) for n in (one, two)}
    with writing(out, out / ".pbsbatch" / "ledger.lock") as ledger:
        append(ledger, [
            said(one, Label("WBC", other[one])), said(two, Label("WBC", other[two])), said(three, None),
            said(four, Label("RBC")),
        ])  # fmt: skip
    (out / "few.csv").write_text(f"slide,cell,label\n{first.name},{two},Basophils\n")
    found = read_target(out, FACTS, Names(), read_labels(out / "few.csv", Names()), mpp=None)
    labels = {cell.name: cell.label for cell in found.cells}
    assert labels[f"{first.id}:{one}"] == other[one] and labels[f"{first.id}:{two}"] == "basophil"
    assert f"{first.id}:{three}" not in labels and f"{first.id}:{four}" not in labels
    assert sum(map(bool, labels.values())) == 2


def test_a_slide_that_is_gone_costs_its_cells_alone(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = dict(module.originals(open_run(out)))
    gone = sorted(there)[0]
    monkeypatch.setattr(module, "originals", lambda run: {k: v for k, v in there.items() if k != gone})
    found = read_target(out, FACTS, Names(), {}, mpp=None)
    assert found.cells and not any(cell.name.startswith(gone) for cell in found.cells)
    assert len(found.left_out) == 1 and "is not where it was" in found.left_out[0]


def test_a_folder_gives_its_pictures_and_names_the_broken_ones(tmp_path: Path) -> None:
    cells = abroad(3)
    root = write_pictures(tmp_path / "crops", cells)
    (root / "broken.png").write_bytes(b"no picture")
    (root / "empty.jpg").write_bytes(b"")
    claim = struct.pack(">I4sIIBBBBB", 13, b"IHDR", 60_000, 60_000, 8, 2, 0, 0, 0)
    (root / "huge.png").write_bytes(b"\x89PNG\r\n\x1a\n" + claim)
    (root / "notes.txt").write_text("no picture, and none is meant")
    found = read_target(root, FACTS, Names(), {"monocyte-1.png": "monocyte"}, mpp=0.3)
    assert {cell.name for cell in found.cells} == {cell.name for cell in cells.cells}
    assert {cell.mpp for cell in found.cells} == {0.3}
    assert {cell.name: cell.label for cell in found.cells if cell.label} == {"monocyte-1.png": "monocyte"}
    assert [reason.split(": ")[1][:24] for reason in found.left_out] == [
        "it cannot be decoded. Me", "it cannot be decoded. Me", "3,600,000,000 pixels are",
    ]  # fmt: skip


def test_of_a_large_picture_the_middle_is_kept(tmp_path: Path) -> None:
    pixels = np.zeros((400, 700, 3), np.uint8)
    pixels[190:210, 340:360] = 255
    assert cv2.imwrite(str(tmp_path / "one.png"), pixels)
    cell = read_target(tmp_path, FACTS, Names(), {}, mpp=2 * FACTS.crop_mpp).cells[0]
    side = int(np.ceil(0.75 * FACTS.crop_px))
    assert cell.pixels.shape == (side, side, 3) and (cell.pixels[side // 2 - 8 : side // 2 + 8] == 255).any()
    assert np.array_equal(
        plain(cell, FACTS.crop_px, FACTS.crop_mpp),
        plain(replace(cell, pixels=pixels), FACTS.crop_px, FACTS.crop_mpp),
    )  # fmt: skip


def test_of_many_cells_all_labelled_ones_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 6)
    cells = abroad(5)
    root = write_pictures(tmp_path / "crops", cells)
    labels = {cell.name: cell.label for cell in cells.cells[::7]}
    found = read_target(root, FACTS, Names(), labels, mpp=None)
    assert len(found.cells) == 6 and {cell.name for cell in found.cells if cell.label} == set(labels)
    again = read_target(root, FACTS, Names(), labels, mpp=None)
    assert [cell.name for cell in again.cells] == [cell.name for cell in found.cells]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("crop,label\nx.png,Lymfocyte\n", r"no type of cell is called 'Lymfocyte'.*closest: lymphocyte"),
        ("crop,label\nx.png,monocyte\nx.png,basophil\n", "line 3 calls 'x.png' otherwise"),
        ("crop,label\nx.png\n", "line 2 has 1 values for 2 columns"),
        ("cell,label\n1,monocyte\n", "its first line names the columns cell, label"),
        ("", "its first line names the columns not"),
    ],
)
def test_labels_that_cannot_be_meant_are_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "few.csv").write_text(text)
    with pytest.raises(UsageError, match=said):
        read_labels(tmp_path / "few.csv", Names())


def test_labels_are_read_by_their_own_names_or_by_a_mapping(tmp_path: Path) -> None:
    (tmp_path / "map.csv").write_text("Seg,segmented_neutrophil\nartefact,-\n")
    (tmp_path / "few.csv").write_text("crop,type\na,Seg\nb,Band neutrophils\nc,artefact\nd,unsure\n")
    names = read_mapping(tmp_path / "map.csv")
    assert read_labels(tmp_path / "few.csv", names) == {"a": "segmented_neutrophil", "b": "band_neutrophil"}
    (tmp_path / "map.csv").write_text("Seg,neutrofil\n")
    with pytest.raises(UsageError, match=r"which is no type of cell.*neutrophil"):
        read_mapping(tmp_path / "map.csv")


def test_labels_of_no_cell_are_named(tmp_path: Path) -> None:
    root = write_pictures(tmp_path / "crops", abroad(1))
    with pytest.raises(UsageError, match=r"1 of 2 labels are of cells that are not there: nobody\.png"):
        read_target(root, FACTS, Names(), {"nobody.png": "monocyte", "monocyte-0.png": "monocyte"}, mpp=None)
    with pytest.raises(UsageError, match="no such folder"):
        read_target(tmp_path / "nowhere", FACTS, Names(), {}, mpp=None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no pictures here"):
        read_target(tmp_path / "empty", replace(FACTS), Names(), {}, mpp=None)
