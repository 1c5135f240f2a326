"""`pbsbatch plan` and `pbsbatch inspect`: what would happen, for people and for scripts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pbsbatch.config import Config
from pbsbatch.run.planning import plan_archive
from pbsbatch.synth import Scene, write_field, write_slide
from tests.test_cli import pbsbatch


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("archive")
    write_slide(Scene(6000, 2000, seed=1), root / "a.tif")
    write_field(Scene(640, 480, seed=2), root / "b.jpg")
    (root / "broken.svs").write_bytes(b"")
    (root / "notes.txt").write_text("x")
    return root


def test_the_plan_counts_what_the_run_will_do(archive: Path, tmp_path: Path) -> None:
    found = plan_archive(Config(inputs=(archive,), output=tmp_path / "out", workers=2))
    rows = {row.name: row for row in found.slides}
    assert rows["b.jpg"].tiles == 1
    assert rows["a.tif"].tiles >= 2
    assert rows["a.tif"].roi_mm2 == pytest.approx(6000 * 2000 * 0.25**2 / 1e6)
    assert rows["a.tif"].mpp_source == "metadata"
    assert rows["broken.svs"].error == "the file is empty"
    assert found.tiles == rows["a.tif"].tiles + 1
    assert [Path(path).name for path, _ in found.skipped] == ["notes.txt"]
    assert found.refusals == ()
    assert not (tmp_path / "out").exists()


def test_a_budget_that_is_exceeded_refuses_with_the_numbers_and_the_cure(archive: Path, tmp_path: Path) -> None:
    found = plan_archive(Config(inputs=(archive,), output=tmp_path, workers=4, memory=10**9))
    assert found.memory_bytes > 10**9
    assert "4 workers need" in found.refusals[0]
    assert "--workers 1" in found.refusals[0]


def test_an_archive_without_a_single_good_slide_is_refused(archive: Path, tmp_path: Path) -> None:
    found = plan_archive(Config(inputs=(archive / "broken.svs",), output=tmp_path))
    assert found.refusals == ("no slide can be processed",)


def test_both_speak_json(archive: Path) -> None:
    done = pbsbatch("plan", "--input", str(archive), "--json")
    assert done.returncode == 0, done.stderr
    assert {row["name"] for row in json.loads(done.stdout)["slides"]} == {"a.tif", "b.jpg", "broken.svs"}
    done = pbsbatch("inspect", str(archive / "a.tif"), "--json")
    facts = json.loads(done.stdout)
    assert (facts["width_px"], facts["height_px"], facts["mpp"], facts["mpp_source"]) == (6000, 2000, 0.25, "metadata")
    assert facts["size_mm"] == [1.5, 0.5]
    assert len(facts["levels"]) > 1


def test_people_see_a_table(archive: Path) -> None:
    done = pbsbatch("plan", "--input", str(archive), "--memory", "1MB")
    assert done.returncode == 2
    for word in ("a.tif", "b.jpg", "broken.svs", "the file is empty", "notes.txt", "refused:", "3 slides"):
        assert word in done.stdout
    done = pbsbatch("inspect", str(archive / "b.jpg"))
    assert done.returncode == 0
    for word in ("JPEG", "640 × 480", "0.25 µm per pixel (metadata)", "0.16 × 0.12 mm"):
        assert word in done.stdout


def test_a_file_that_cannot_be_inspected_is_one_clear_line(archive: Path) -> None:
    done = pbsbatch("inspect", str(archive / "broken.svs"))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "the file is empty" in done.stderr
