"""`verify` and `status` as a person or a script meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pbsbatch.cli import app
from pbsbatch.run import manifest
from pbsbatch.run.events import SlideResult
from pbsbatch.run.slide_digest import digest_slide
from tests.run.test_status import told


def invoke(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, [*arguments])
    return done.exit_code, done.stdout


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """The least that a run leaves: two tables, a slide that is known and one that is not yet."""
    out = told(tmp_path / "out", finished=True)
    for name in ("summary.csv", "run.log"):
        (out / name).write_text(name)
    (tmp_path / "a.tif").write_bytes(b"pixels")
    digest = digest_slide(tmp_path / "a.tif")
    assert digest is not None
    rows = [SlideResult(name, name, tmp_path / f"{name}.tif", name, "ok") for name in ("a", "b")]
    manifest.write(out, rows, {"a": digest}, with_paths=True)
    return out


def test_verify_says_that_all_is_right(results: Path) -> None:
    code, said = invoke("verify", str(results))
    assert code == 0
    assert said.startswith("2 files read in ")
    assert said.endswith("s: all is right\n")
    code, said = invoke("verify", str(results), "--slides")
    assert code == 0
    assert f"unknown  {results.parent / 'b.tif'}\n" in said
    assert "2 files and 1 slide read" in said


def test_verify_lists_what_differs_and_counts_it(results: Path) -> None:
    (results / "summary.csv").write_text("another")
    (results / "run.log").unlink()
    for number in range(60):
        (results / f"[bold]{number:02}").write_text("")
    code, said = invoke("verify", str(results))
    assert code == 1
    lines = said.splitlines()
    assert lines[:2] == ["changed  summary.csv", "missing  run.log"]
    assert "extra  [bold]00" in lines
    assert "extra  and 10 more (--json lists all)" in lines
    assert lines[-1].endswith("1 changed, 1 missing, 60 extra")
    code, said = invoke("verify", str(results), "--json")
    assert code == 1
    facts = json.loads(said)
    assert facts["right"] is False
    assert len(facts["extra"]) == 60


@pytest.mark.parametrize(
    ("finished", "stopped", "first"),
    [
        (True, None, "run      finished "),
        (True, "interrupted by SIGINT", "· interrupted by SIGINT · run the same command again to resume"),
        (False, None, "run      crashed "),
    ],
)
def test_status_says_how_a_run_stands(tmp_path: Path, finished: bool, stopped: str | None, first: str) -> None:
    out = told(tmp_path / "out", finished=finished, stopped=stopped)
    for more in ((), ("--watch",)):
        code, said = invoke("status", str(out), *more)
        assert code == 0
        assert first in said.splitlines()[0]
        assert "on disk  0 stores" in said


def test_status_tells_scripts_the_same(tmp_path: Path) -> None:
    code, said = invoke("status", str(told(tmp_path / "out", finished=True)), "--json")
    assert code == 0
    facts = json.loads(said)
    assert (facts["state"], facts["pending"], facts["progress"]["slides"]["kept"]) == ("finished", 5, 2)
