"""Finding slides: what is one, what is not, how it is called, and what slides.csv says."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from pathlib import Path

import pytest

from pbsbatch.errors import UsageError
from pbsbatch.run.discovery import Discovery, discover
from tests.data import data

PNG = b"\x89PNG\r\n\x1a\n" + bytes(200)


def put(root: Path, *names: str, content: bytes = PNG) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def find(*inputs: Path, output: Path | None = None, mpp: float | None = None) -> Discovery:
    return discover(inputs, output=output, mpp=mpp)


def names(found: Discovery) -> list[str]:
    return [ref.name for ref in found.slides]


def test_walks_in_byte_order_of_the_relative_path(tmp_path: Path) -> None:
    put(tmp_path, "b.svs", "a/z.tif", "a/B.tif", "a.svs", "Z/x.png", "é.jpg", "a-1/q.tif")
    assert names(find(tmp_path)) == ["Z/x.png", "a-1/q.tif", "a.svs", "a/B.tif", "a/z.tif", "b.svs", "é.jpg"]


def test_ids_are_stems_with_a_hash_of_the_relative_path(tmp_path: Path) -> None:
    put(tmp_path / "one", "x/a b.svs", "y/a b.svs", "../two/x/a b.svs", f"{'n' * 200}.svs", "日本.svs")
    slides = find(tmp_path / "one").slides
    ids = [ref.id for ref in slides]
    assert len(set(ids)) == len(slides) and all(re.fullmatch(r"[A-Za-z0-9._-]{1,60}-[0-9a-f]{8}", i) for i in ids)
    assert sum(i.startswith("a_b-") for i in ids) == 2 and sum(i.startswith("slide-") for i in ids) == 1
    assert find(tmp_path / "two").slides[0].id in ids  # the same relative path elsewhere is the same id
    assert all(ref.sample == ref.id for ref in slides)


def test_several_inputs_stay_apart(tmp_path: Path) -> None:
    put(tmp_path, "p/run1/a.svs", "q/run1/a.svs", "q/run1/b.svs")
    found = find(tmp_path / "p/run1", tmp_path / "q/run1")
    assert names(found) == ["p/run1/a.svs", "q/run1/a.svs", "q/run1/b.svs"]
    assert len({ref.id for ref in found.slides}) == 3
    files = find(tmp_path / "p/run1/a.svs", tmp_path / "q/run1/a.svs", tmp_path / "q/run1/b.svs")
    assert names(files) == ["p/run1/a.svs", "q/run1/a.svs", "b.svs"]
    twice = find(tmp_path / "q/run1", tmp_path / "q/run1/a.svs")
    assert len(twice.slides) == 2 and "same file" in twice.excluded[0].reason


def test_hidden_sidecars_and_results_are_left_out(tmp_path: Path) -> None:
    put(
        tmp_path,
        "a.svs",
        ".hidden.svs",
        ".git/b.svs",
        "a.xml",
        "a.txt",
        "Thumbs.db",
        "__MACOSX/._a.svs",
        "annotations.json",
    )
    put(tmp_path, "out/slides/x.png", "results/slides/y.png", "other/c.svs")
    put(tmp_path, "results/run.json", content=b'{"program": "pbsbatch"}')
    put(tmp_path, "other/run.json", content=b'{"program": "someone else"}')
    (tmp_path / "marked/.pbsbatch").mkdir(parents=True)
    put(tmp_path, "marked/z.png")
    found = find(tmp_path, output=tmp_path / "out")
    assert names(found) == ["a.svs", "other/c.svs"]
    assert not found.skipped
    assert {e.path.name for e in found.excluded} >= {".hidden.svs", ".git", "a.txt", "out", "results", "marked"}


def test_what_cannot_be_a_slide_is_listed_with_the_reason(tmp_path: Path) -> None:
    put(tmp_path, "a.svs", "really a picture", "scan.dat1")
    put(tmp_path, "notes.txt", "program.exe", content=b"MZ hello")
    put(tmp_path, "old.zip", content=b"PK\x03\x04")
    found = find(tmp_path)
    assert names(found) == ["a.svs", "really a picture", "scan.dat1"]
    assert {s.path.name for s in found.skipped} >= {"program.exe", "old.zip", "notes.txt"}
    assert all(s.reason for s in found.skipped)


def test_known_formats_that_are_not_read_are_kept_to_fail_aloud(tmp_path: Path) -> None:
    put(tmp_path, "a.czi", "b.nd2", "c.vsi", "_c_/stack1/frame_t.ets", "d.svs", content=b"text")
    assert names(find(tmp_path)) == ["a.czi", "b.nd2", "c.vsi", "d.svs"]


def test_exported_label_images_are_no_slides(tmp_path: Path) -> None:
    put(tmp_path, "a.svs", "a_label.png", "a-macro.jpg", "a thumbnail.jpg", "label.png", "my_label.jpg")
    found = find(tmp_path)
    assert names(found) == ["a.svs", "label.png", "my_label.jpg"]
    assert sum("patient" in e.reason for e in found.excluded) == 3


def test_links(tmp_path: Path) -> None:
    put(tmp_path, "real/a.svs", "z.svs")
    (tmp_path / "real/loop").symlink_to(tmp_path)
    (tmp_path / "again").symlink_to(tmp_path / "real")
    (tmp_path / "dangling.svs").symlink_to(tmp_path / "nowhere.svs")
    (tmp_path / "copy.svs").symlink_to(tmp_path / "z.svs")
    found = find(tmp_path)
    assert names(found) == ["copy.svs", "dangling.svs", "real/a.svs"]
    assert any("same file as copy.svs" in e.reason for e in found.excluded)


def test_one_inode_for_all_files_hides_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "a.svs", "b.svs")
    stat = Path.stat

    def same(self: Path, **kwargs: bool) -> os.stat_result:
        return os.stat_result([*stat(self, **kwargs)[:1], 0, 7, *stat(self, **kwargs)[3:]])

    monkeypatch.setattr(Path, "stat", same)
    assert names(find(tmp_path)) == ["a.svs", "b.svs"]


def test_mrxs_and_vms_own_their_companions(tmp_path: Path) -> None:
    put(
        tmp_path, "m.mrxs", "m/Slidedat.ini", "m/Data0000.dat", "m/x.jpg", "n.jpg", "v-map2.jpg", "v.jpg", "v-macro.jpg"
    )
    vms = b"[Virtual Microscope Specimen]\nImageFile=v.jpg\nMapFile=v-map2.jpg\nMacroImage=v-macro.jpg\n"
    put(tmp_path, "v.vms", content=vms)
    assert names(find(tmp_path)) == ["m.mrxs", "n.jpg", "v.vms"]


def test_dicom_series_are_slides(tmp_path: Path) -> None:
    for name in ("boxes_0.dcm", "boxes_1.dcm"):
        source = data("slides") / name
        for folder in ("alone", "mixed"):
            (tmp_path / folder).mkdir(exist_ok=True)
            shutil.copy(source, tmp_path / folder / name)
    put(tmp_path, "mixed/a.svs")
    put(tmp_path, "mixed/broken.dcm", content=b"no DICOM")
    found = find(tmp_path)
    assert names(found) == ["alone", "mixed/a.svs", "mixed/boxes_0.dcm", "mixed/broken.dcm"]


def test_zarr_folders(tmp_path: Path) -> None:
    def store(name: str, file: str, content: object) -> None:
        put(tmp_path, f"{name}/{file}", content=json.dumps(content).encode())

    store("new.zarr", "zarr.json", {"attributes": {"ome": {"multiscales": []}}})
    store("old", ".zattrs", {"multiscales": []})
    store("raw.zarr", ".zattrs", {"bioformats2raw.layout": 3})
    store("ours.zarr", "zarr.json", {"attributes": {"ome": {"multiscales": []}, "pbsbatch": {}}})
    store("table.zarr", "zarr.json", {"attributes": {}})
    store("damaged.zarr", "zarr.json", [])
    (tmp_path / "new.zarr/0/c").mkdir(parents=True)
    found = find(tmp_path)
    assert names(found) == ["new.zarr", "old", "raw.zarr"]
    assert {s.path.name for s in found.skipped} == {"table.zarr", "damaged.zarr"}
    assert "results" in found.excluded[0].reason
    assert names(find(tmp_path / "new.zarr")) == ["new.zarr"]


def test_a_file_given_directly_is_taken(tmp_path: Path) -> None:
    put(tmp_path, "notes.txt", ".hidden.png")
    assert names(find(tmp_path / "notes.txt")) == ["notes.txt"]
    assert names(find(tmp_path / ".hidden.png")) == [".hidden.png"]


@pytest.mark.parametrize("case", ["missing", "empty", "no slides", "results", "output"])
def test_nothing_to_do_is_a_usage_error_with_the_cure(tmp_path: Path, case: str) -> None:
    target, output = tmp_path / "in", tmp_path / "out"
    if case != "missing":
        target.mkdir()
    if case == "no slides":
        put(target, "notes.txt", content=b"text")
    if case == "results":
        put(target, "run.json", content=b'{"pbsbatch": 1}')
    if case == "output":
        put(target, "a.svs")
        output = target
    with pytest.raises(UsageError) as caught:
        find(target, output=output)
    assert caught.value.cure and (case != "no slides" or "notes.txt" in str(caught.value))


def test_no_input() -> None:
    with pytest.raises(UsageError, match="--input"):
        discover([], output=None, mpp=None)


def table(root: Path, text: str) -> None:
    (root / "slides.csv").write_text(text, "utf-8")


def test_slides_csv(tmp_path: Path) -> None:
    put(tmp_path, "a.svs", "sub/b.svs", "sub/c.svs")
    table(
        tmp_path,
        "\ufeffslide,mpp,sample,name,exclude\na.svs,0.1,P1,First,\nb.svs,,P1,,no\nsub/c.svs,,,,yes\nz.svs,,,,\n",
    )
    found = find(tmp_path, mpp=0.5)
    assert [(r.name, r.mpp, r.sample) for r in found.slides] == [("First", 0.1, "P1"), ("sub/b.svs", 0.5, "P1")]
    assert found.warnings and "line 5" in found.warnings[0] and "z.svs" in found.warnings[0]
    assert any("line 4" in e.reason for e in found.excluded)
    single = find(tmp_path / "a.svs")
    assert single.slides[0].mpp == 0.1 and not single.warnings


def test_slides_csv_with_semicolons_and_an_inner_table(tmp_path: Path) -> None:
    put(tmp_path, "sub/b.svs")
    table(tmp_path, "slide;mpp;sample\nb.svs;0,25;outer\n")
    table(tmp_path / "sub", "slide;sample\nb.svs;inner\n")
    ref = find(tmp_path).slides[0]
    assert (ref.mpp, ref.sample) == (0.25, "inner")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("slide,patient\na.svs,X\n", ("line 1", "column 2", "patient")),
        ("slide,mpp,mpp\na.svs,1,1\n", ("line 1", "column 3", "twice")),
        ("name\nx\n", ("line 1", "slide")),
        ("", ("line 1", "slide")),
        ("slide,mpp\na.svs,wide\n", ("line 2", "column mpp", "wide")),
        ("slide,mpp\na.svs,-1\n", ("line 2", "column mpp")),
        ("slide,mpp\na.svs,nan\n", ("line 2", "column mpp")),
        ("slide,exclude\na.svs,perhaps\n", ("line 2", "column exclude", "perhaps")),
        ("slide\na.svs\na.svs\n", ("line 3", "line 2")),
        ("slide,mpp\n,0.2\n", ("line 2", "column slide")),
        ("slide\na.svs,1\n", ("line 2", "2 cells")),
        ("slide\nb.svs\n", ("line 2", "matches 2 files")),
        ('slide\n"a.svs\n', ("line 2",)),
    ],
)
def test_slides_csv_errors_name_line_and_column(tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    put(tmp_path, "a.svs", "x/b.svs", "y/b.svs")
    table(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        find(tmp_path)
    assert caught.value.cure and all(word in str(caught.value) for word in ("slides.csv", *words))


def test_slides_csv_that_is_no_text(tmp_path: Path) -> None:
    put(tmp_path, "a.svs")
    (tmp_path / "slides.csv").write_bytes(b"slide\n\xff\xfe\n")
    with pytest.raises(UsageError, match="UTF-8"):
        find(tmp_path)


def test_odd_names_survive(tmp_path: Path) -> None:
    put(tmp_path, "a\nb.svs", " .svs", "x[1].svs", "-rf.svs", "=cmd.svs")
    put(tmp_path, os.fsdecode(b"\xff\xfe.svs"))
    found = find(tmp_path)
    assert len(found.slides) == 6
    assert all(ref.name.isprintable() and ref.name.encode() for ref in found.slides)
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", ref.id) and ref.id[0] not in "-.=" for ref in found.slides)


def test_ten_thousand_files_take_about_a_second(tmp_path: Path) -> None:
    for k in range(100):
        (tmp_path / f"{k:03}").mkdir()
        for j in range(100):
            (tmp_path / f"{k:03}/{j:03}.jpg").touch()
    start = time.process_time()
    assert len(find(tmp_path).slides) == 10_000
    assert time.process_time() - start < 3


def test_label_images_of_the_drawn_smears_are_no_slides(tmp_path: Path) -> None:
    for name in ("a.tif", "a.labels.tif"):
        (tmp_path / name).write_bytes(b"II*\0" + bytes(200))
    found = discover([tmp_path], output=None, mpp=None)
    assert [ref.path.name for ref in found.slides] == ["a.tif"]
    assert [s.path.name for s in found.excluded] == ["a.labels.tif"]
