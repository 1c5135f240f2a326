"""The stage on a real disk: whole copies with their digests, nothing of others touched, nothing left behind."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from pbsbatch.config import Config
from pbsbatch.errors import UsageError
from pbsbatch.run.events import Event, SlidePlanned, SlideResult
from pbsbatch.run.execute import execute
from pbsbatch.run.shelf import Shelf
from pbsbatch.run.slide_digest import digest_slide
from pbsbatch.run.staging import Arrival, Staging, check_stage, copy_slide, staging, staging_folder
from pbsbatch.run.worker import Loaders
from pbsbatch.slides.base import SlideRef
from pbsbatch.testing.oracle import load_fake_engine, load_fake_oracle
from tests.oracle import draw_cells, write_oracle_slide


@pytest.fixture
def slides(tmp_path: Path) -> dict[str, SlideRef]:
    """A file, a slide with a folder beside it, and a slide that is a folder."""
    root = tmp_path / "in"
    (root / "b").mkdir(parents=True)
    (root / "c.zarr" / "0").mkdir(parents=True)
    for name in ("a.tif", "b.mrxs", "b/Slidedat.ini", "b/Data 1.dat", "c.zarr/zarr.json", "c.zarr/0/0"):
        (root / name).write_bytes(os.urandom(1000))
    paths = (root / "a.tif", root / "b.mrxs", root / "c.zarr")
    return {path.stem: SlideRef(path.stem, path, path.name, path.stem) for path in paths}


def wait_for(stage: Staging, count: int) -> dict[str, Arrival]:
    found: dict[str, Arrival] = {}
    until = time.monotonic() + 30
    while len(found) < count:
        assert time.monotonic() < until, f"only {sorted(found)} arrived"
        found |= {one.slide_id: one for one in stage.news()}
        time.sleep(0.01)
    return found


def start(folder: Path, slides: dict[str, SlideRef], bound: int = 10**9, size: int = 3000) -> Staging:
    return Staging(folder, Shelf(bound, dict.fromkeys(slides, size), {s: i for i, s in enumerate(slides)}), slides)


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_slides_are_staged_whole_with_their_digests(slides: dict[str, SlideRef], tmp_path: Path) -> None:
    with staging_folder(tmp_path / "stage") as folder:
        stage = start(folder, slides)
        stage.offer(slides)
        arrived = wait_for(stage, 3)
        for name, ref in slides.items():
            staged = stage.staged(ref)
            assert staged.path.name == ref.path.name
            assert staged.path.is_relative_to(folder)
            assert arrived[name].digest == digest_slide(ref.path)
            twin = digest_slide(staged.path)
            assert twin is not None
            assert twin.sha256 == digest_slide(ref.path).sha256  # type: ignore[union-attr]
            stage.done(name)
        until = time.monotonic() + 30
        while stage.shelf.used and time.monotonic() < until:
            time.sleep(0.01)
        assert [p.name for p in folder.iterdir()] == ["lock"]
        stage.close()
    assert list((tmp_path / "stage").iterdir()) == []


def test_space_is_waited_for_and_a_giant_read_in_place(slides: dict[str, SlideRef], tmp_path: Path) -> None:
    with staging_folder(tmp_path / "stage") as folder:
        shelf = Shelf(5000, {"a": 6000, "b": 3000, "c": 4000}, {"a": 0, "b": 1, "c": 2})
        stage = Staging(folder, shelf, slides)
        stage.offer(slides)
        arrived = wait_for(stage, 2)
        assert arrived["a"].in_place == "it is larger than the stage of 0.0 MB"
        assert stage.staged(slides["a"]) == slides["a"]
        assert arrived["b"].in_place is None
        time.sleep(0.1)
        assert stage.news() == []  # c finds no room
        stage.done("b")
        assert wait_for(stage, 1)["c"].in_place is None
        stage.close()


def test_what_cannot_be_copied_is_read_in_place_and_said(slides: dict[str, SlideRef], tmp_path: Path) -> None:
    slides["b"].path.unlink()
    with staging_folder(tmp_path / "stage") as folder:
        stage = start(folder, slides)
        stage.offer(slides)
        arrived = wait_for(stage, 3)
        assert arrived["b"].in_place == "it could not be copied (No such file or directory)"
        assert stage.staged(slides["b"]) == slides["b"]
        stage.close()


def test_a_slide_that_changes_while_it_is_copied_has_no_copy(slides: dict[str, SlideRef], tmp_path: Path) -> None:
    path = slides["b"].path
    assert copy_slide(path, tmp_path / "copy", lambda: path.write_bytes(b"changed")) is None


def test_results_speak_of_the_slide_not_of_its_copy(slides: dict[str, SlideRef], tmp_path: Path) -> None:
    with staging_folder(tmp_path / "stage") as folder:
        stage = start(folder, slides)
        stage.offer(["a"])
        wait_for(stage, 1)
        copy = stage.staged(slides["a"]).path
        text = f"{copy}: is odd"
        result = SlideResult("a", "a", copy, "a", "failed", error=text, details=text, failed_tiles=((1, text),))
        said = stage.restored(result)
        assert said.path == slides["a"].path
        assert str(tmp_path / "stage") not in str(said)
        assert said.error == f"{slides['a'].path}: is odd"
        stage.close()


def test_only_a_dead_runs_folder_is_removed(tmp_path: Path) -> None:
    stage = tmp_path / "stage"
    for name, content in (("dead", b"a stage of pbsbatch\n"), ("torn", b""), ("theirs", b"my own lock")):
        (stage / f"pbsbatch-stage-{name}").mkdir(parents=True)
        (stage / f"pbsbatch-stage-{name}" / "lock").write_bytes(content)
    (stage / "pbsbatch-stage-dead" / "slide").mkdir()
    (stage / "pbsbatch-stage-dead" / "slide" / "a.tif").write_bytes(b"x")
    (stage / "pbsbatch-stage-empty").mkdir()
    (stage / "pbsbatch-stage-notes").mkdir()
    (stage / "pbsbatch-stage-notes" / "notes.txt").write_text("mine")
    (stage / "pbsbatch-stage-theirs" / "data").write_text("mine")
    (stage / "other").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "lock").write_bytes(b"a stage of pbsbatch\n")
    (stage / "pbsbatch-stage-link").symlink_to(tmp_path / "elsewhere")
    with staging_folder(stage) as alive, staging_folder(stage) as second:
        assert alive.is_dir()  # the second run left the first one's folder alone
        names = {path.name.removeprefix("pbsbatch-stage-") for path in stage.iterdir()}
        own = {path.name.removeprefix("pbsbatch-stage-") for path in (alive, second)}
        assert names - own == {"theirs", "notes", "other", "link"}
        assert alive.stat().st_mode & 0o077 == 0
    assert (tmp_path / "elsewhere" / "lock").exists()


def test_a_stage_that_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    out, slides = tmp_path / "out", tmp_path / "in"
    slides.mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(slides)
    for stage, said in (
        (out / "stage", "inside the results"), (slides, "inside the slides"),
        (tmp_path / "link" / "s", "inside the slides"), (tmp_path / "file", "a file"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=said):
            check_stage(Config(inputs=(slides,), output=out, stage=stage))
    with pytest.raises(UsageError, match=r"should hold .* GB are free"):
        check_stage(Config(inputs=(slides,), output=out, stage=tmp_path / "s", stage_bytes=10**18))
    assert check_stage(Config(inputs=(slides,), output=out, stage=tmp_path / "s", stage_bytes=7)) == 7
    assert check_stage(Config(inputs=(slides,), output=out, stage=tmp_path / "s")) > 0
    assert not (tmp_path / "s").exists()


def test_workers_that_do_not_see_the_stage_are_named(tmp_path: Path) -> None:
    config = Config(stage=tmp_path / "stage", scheduler="tcp://x:1")
    with (
        pytest.raises(UsageError, match="2 workers do not see the stage, tcp://a:1 is one"),
        staging(config, Shelf(1, {}, {}), (), lambda path: ["tcp://a:1", "tcp://b:1"]),
    ):
        pass
    assert list((tmp_path / "stage").iterdir()) == []
    with pytest.raises(UsageError, match="nothing can be written there"), staging_folder(Path("/dev/null/stage")):
        pass


def test_a_run_computes_from_the_copy_and_speaks_of_the_original(tmp_path: Path) -> None:
    """The original is gone after the first strip; only its copy can be what the rest is read from."""
    inputs, stage = tmp_path / "in", tmp_path / "stage"
    inputs.mkdir()
    write_oracle_slide(inputs / "large.tif", draw_cells(2300, 2000, 700, seed=1))
    write_oracle_slide(inputs / "small.tif", draw_cells(500, 400, 40, seed=2))
    (inputs / "empty.svs").write_bytes(b"")
    digest = digest_slide(inputs / "large.tif")
    events: list[Event] = []

    def listen(event: Event) -> None:
        events.append(event)
        if isinstance(event, SlidePlanned):
            (inputs / "large.tif").rename(tmp_path / "gone.tif")

    config = Config(inputs=(inputs,), output=tmp_path / "out", core=256, workers=1, stage=stage)
    finished = execute(config, listen, loaders=Loaders(load_fake_oracle, load_fake_engine))
    assert any(isinstance(event, SlidePlanned) for event in events)
    by_name = {result.name: result for result in finished.results}
    assert {name: result.status for name, result in by_name.items()} == {
        "large.tif": "ok", "small.tif": "ok", "empty.svs": "failed",
    }  # fmt: skip
    for result in by_name.values():
        assert result.path == inputs / result.name
    assert list(stage.iterdir()) == []
    for name in ("summary.csv", "failures.csv", "run.log", "manifest.json"):
        assert str(stage) not in (tmp_path / "out" / name).read_text()
    slides = json.loads((tmp_path / "out" / "manifest.json").read_text())["slides"]
    assert digest is not None
    assert slides[by_name["large.tif"].slide_id]["sha256"] == digest.sha256
    (tmp_path / "gone.tif").rename(inputs / "large.tif")

    alone = Config(inputs=(inputs,), output=tmp_path / "alone", core=256, workers=1)
    execute(alone, lambda _: None, loaders=Loaders(load_fake_oracle, load_fake_engine))
    for seal in sorted((tmp_path / "alone" / "seals").iterdir()):
        assert seal.read_bytes() == (tmp_path / "out" / "seals" / seal.name).read_bytes()
