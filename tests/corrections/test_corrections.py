"""Labels corrected in CVAT come back: what was changed, nothing else, once, and no line of the ledger ever goes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from typer.testing import CliRunner

from pbsbatch.cli import app
from pbsbatch.corrections import bring, compare, cvat_file
from pbsbatch.corrections.bring import Brought, bring_back
from pbsbatch.errors import OutputError, StoreError, UsageError
from pbsbatch.export import export
from pbsbatch.ledger import LEDGER, Correction, Label, Ledger, append, writing
from pbsbatch.report import write_report
from pbsbatch.results import Run, open_run
from pbsbatch.run.output import locked
from pbsbatch.store import Preview, Store
from pbsbatch.testing.stores import KEY, draw_smear

NAME, GONE = 'day 1/a<b>&"c.svs', "b.svs"
Edit = Callable[[ElementTree.Element], None]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out: Path = tmp_path_factory.mktemp("corrections") / "out"
    (out / ".pbsbatch").mkdir(parents=True)
    for seed, slide_id in enumerate(("a-1", "b-2")):
        smear = draw_smear(seed + 1, 700, 500, 120)
        header = replace(smear.header, slide_id=slide_id, types=("lobed", "round", "unsure"))
        store = Store.begin(out, header, KEY)
        for k, strip in enumerate(smear.strips):
            store.append(k, *strip)
        store.commit(Preview(np.full((50, 70, 3), 200, np.uint8), 10.0))
    rows = [
        "slide,status,store",
        f'"{NAME.replace(chr(34), chr(34) * 2)}",ok,slides/a-1.zarr',
        f"{GONE},ok,slides/b-2.zarr",
    ]
    (out / "summary.csv").write_text("\n".join(rows) + "\n")
    return out


@pytest.fixture
def out(results: Path, tmp_path: Path) -> Path:
    shutil.copytree(results, tmp_path / "out")
    return tmp_path / "out"


def written(out: Path, *, name: str = "cells.xml") -> Path:
    """Export both slides for CVAT."""
    path = out.parent / name
    export(open_run(out), "cvat", path, force=True)
    return path


def edited(path: Path, *edits: Edit) -> Path:
    """Change a file as a person does in CVAT."""
    tree = ElementTree.parse(path)
    for edit in edits:
        edit(tree.getroot())
    tree.write(path)
    return path


def brought(out: Path, path: Path, **said: object) -> Brought:
    return bring_back(out, path, user="ada", reason="second reading", **said)  # type: ignore[arg-type]


def shape(root: ElementTree.Element, cell: int, image: int = 0) -> ElementTree.Element:
    return next(s for s in root.findall("image")[image] if s.findtext("attribute[@name='cell']") == str(cell))


def named(cell: int, label: str, kind: str = "", image: int = 0) -> Edit:
    def edit(root: ElementTree.Element) -> None:
        shape(root, cell, image).set("label", label)
        if kind:
            found = shape(root, cell, image).find("attribute[@name='type']")
            assert found is not None
            found.text = kind

    return edit


def removed(cell: int) -> Edit:
    return lambda root: root.findall("image")[0].remove(shape(root, cell))


def moved(cell: int, by: float) -> Edit:
    def edit(root: ElementTree.Element) -> None:
        pairs = [pair.split(",") for pair in shape(root, cell).attrib["points"].split(";")]
        shape(root, cell).set("points", ";".join(f"{float(x) + by:.2f},{y}" for x, y in pairs))

    return edit


def added(label: str) -> Edit:
    """Draw a box, which CVAT gives attributes without values."""

    def edit(root: ElementTree.Element) -> None:
        corners = {"xtl": "10.00", "ytl": "20.50", "xbr": "30.25", "ybr": "41.00"}
        box = ElementTree.SubElement(root.findall("image")[0], "box", {"label": label, "occluded": "0", **corners})
        ElementTree.SubElement(box, "attribute", {"name": "cell"}).text = ""

    return edit


def label_of(run: Run, cell: int, which: int = 0) -> Label:
    store = run[which].store
    kind, sort = (int(store.cells[name][cell - 1]) for name in ("class", "type"))
    return Label(store.classes[kind], store.types[sort] if sort < len(store.types) else "")


def test_what_was_not_touched_is_no_correction(out: Path) -> None:
    assert brought(out, written(out)).corrections == 0
    assert not (out / LEDGER).exists() and open_run(out).corrections == ()


def test_what_a_person_changed_comes_back_once_and_no_line_ever_goes(out: Path) -> None:
    run = open_run(out)
    assert [slide.name for slide in run] == [NAME, GONE]
    cells = run[0].store.info.cells
    other = next(name for name in run[0].store.classes if name != label_of(run, 3).name)
    path = edited(
        written(out),
        named(3, other, "round"),
        named(5, "blast"),
        removed(7),
        moved(9, 1.5),
        added("wbc"),
        named(4, other, image=1),
    )
    done = brought(out, path, now=lambda: datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert done.kinds == {"renamed": 3, "removed": 1, "outlined": 1, "added": 1} and done.new_names == ("blast",)
    again = open_run(out)
    said = {one.cell: one for one in again[0].corrections}
    assert set(said) == {3, 5, 7, 9, cells + 1} and [c.cell for c in again[1].corrections] == [4]
    assert (said[3].old, said[3].new, said[3].outline) == (label_of(run, 3), Label(other, "round"), None)
    assert said[5].new == Label("blast", label_of(run, 5).type)
    assert (said[7].old, said[7].new) == (label_of(run, 7), None)
    assert said[9].old == said[9].new == label_of(run, 9) and said[9].outline is not None
    assert (said[cells + 1].old, said[cells + 1].new) == (None, Label("wbc"))
    assert said[cells + 1].outline == ((10.0, 20.5), (30.25, 20.5), (30.25, 41.0), (10.0, 41.0))
    assert {(c.user, c.utc, c.reason) for c in again.corrections} == {
        ("ada", "2026-01-02T03:04:05+00:00", "second reading")
    }
    before = (out / LEDGER).read_bytes()
    assert brought(out, path).corrections == 0  # the same file once more
    assert brought(out, written(out)).corrections == 0  # what is written now holds all that was said
    assert (out / LEDGER).read_bytes() == before
    next_one = edited(written(out), named(3, "blast"), removed(cells + 1))
    assert brought(out, next_one).kinds == {"renamed": 1, "removed": 1}
    after = (out / LEDGER).read_bytes()
    assert after.startswith(before) and after.count(b"\n") == 8
    assert brought(out, path).corrections == 0  # the first file takes nothing back
    assert (out / LEDGER).read_bytes() == after


def test_an_older_file_takes_nothing_back_that_was_corrected_since(out: Path) -> None:
    older = written(out, name="older.xml")
    brought(out, edited(written(out), named(3, "blast"), removed(7), moved(9, 2.0), added("wbc")))
    before = (out / LEDGER).read_bytes()
    assert brought(out, older).corrections == 0
    done = brought(out, edited(older, named(11, "blast")))
    assert done.kinds == {"renamed": 1}
    assert (out / LEDGER).read_bytes().startswith(before)


def test_of_a_copy_the_one_that_was_not_moved_is_the_cell(out: Path) -> None:
    def copied(root: ElementTree.Element) -> None:
        image = root.findall("image")[0]
        copy = ElementTree.fromstring(ElementTree.tostring(shape(root, 6)))
        moved_points = ";".join(
            f"{float(p.split(',')[0]) + 40:.2f},{p.split(',')[1]}" for p in copy.attrib["points"].split(";")
        )
        copy.set("points", moved_points)
        image.insert(0, copy)

    done = brought(out, edited(written(out), copied))
    assert done.kinds == {"added": 1}
    (one,) = open_run(out).corrections
    assert one.cell == open_run(out)[0].store.info.cells + 1 and one.new == label_of(open_run(out), 6)


def test_a_file_without_most_of_its_shapes_is_taken_for_a_mistake(out: Path) -> None:
    def emptied(root: ElementTree.Element) -> None:
        for each in list(root.findall("image")[1]):
            root.findall("image")[1].remove(each)

    path = edited(written(out), emptied)
    cells = open_run(out)[1].store.info.cells
    with pytest.raises(UsageError, match=rf"takes {cells} of these away.*--force"):
        brought(out, path)
    assert not (out / LEDGER).exists()
    assert brought(out, path, force=True).kinds == {"removed": cells}


def test_corrections_of_a_slide_that_was_computed_again_stay_and_are_not_applied(out: Path) -> None:
    brought(out, edited(written(out), named(3, "blast")))
    about = json.loads((out / "slides" / "a-1.zarr" / "zarr.json").read_text())
    about["attributes"]["pbsbatch"]["store"]["key"] = "f" * 64
    (out / "slides" / "a-1.zarr" / "zarr.json").write_text(json.dumps(about))
    run = open_run(out)
    assert run[0].corrections == () and len(run.corrections) == 1
    assert "blast" not in written(out).read_text()


HOSTILE = {
    "entities": ('<!DOCTYPE a [<!ENTITY x "y"><!ENTITY z "&x;&x;&x;">]>{file}', "document type"),
    "outside": ('<!DOCTYPE a SYSTEM "file:///etc/passwd">{file}', "document type"),
    "not xml": ("PK\x03\x04", "XML is damaged"),
    "cut off": ("{half}", "XML is damaged"),
    "another root": ("<html/>", "not those of CVAT"),
    "no version": ("<annotations/>", "says no version"),
    "a video": ("<annotations><version>1.1</version><track/></annotations>", "tracks"),
    "another version": ("<annotations><version>2.0</version></annotations>", "version is '2.0'"),
    "deep": ("<annotations>" + "<a>" * 40, "not those of CVAT"),
    "an endless tag": ('<annotations a="' + "x" * (6 << 20), "a tag without an end"),
    "no size": ('<annotations><image name="a" width="-1" height="5"/></annotations>', "without a name or a size"),
    "no numbers": ("{image}<polygon label='a' points='1,2;x,4;5,6'/>", "no numbers"),
    "not a number": ("{image}<polygon label='a' points='1,2;nan,4;5,6'/>", "beyond its image"),
    "far away": ("{image}<polygon label='a' points='1,2;1e30,4;5,6'/>", "beyond its image"),
    "two points": ("{image}<polygon label='a' points='1,2;3,4'/>", "of 2 points"),
    "very many points": ("{image}<polygon label='a' points='" + "1,2;" * 20_001 + "'/>", "more than 20,000 points"),
    "no label": ("{image}<polygon points='1,2;3,4;5,9'/>", "no label"),
    "a long label": ("{image}<polygon label='" + "a" * 2000 + "' points='1,2;3,4;5,9'/>", "too long"),
    "a label of two lines": ("{image}<polygon label='a&#10;b' points='1,2;3,4;5,9'/>", "control characters"),
}


@pytest.mark.parametrize("which", HOSTILE)
def test_a_hostile_or_damaged_file_is_refused_and_changes_nothing(out: Path, which: str) -> None:
    path, (text, why) = written(out), HOSTILE[which]
    whole = path.read_text()
    image = f'<annotations><version>1.1</version><image name="{GONE}" width="700" height="500">'
    closed = "" if "<polygon" not in text else "</image></annotations>"
    body = whole.partition("?>")[2]
    path.write_text(
        text.replace("{file}", body).replace("{half}", whole[: len(whole) // 2]).replace("{image}", image) + closed
    )
    with pytest.raises(UsageError, match=why) as error:
        brought(out, path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 1000
    assert not (out / LEDGER).exists()


def test_too_many_bytes_shapes_or_labels_are_refused(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(out)
    for name, most, why in (
        ("MOST_SHAPES", 50, "50 shapes"),
        ("MOST_LABELS", 1, "1 labels"),
        ("MOST_BYTES", 100, "GB"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(cvat_file, name, most)
            with pytest.raises(UsageError, match=why):
                AnnotationFile = cvat_file.AnnotationFile
                AnnotationFile(path)


@pytest.mark.parametrize(("name", "why"), [
    ("../../etc/passwd", "no slide of the run is called"), ("zzz.svs", "no slide of the run is called"),
    ("b.svs", "two images are of the slide"),
])  # fmt: skip
def test_an_image_that_fits_no_slide_is_refused(out: Path, name: str, why: str) -> None:
    path = edited(written(out), lambda root: root.findall("image")[0].set("name", name))
    with pytest.raises(UsageError, match=why):
        brought(out, path)


def test_an_image_is_known_by_its_last_name_and_refused_by_its_size(out: Path) -> None:
    def renamed(root: ElementTree.Element) -> None:
        root.findall("image")[0].set("name", "task 5/" + NAME.rpartition("/")[2].replace(".svs", ".png"))

    assert brought(out, edited(written(out), renamed, named(3, "blast"))).corrections == 1
    path = edited(written(out), lambda root: root.findall("image")[1].set("width", "701"))
    with pytest.raises(UsageError, match=r"701 x 500 px, the slide b.svs is 700 x 500"):
        brought(out, path)


def a_correction(cell: int) -> Correction:
    return Correction("a-1", KEY, cell, Label("RBC"), Label("WBC"), None, "ada", "2026", "why", "0" * 64)


def test_a_full_disk_leaves_the_ledger_as_it_was(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = edited(written(out), named(3, "blast"))
    brought(out, path)
    before = (out / LEDGER).read_bytes()

    def full(file: object, data: bytes) -> None:
        os.write(file.fileno(), data[:40])  # type: ignore[attr-defined]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pbsbatch.ledger.write_all", full)
    with pytest.raises(OutputError, match="The disk is full"):
        brought(out, edited(written(out), named(4, "blast")))
    assert (out / LEDGER).read_bytes() == before


def test_a_line_that_a_power_cut_tore_is_none_and_a_damaged_one_is_said(out: Path) -> None:
    for _ in range(2):
        with writing(out, out / "lock") as ledger:
            append(ledger, [a_correction(1)])
        with (out / LEDGER).open("ab") as file:
            file.write(b'{"slide": "a-')
    assert len(Ledger(out).corrections) == 2
    (out / LEDGER).write_bytes((out / LEDGER).read_bytes().replace(b'"cell": 1', b'"cell": "1"', 1))
    with pytest.raises(StoreError, match="line 1 of the ledger"):
        _ = open_run(out).corrections
    with pytest.raises(StoreError, match="line 1 of the ledger"):
        brought(out, written_without_ledger(out))


def written_without_ledger(out: Path) -> Path:
    held = (out / LEDGER).read_bytes()
    (out / LEDGER).unlink()
    path = written(out)
    (out / LEDGER).write_bytes(held)
    return path


def test_while_a_run_is_at_work_nothing_is_imported(out: Path) -> None:
    path = written(out)
    held = os.fork()
    if held == 0:  # pragma: no cover - the kernel's lock is this process's own otherwise
        with locked(out):
            (out / "held").touch()
            while not (out / "go").exists():
                pass
        os._exit(0)
    try:
        while not (out / "held").exists():
            pass
        with pytest.raises(UsageError, match="a run is at work here"):
            brought(out, path)
    finally:
        (out / "go").touch()
        os.waitpid(held, 0)


def test_the_report_says_what_was_corrected_by_hand(out: Path) -> None:
    brought(out, edited(written(out), named(3, "blast"), named(5, "blast"), removed(7)))
    write_report(out, {})
    assert "3 cells were corrected by hand" in (out / "report.html").read_text()
    page = (out / "report" / "a-1.html").read_text()
    assert "2 renamed, 1 removed" in page
    assert "corrected by hand" not in (out / "report" / "b-2.html").read_text()


def test_the_command_says_what_came_back(out: Path) -> None:
    path = edited(written(out), named(3, "bla[st]"))
    done = CliRunner().invoke(app, ["data", "import-labels", str(out), str(path), "--reason", "x", "--user", "ada"])
    assert done.exit_code == 0 and "1 correction (1 renamed)" in done.output and "bla[st]" in done.output
    assert compare.MOST_CHANGED < 1 and bring.MOST_WORDS > 100
    with pytest.raises(UsageError, match="--reason is a few words"):
        bring_back(out, path, user="ada", reason=" ")
