"""The manifest of real runs over a fake model, and what `verify` finds when a byte is changed anywhere."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pbsbatch.config import Config
from pbsbatch.errors import UsageError
from pbsbatch.ledger import LEDGER
from pbsbatch.run import cluster
from pbsbatch.run.digester import Digester
from pbsbatch.run.events import RunFinished
from pbsbatch.run.execute import execute
from pbsbatch.run.manifest import renew
from pbsbatch.run.output import OUR_FILES
from pbsbatch.run.slide_digest import SlideDigest, digest_slide
from pbsbatch.run.verify import Verdict, verify
from pbsbatch.testing.oracle import load_fake_engine, load_fake_oracle
from tests.oracle import draw_cells, write_oracle_slide

LOADERS = cluster.Loaders(load_fake_oracle, load_fake_engine)


def run(inputs: Path, out: Path, **more: object) -> RunFinished:
    config = Config(**{"inputs": (inputs,), "output": out, "workers": 1, "core": 256, **more})  # type: ignore[arg-type]
    return execute(config, lambda _: None, loaders=LOADERS)


@pytest.fixture(scope="module", autouse=True)
def _patient() -> Iterator[None]:
    """Wait for the digests however busy the machine is: what is not known yet is another test's matter."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("LEAST_WAIT", "MOST_WAIT"):
            patch.setattr(f"pbsbatch.run.audit.{name}", 120.0)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    (root / "in").mkdir()
    for number in range(2):
        write_oracle_slide(root / "in" / f"{number}.tif", draw_cells(500, 400, 40, seed=number))
    (root / "in" / "empty.svs").write_bytes(b"")
    run(root / "in", root / "out")
    return root


