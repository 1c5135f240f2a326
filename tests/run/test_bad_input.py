"""Each bad thing gets one clear line and costs itself only. Real runs, on real processes."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from pbsbatch import store
from tests.test_cli import pbsbatch

FIELD_MPP = 0.25


def smear(width: int = 700, height: int = 500, seed: int = 1) -> np.ndarray:
    """Draw a plain field: glass and red discs with a pale centre."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), (225, 215, 220), np.uint8)
    for x, y in rng.integers(20, (width - 20, height - 20), (90, 2)):
        cv2.circle(image, (int(x), int(y)), 14, (190, 120, 140), -1, cv2.LINE_AA)
        cv2.circle(image, (int(x), int(y)), 5, (205, 150, 165), -1, cv2.LINE_AA)
    return image


def write_tiff(path: Path, image: np.ndarray) -> None:
    tifffile.imwrite(
        path, image, photometric="rgb", tile=(128, 128), compression="zlib",
        resolution=(1e4 / FIELD_MPP, 1e4 / FIELD_MPP), resolutionunit="CENTIMETER",
    )  # fmt: skip


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which nearly everything is wrong, and three slides are right."""
    root = tmp_path_factory.mktemp("archive")
    (root / "ward 7").mkdir()
    write_tiff(root / "good.tif", smear(seed=1))
    write_tiff(root / "ward 7" / "good.tif", smear(seed=2))
    write_tiff(root / "Blut-µ é\n<script>.tif", smear(seed=3))
    cv2.imwrite(str(root / "one.png"), np.full((1, 1, 3), 200, np.uint8))
    (root / "empty.svs").write_bytes(b"")
    (root / "renamed.svs").write_text("this is a letter, not a slide\n")
    whole = (root / "good.tif").read_bytes()
    (root / "cut.tif").write_bytes(whole[: len(whole) // 2])
    (root / "notes.txt").write_text("stained on Monday")
    (root / "old.czi").write_bytes(b"ZISRAWFILE" + bytes(100))
    (root / "loop").symlink_to(root)
    (root / ".hidden.tif").write_bytes(whole)
    with tifffile.TiffWriter(root / "bomb.tif", bigtiff=True) as tiff:
        tiff.write(np.zeros((16, 16, 3), np.uint8), photometric="rgb", tile=(16, 16))
    raw = bytearray((root / "bomb.tif").read_bytes())
    with tifffile.TiffFile(root / "bomb.tif") as tiff:
        for tag in ("ImageWidth", "ImageLength"):
            offset = tiff.pages[0].tags[tag].valueoffset
            raw[offset : offset + 4] = (1_000_000).to_bytes(4, "little")
    (root / "bomb.tif").write_bytes(raw)
    return root


@pytest.fixture(scope="module")
def night(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    out = tmp_path_factory.mktemp("night") / "out"
    return pbsbatch("run", "--input", str(archive), "--output", str(out), "--mpp", str(FIELD_MPP)), out


def test_good_slides_are_done_and_the_exit_code_tells_of_the_others(night: tuple, archive: Path) -> None:
    done, out = night
    assert done.returncode == 1, done.stderr
    status = {row["slide"]: row["status"] for row in rows_of(out / "summary.csv")}
    assert {name for name, s in status.items() if s == "ok"} >= {"good.tif", "ward 7/good.tif"}
    assert sum(s == "ok" for s in status.values()) == 4  # the two, the one with the odd name, and the single pixel
    assert {name for name, s in status.items() if s == "failed"} >= {"empty.svs", "renamed.svs", "cut.tif", "bomb.tif"}
    for row in rows_of(out / "summary.csv"):
        if row["slide"].endswith("good.tif"):
            assert 60 <= int(row["n_rbc"]) <= 100
            assert row["analysed_fraction"] == "1"
            assert (out / row["store"]).is_dir()


def test_each_failure_is_one_line_with_its_reason(night: tuple) -> None:
    done, out = night
    reasons = {row["slide"]: row["error"] for row in rows_of(out / "failures.csv")}
    assert "empty" in reasons["empty.svs"]
    for name in ("empty.svs", "renamed.svs", "cut.tif", "bomb.tif"):
        assert reasons[name]
        assert "\n" not in reasons[name]
        assert name in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_what_is_no_slide_is_skipped_and_listed(night: tuple) -> None:
    _, out = night
    skipped = {Path(s["path"]).name: s["reason"] for s in json.loads((out / "run.json").read_text())["skipped"]}
    assert skipped["notes.txt"]
    names = {row["slide"] for row in rows_of(out / "summary.csv")}
    assert not any("notes.txt" in n or "hidden" in n or n.startswith("loop") for n in names)


def test_slides_of_one_name_have_stores_of_their_own(night: tuple) -> None:
    _, out = night
    stores = [row["store"] for row in rows_of(out / "summary.csv") if row["slide"].endswith("good.tif")]
    assert len(set(stores)) == 2


def test_nothing_is_left_lying_about(night: tuple) -> None:
    _, out = night
    assert not (out / "slides" / ".work").exists() or not any((out / "slides" / ".work").rglob("settle-*"))
    assert {p.name for p in out.iterdir()} == {
        ".pbsbatch", "slides", "seals", "manifest.json", "summary.csv", "samples.csv", "failures.csv", "run.json",
        "run.log", "report.html", "report",
    }  # fmt: skip


def test_running_again_keeps_what_is_done_and_says_so(night: tuple, archive: Path) -> None:
    _, out = night
    before = {p: p.stat().st_mtime_ns for p in (out / "slides").rglob("zarr.json")}
    done = pbsbatch("run", "--input", str(archive), "--output", str(out), "--mpp", str(FIELD_MPP))
    assert done.returncode == 1
    assert "(kept)" in done.stdout
    assert before == {p: p.stat().st_mtime_ns for p in (out / "slides").rglob("zarr.json")}


def test_a_quiet_run_still_names_what_failed(tmp_path: Path) -> None:
    (tmp_path / "empty.svs").write_bytes(b"")
    done = pbsbatch("run", "--input", str(tmp_path), "--output", str(tmp_path / "out"), "--quiet")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == "pbsbatch: empty.svs: the file is empty. Copy or export the file again\n"


def test_a_folder_of_another_run_is_refused(night: tuple, tmp_path: Path) -> None:
    _, out = night
    write_tiff(tmp_path / "a.tif", smear())
    done = pbsbatch("run", "--input", str(tmp_path), "--output", str(out))
    assert done.returncode == 2
    assert "belongs to a run over" in done.stderr


@pytest.mark.parametrize("make", [lambda p: p.mkdir(), lambda p: None], ids=["empty folder", "missing path"])
def test_no_input_at_all(tmp_path: Path, make) -> None:  # type: ignore[no-untyped-def]
    make(tmp_path / "in")
    done = pbsbatch("run", "--input", str(tmp_path / "in"), "--output", str(tmp_path / "out"))
    assert done.returncode == 2
    assert str(tmp_path / "in") in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_one_corrupt_tile_costs_its_area(tmp_path: Path) -> None:
    slides = tmp_path / "in"
    slides.mkdir()
    path = slides / "spot.tif"
    write_tiff(path, np.concatenate([smear(2000, 1300, seed=s) for s in (1, 2)], axis=1))
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        offset, count = page.dataoffsets[5], page.databytecounts[5]
    raw = bytearray(path.read_bytes())
    raw[offset : offset + count] = bytes(count)
    path.write_bytes(raw)
    config = tmp_path / "c.toml"
    config.write_text("core = 512\n")
    out = tmp_path / "out"
    done = pbsbatch("run", "--input", str(slides), "--output", str(out), "--config", str(config))
    assert done.returncode == 0, done.stdout + done.stderr
    row = rows_of(out / "summary.csv")[0]
    assert 0.7 < float(row["analysed_fraction"]) < 1
    failures = rows_of(out / "failures.csv")
    assert failures
    assert all(f["slide"] == "spot.tif" and f["tile"] and f["error"] for f in failures)
    tiles = store.open(out / row["store"]).tiles
    assert int((tiles.status != 0).sum()) == len(failures)
    assert "could not be read" in done.stdout
    again = pbsbatch("run", "--input", str(slides), "--output", str(out), "--config", str(config))
    assert again.returncode == 0
    assert [f["tile"] for f in rows_of(out / "failures.csv")] == [f["tile"] for f in failures]  # kept, still shown


def test_a_read_only_output_is_refused_before_work(tmp_path: Path) -> None:
    write_tiff(tmp_path / "a.tif", smear())
    done = pbsbatch("run", "--input", str(tmp_path / "a.tif"), "--output", "/proc/pbsbatch-results")
    assert done.returncode == 2
    assert "/proc/pbsbatch-results" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mount = tmp_path / "disk"
    mount.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("needs the right to mount a small disk")
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(mount)], capture_output=True, check=False
    )
    if made.returncode != 0:
        pytest.skip("this system does not let tests mount a small disk")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


@pytest.mark.fault
def test_a_full_disk_stops_the_run_and_more_room_resumes_it(small_disk: Path, tmp_path: Path) -> None:
    slides = tmp_path / "in"
    slides.mkdir()
    for seed in range(4):
        write_tiff(slides / f"{seed}.tif", smear(900, 900, seed))
    out = small_disk / "out"
    done = pbsbatch("run", "--input", str(slides), "--output", str(out))
    assert done.returncode == 3, done.stdout + done.stderr
    assert "isk is full" in done.stdout + done.stderr
    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
    again = pbsbatch("run", "--input", str(slides), "--output", str(out))
    assert again.returncode == 0, again.stdout + again.stderr
    assert len(list((out / "slides").glob("*.zarr"))) == 4
