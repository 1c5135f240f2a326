"""Every study runs from its file: at smoke size on the public data, and without data it is skipped with one line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import record, study
from tests.data import data

NAMES = study.names()


@pytest.fixture
def nothing_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(stem: str, rows: object) -> None:
        raise AssertionError(f"{stem} was recorded")

    monkeypatch.setattr(record, "append", refuse)


@pytest.mark.usefixtures("nothing_recorded")
@pytest.mark.parametrize("name", NAMES)
def test_a_study_runs_at_smoke_size(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = data("txl").parent
    monkeypatch.setattr("sys.argv", ["study", name, "--data", str(folder), "--smoke"])
    study.main()
    told = capsys.readouterr().out
    assert told.startswith("| ") and "nan" not in told.lower()
    for published in study.read(name, smoke=True).published:
        assert published.source in told


@pytest.mark.usefixtures("nothing_recorded")
@pytest.mark.parametrize("name", NAMES)
def test_without_data_it_is_skipped_with_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["study", name, "--data", str(tmp_path)])
    study.main()
    assert re.fullmatch(rf"skipped {name}: no (txl|pbc) in .*; give --data DIR\n", capsys.readouterr().out)


def test_unknown_studies_are_refused_and_all_are_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="no study 'x': there are cbc"):
        study.read("x")
    monkeypatch.setattr("sys.argv", ["study"])
    study.main()
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == NAMES


def test_published_figures_stand_beside_the_last_row_that_fits() -> None:
    asked = study.read("stitched")
    rows = [{"images": "grid 2x2", "f1": 0.5}, {"images": "grid 2x2", "f1": 0.75}]
    told = {r["what"]: r["ours"] for r in study.beside(asked, rows)}
    assert told["grid 2x2, f1"] == 0.75 and told["grid 1x1, f1"] == ""


def test_the_readme_shows_the_recorded_results() -> None:
    text = study.README.read_text(encoding="utf-8")
    assert study.with_table(text) == text, "python -m benchmarks.study --readme"