@pytest.fixture
def results(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil; the slides stay where they are."""
    return Path(shutil.copytree(made / "out", tmp_path / "out", symlinks=True))


def found(verdict: Verdict) -> dict[str, list[str]]:
    return {name: getattr(verdict, name) for name in ("changed", "missing", "extra") if getattr(verdict, name)}


def test_what_a_run_left_is_right(made: Path) -> None:
    started: list[tuple[int, int]] = []
    files: list[None] = []
    read: list[int] = []
    verdict = verify(
        made / "out", slides=True, on_start=lambda *sizes: started.append(sizes), on_file=lambda: files.append(None),
        on_bytes=read.append,
    )  # fmt: skip
    assert verdict.right
    assert found(verdict) == {}
    assert verdict.unknown == []
    assert verdict.slides == 3
    assert started == [(verdict.files, sum(read))]
    assert len(files) == verdict.files
    everything = [p for p in (made / "out").rglob("*") if p.is_file() and ".pbsbatch" not in p.parts]
    assert verdict.files == len(everything) - 1  # all but the manifest


def test_the_manifest_says_what_a_person_may_look_for(made: Path) -> None:
    facts = json.loads((made / "out" / "manifest.json").read_text())
    assert set(facts["files"]) == {"summary.csv", "samples.csv", "failures.csv", "run.json", "run.log"}
    assert len(facts["stores"]) == 2
    by_path = {Path(one["path"]).name: one["sha256"] for one in facts["slides"].values()}
    for name in ("0.tif", "1.tif", "empty.svs"):
        digest = digest_slide(made / "in" / name)
        assert digest is not None
        assert by_path[name] == digest.sha256


def test_a_byte_anywhere_is_found_and_its_file_named(results: Path) -> None:
    paths = [p for p in sorted(results.rglob("*")) if p.is_file() and ".pbsbatch" not in p.parts]
    for path in paths:
        if path.name == "manifest.json":
            continue
        before = path.read_bytes()
        path.write_bytes(bytes([before[0] ^ 1]) + before[1:] if before else b"x")
        verdict = verify(results)
        assert path.relative_to(results).as_posix() in verdict.changed
        assert verdict.missing == []
        if path.parent.name != "seals":
            assert len(verdict.changed) == 1
        path.write_bytes(before)
    assert verify(results).right


def test_what_is_missing_or_does_not_belong_is_named(results: Path) -> None:
    store = sorted((results / "slides").glob("*.zarr"))[0]
    (store / "labels" / "more").write_text("x")
    (store / "zarr.json").unlink()
    (results / "run.log").unlink()
    (results / "notes.txt").write_text("mine")
    (results / "seals" / "b.sha256").write_text("")
    (results / "slides" / "b.zarr").mkdir()
    assert found(verify(results)) == {
        "missing": ["run.log", f"slides/{store.name}/zarr.json"],
        "extra": ["notes.txt", f"slides/{store.name}/labels/more", "slides/b.zarr", "seals/b.sha256"],
    }
    shutil.rmtree(store)
    assert f"slides/{store.name}" in verify(results).missing


def test_a_link_or_a_folder_is_not_the_file(results: Path) -> None:
    log = results / "run.log"
    log.rename(results.parent / "elsewhere.log")
    log.symlink_to(results.parent / "elsewhere.log")
    (results / "summary.csv").unlink()
    (results / "summary.csv").mkdir()
    assert found(verify(results)) == {"changed": ["run.log", "summary.csv"]}


def test_a_report_made_again_is_taken_note_of_and_nothing_else(results: Path) -> None:
    (results / "report.html").write_text("made again")
    (results / "report").mkdir(exist_ok=True)
    (results / "report" / "a.html").write_text("made again")
    (results / "summary.csv").write_text("tampered with")
    renew(results)
    assert found(verify(results)) == {"changed": ["summary.csv"]}


def test_slides_are_compared_only_when_asked_for(made: Path, tmp_path: Path) -> None:
    slides = Path(shutil.copytree(made / "in", tmp_path / "in"))
    run(slides, tmp_path / "out")
    (slides / "0.tif").write_bytes(b"another")
    (slides / "1.tif").unlink()
    assert verify(tmp_path / "out").right
    verdict = verify(tmp_path / "out", slides=True)
    assert found(verdict) == {"changed": [str(slides / "0.tif")], "missing": [str(slides / "1.tif")]}


def test_a_digest_that_is_not_known_yet_is_null_and_the_next_run_finds_it(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Absent(Digester):
        """A fake that never answers, as on a machine without a moment to spare."""

        def answers(self, seconds: float = 0.0) -> list[tuple[str, SlideDigest | str | None]]:
            return []

    with monkeypatch.context() as patch:
        patch.setattr("pbsbatch.run.audit.Digester", Absent)
        run(made / "in", tmp_path / "out")
    facts = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert {one["sha256"] for one in facts["slides"].values()} == {None}
    verdict = verify(tmp_path / "out", slides=True)
    assert verdict.right
    assert len(verdict.unknown) == 3
    run(made / "in", tmp_path / "out")
    assert verify(tmp_path / "out", slides=True).unknown == []


def test_a_resumed_run_leaves_the_same_stores_and_digests(made: Path, tmp_path: Path) -> None:
    slides = Path(shutil.copytree(made / "in", tmp_path / "in"))
    run(slides, tmp_path / "out")
    first = json.loads((tmp_path / "out" / "manifest.json").read_text())
    run(slides, tmp_path / "out")
    second = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert first["stores"] == second["stores"]
    assert first["slides"] == second["slides"]
    lines = (tmp_path / "out" / ".pbsbatch" / "digests.jsonl").read_text().splitlines()
    assert len(lines) == 3  # nothing was read again
    write_oracle_slide(slides / "0.tif", draw_cells(500, 400, 41, seed=7))
    run(slides, tmp_path / "out")
    third = json.loads((tmp_path / "out" / "manifest.json").read_text())
    changed = [name for name in first["slides"] if first["slides"][name] != third["slides"][name]]
    assert [Path(first["slides"][name]["path"]).name for name in changed] == ["0.tif"]
    assert verify(tmp_path / "out", slides=True).right


def test_slides_of_a_de_identified_run_are_found_by_the_table_beside_the_key(made: Path, tmp_path: Path) -> None:
    key = tmp_path / "keys" / "key"
    run(made / "in", tmp_path / "out", deidentify=True, key_file=key)
    assert str(made) not in (tmp_path / "out" / "manifest.json").read_text()
    verdict = verify(tmp_path / "out", slides=True, key_file=key)
    assert verdict.right
    assert verdict.slides == 3
    with pytest.raises(UsageError, match=r"knows none of them.*--key-file"):
        verify(tmp_path / "out", slides=True, key_file=tmp_path / "other")
    assert verify(tmp_path / "out").right


def test_a_run_takes_the_manifest_away_and_a_failed_one_writes_none(made: Path, results: Path) -> None:
    from pbsbatch.run.audit import audited

    with audited(results, with_paths=True):
        assert not (results / "manifest.json").exists()
    with pytest.raises(UsageError, match=r"no manifest.*run again"):
        verify(results)


def test_what_cannot_be_verified_is_refused_with_the_cure(results: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a folder of results"):
        verify(tmp_path)
    good = (results / "manifest.json").read_text()
    bad = ["", "[]", "{}", '{"format": 99}', good.replace('"summary.csv"', '"../summary.csv"'),
           good.replace('"sha256": "', '"sha256": 3, "x": "')]  # fmt: skip
    for text in bad:
        (results / "manifest.json").write_text(text)
        with pytest.raises(UsageError, match=r"damaged|format 99"):
            verify(results)


def test_a_folder_at_work_is_refused(results: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom pbsbatch.run.output import locked\n"
        "with locked(Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", program, str(results)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match=rf"a run is at work here \(process {other.pid} on"):
            verify(results)
        other.kill()
    assert verify(results).right


def test_the_ledger_of_corrections_is_verified_and_starting_over_leaves_it(results: Path) -> None:
    (results / LEDGER).write_text("what people said\n")
    assert verify(results).extra == [LEDGER]
    renew(results)
    assert verify(results).right
    (results / LEDGER).write_text("something else\n")
    assert verify(results).changed == [LEDGER] and LEDGER not in OUR_FILES
