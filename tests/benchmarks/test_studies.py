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
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = data("txl").parent if study.read(name, "smoke").needs else tmp_path
    monkeypatch.setattr("sys.argv", ["study", name, "--data", str(folder), "--smoke"])
    study.main()
    told = capsys.readouterr().out
    asked = study.read(name, "smoke")
    assert told.startswith("| ") and "nan" not in told.lower()
    assert all(title in told for title in asked.shown.values())
    assert not asked.published or any(p.source in told for p in asked.published)


@pytest.mark.usefixtures("nothing_recorded")
@pytest.mark.parametrize("name", NAMES)
def test_without_data_it_is_skipped_with_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["study", name, "--data", str(tmp_path)])
    study.main()
    assert re.fullmatch(
        rf"skipped {name}: no (txl|pbc|cbc)( and txl)? in .*; give --data DIR\n", capsys.readouterr().out
    )


def test_unknown_studies_are_refused_and_all_are_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="no study 'x': there are adaptation, cbc"):
        study.read("x")
    with pytest.raises(SystemExit, match="the study cbc has no short setting"):
        study.read("cbc", "short")
    assert study.read("typed", "short").settings["steps"] < study.read("typed").settings["steps"]
    monkeypatch.setattr("sys.argv", ["study"])
    study.main()
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_what_was_published_is_of_a_column_that_is_shown(name: str) -> None:
    asked = study.read(name)
    assert all(p.column in asked.shown and set(p.row) <= set(asked.shown) for p in asked.published)
    assert len(set(asked.shown.values())) == len(asked.shown)


def test_published_figures_stand_beside_the_row_that_they_are_of() -> None:
    rows = [{"images": "grid 2x2", "f1": 0.5}, {"images": "grid 7x7", "f1": 0.75}]
    two, seven = study.beside(study.read("stitched"), rows)
    assert (two["images"], two["F1"]) == ("grid 2x2", 0.5) and two["published"].startswith("F1 0.955 (")
    assert (seven["F1"], seven["published"]) == (0.75, "")


def test_the_readme_gets_the_rows_that_were_recorded_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    told = study.with_table(f"above\n{study.BEGIN}\nold\n{study.END}\nbelow\n")
    assert told.count("not recorded") == len(NAMES) and "old" not in told
    for f1 in (0.25, 0.75):
        monkeypatch.setattr(record, "machine", lambda f1=f1: {"date": f"at {f1}"})
        record.append("study_stitched", [{"model": "m", "version": "3", "images": "grid 2x2", "f1": f1}])
    told = study.with_table(told)
    assert "0.75" in told and "0.25" not in told and "`study_stitched.csv`, m 3" in told
    assert told.startswith("above\n") and told.endswith("below\n") and told.count("not recorded") == len(NAMES) - 1


def test_of_a_long_table_the_readme_shows_what_the_file_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    asked = study.read("adaptation")
    rows = [{"part": "shifts", "target": target, "network": "n"} for target in ("stain", asked.brief["target"][0])]
    record.append("study_adaptation", rows)
    told = study.with_table(f"{study.BEGIN}\n{study.END}")
    assert f"| shifts | {asked.brief['target'][0]} |" in told and "| stain |" not in told


def test_the_readme_shows_the_recorded_results() -> None:
    text = study.README.read_text(encoding="utf-8")
    assert study.with_table(text) == text, "python -m benchmarks.study --readme"
