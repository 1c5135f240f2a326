"""No cell of a table is run by a spreadsheet, and every row stays on its line."""

from __future__ import annotations

import csv
import io

import pytest

from pbsbatch.run.csv_text import csv_bytes, plain_cell, safe_cell

FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "\n=1", "＝1", "＋1", "－1", "＠a")


@pytest.mark.parametrize("cell", FORMULAS)
def test_a_formula_is_quoted_safe(cell: str) -> None:
    assert safe_cell(cell).startswith("'")
    assert plain_cell(safe_cell(cell)).strip() == cell.strip()


@pytest.mark.parametrize("cell", ["", "a.tif", "1.5", "'quoted'", "a=b", "ward 7/a-b.tif"])
def test_other_text_stays_as_it_is(cell: str) -> None:
    assert safe_cell(cell) == cell
    assert plain_cell(cell) == cell


def test_rows_stay_on_their_lines() -> None:
    raw = csv_bytes(("=a", "b"), [("one\ntwo", 'with "quotes", and commas'), ("\x00\x1b[31m", "@")])
    assert raw.count(b"\n") == 3
    rows = list(csv.reader(io.StringIO(raw.decode(), newline="")))
    assert rows[0] == ["'=a", "b"]
    assert rows[1] == ["one\\ntwo", 'with "quotes", and commas']
    assert rows[2] == ["\\x00\\x1b[31m", "'@"]
