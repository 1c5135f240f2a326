"""A run's white cells are held by type against truth that names types, or kinds of them: what was taken for what."""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from pbsbatch.cli import app
from pbsbatch.config import Config
from pbsbatch.evaluate.figures import figures
from pbsbatch.evaluate.hold import hold
from pbsbatch.evaluate.labels import Labelled
from pbsbatch.models.taxonomy import TYPES
from pbsbatch.testing.oracle import cell_class, fake_second_look
from tests.evaluate.test_figures import coco
from tests.oracle import write_oracle_slide
from tests.run.inline import run_one

WHITE, MISSED, ADDED, RING = 1, 10, 13, 16
NAMES = ("RBC", "band neutrophil", "Segmented-Neutrophil", *TYPES[1:5], "myelocyte", "erythroblast", "Platelet")
"""The words of the truth; a run knows neither bands nor myelocytes, but their types."""
WORD = {"neutrophil": ("band neutrophil", "Segmented-Neutrophil"), "immature_granulocyte": ("myelocyte",)}


def drawn() -> NDArray[np.int32]:
    """Return discs apart from each other, numbered from 1: a white cell in three, of each type in turn."""
    labels = np.zeros((700, 900), np.int32)
    for number in range(1, 1 + 12 * 9):
        row, col = divmod(number - 1, 12)
        radius = 14 + number % 9
        cv2.circle(labels, (40 + 74 * col, 40 + 76 * row), radius, number, -1)
        if number == RING:  # its middle is glass: unlike any cell
            cv2.circle(labels, (40 + 74 * col, 40 + 76 * row), 6, 0, -1)
    return labels


def found_as(number: int) -> str:
    """Return what a run calls a cell, from what the fakes are documented to say."""
    if cell_class(np.array([number]))[0] != WHITE:
        return ("RBC", "WBC", "Platelet")[cell_class(np.array([number]))[0]]
    kind = TYPES[number % len(TYPES)]  # a white cell that is called a platelet counts as one
    return "abnormal_suspect" if number == RING else "Platelet" if kind == "platelet" else kind


def true_name(number: int) -> str:
    """Return the truth's word: mostly what is found, but every fifth white cell is a monocyte, some words are finer."""
    said = found_as(number)
    if cell_class(np.array([number]))[0] != WHITE:
        return said
    said = "monocyte" if number % 5 == 0 else "lymphocyte" if number == RING else said
    words = WORD.get(said, (said,))
    return words[number % len(words)]


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Counter[tuple[str, str]]]:
    """Return a run's folder, the truth, and how often each true type was found as what."""
    folder = tmp_path_factory.mktemp("types")
    labels = drawn()
    write_oracle_slide(folder / "s.tif", labels)
    result = run_one(folder / "s.tif", folder / "out", Config(core=256), second=fake_second_look())
    assert result.status == "ok", result.error
    cells, sides, expected = [], [], Counter[tuple[str, str]]()
    type_of = {word: kind for kind, words in WORD.items() for word in words} | {"Platelet": "Platelet"}
    for number in np.unique(labels[labels > 0]).tolist():
        rows, cols = np.nonzero(labels == number)
        name = true_name(number)
        if number == ADDED:
            expected[("", found_as(number))] += 1
            continue
        cells.append((cols.min(), rows.min(), NAMES.index(name), 1.0))
        sides.append(np.ptp(cols) + 1)
        expected[(type_of.get(name, name), found_as(number))] += 1
    cells.append((5, 660, NAMES.index("basophil"), 1.0))  # nothing lies there
    sides.append(20)
    expected[("basophil", "")] += 1
    image: Labelled = Labelled("s-00000000", *_boxes(cells, sides))
    return folder / "out", coco(folder / "truth.json", NAMES, [image]), expected


def _boxes(cells: list[tuple[float, ...]], sides: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    table = np.array(cells, np.float64)
    far = table[:, :2] + np.array(sides)[:, None]
    return np.concatenate([table[:, :2], far], axis=1), table[:, 2].astype(np.int64), table[:, 3]


def test_types_are_confused_as_often_as_they_are(typed: tuple[Path, Path, Counter[tuple[str, str]]]) -> None:
    out, truth, expected = typed
    both = hold(out, truth)
    counts = figures(both).confusion
    names = [*both.classes, ""]
    told = Counter(
        {(t, f): int(counts[i, j]) for i, t in enumerate(names) for j, f in enumerate(names) if counts[i, j]}
    )
    assert told == expected
    kinds = {t for t, _ in expected}
    assert {"neutrophil", "immature_granulocyte", "monocyte", "lymphocyte", "basophil", ""} <= kinds
    assert ("lymphocyte", "abnormal_suspect") in expected and len({f for t, f in expected if t != f}) >= 6


def test_rows_of_figures_are_of_types(typed: tuple[Path, Path, Counter[tuple[str, str]]]) -> None:
    out, truth, expected = typed
    rows = {r.name: r for r in figures(hold(out, truth)).rows}
    for name in ("neutrophil", "monocyte", "basophil", "RBC"):
        assert rows[name].true == sum(n for (t, _), n in expected.items() if t == name)
        assert rows[name].found == sum(n for (_, f), n in expected.items() if f == name)
        assert rows[name].tp == expected[(name, name)]
    assert "band neutrophil" not in rows and "WBC" not in rows


def test_the_command_tells_it_raw_and_as_shares(typed: tuple[Path, Path, Counter[tuple[str, str]]]) -> None:
    out, truth, expected = typed
    told = {}
    for table in ("confusion", "confusion-share"):
        ask = ["evaluate", str(out), "--truth", str(truth), "--table", table, "--as", "csv", "--bootstrap", "0"]
        said = CliRunner().invoke(app, ask, catch_exceptions=False)
        told[table] = list(csv.reader(io.StringIO(said.output)))
    heads, *rows = told["confusion"]
    monocytes = next(r for r in rows if r[0] == "monocyte")
    found = dict(zip(heads[1:], map(int, monocytes[1:]), strict=True))
    assert {k: v for k, v in found.items() if v} == {f: n for (t, f), n in expected.items() if t == "monocyte"}
    heads, *rows = told["confusion-share"]
    shares = dict(zip(heads[1:], next(r for r in rows if r[0] == "monocyte")[1:], strict=True))
    total = sum(found.values())
    assert all(float(shares[k]) == pytest.approx(v / total, abs=1e-3) for k, v in found.items())


def test_without_types_white_cells_are_one_class(typed: tuple[Path, Path, Counter[tuple[str, str]]]) -> None:
    out, truth, _ = typed
    both = hold(out, truth, types=False, mapping={"WBC": "monocyte"})
    assert "neutrophil" not in both.classes and "band neutrophil" in both.classes
    monocyte = both.classes.index("monocyte")
    white = sum(cell_class(np.array([n]))[0] == WHITE for n in np.unique(drawn()) if n)
    assert figures(both).confusion[:, monocyte].sum() == white
