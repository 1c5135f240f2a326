"""Read slides.csv: what a person knows about slides that their files do not tell."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from pbsbatch.errors import UsageError

__all__ = ["COLUMNS", "Row", "read_slides_csv"]

COLUMNS = ("slide", "mpp", "sample", "name", "exclude")
YES, NO = ("1", "yes", "true", "x", "y"), ("", "0", "no", "false", "n")


@dataclass(frozen=True, slots=True)
class Row:
    """One line about one slide; slide is a file's name or its path relative to the table."""

    line: int
    slide: str
    mpp: float | None
    sample: str
    name: str
    exclude: bool


def read_slides_csv(path: Path) -> tuple[Row, ...]:
    """Return the rows. Raises UsageError that names line and column."""
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot be read: {error}", path=path, cure="Save it as CSV in UTF-8") from error
    head = text.split("\n", 1)[0]
    delimiter = ";" if ";" in head and "," not in head else ","  # spreadsheets of half of Europe write semicolons
    lines = csv.reader(text.splitlines(), delimiter=delimiter, strict=True)
    try:
        columns = [name.strip().lower() for name in next(lines, [])]
        _check(columns, path)
        rows = [
            _row(dict(zip(columns, cells, strict=False)), cells, lines.line_num, columns, path)
            for cells in lines
            if any(cells)
        ]
    except csv.Error as error:
        raise UsageError(f"line {lines.line_num}: {error}", path=path, cure="Save it again as CSV") from error
    seen: dict[str, int] = {}
    for row in rows:
        if row.slide in seen:
            what = f"line {row.line}, column slide: {row.slide!r} was already on line {seen[row.slide]}"
            raise UsageError(what, path=path, cure="Keep one of them")
        seen[row.slide] = row.line
    return tuple(rows)


def _check(columns: list[str], path: Path) -> None:
    for index, name in enumerate(columns):
        if name not in COLUMNS:
            what = f"line 1, column {index + 1}: {name!r} is not a column"
            raise UsageError(what, path=path, cure=f"Columns are {', '.join(COLUMNS)}")
        if name in columns[:index]:
            raise UsageError(f"line 1, column {index + 1}: {name!r} is there twice", path=path, cure="Remove one")
    if "slide" not in columns:
        raise UsageError("line 1: there is no column slide", path=path, cure=f"Columns are {', '.join(COLUMNS)}")


def _row(values: dict[str, str], cells: list[str], line: int, columns: list[str], path: Path) -> Row:
    if len(cells) > len(columns):
        cure = "Put quotes around text that holds the separator"
        raise UsageError(f"line {line}: {len(cells)} cells under {len(columns)} columns", path=path, cure=cure)
    get = {name: values.get(name, "").strip() for name in COLUMNS}
    if not get["slide"]:
        raise UsageError(f"line {line}, column slide: it is empty", path=path, cure="Give the slide's file name")
    exclude = get["exclude"].lower()
    if exclude not in YES + NO:
        raise UsageError(f"line {line}, column exclude: {get['exclude']!r}", path=path, cure="Give yes or no")
    slide = get["slide"].replace("\\", "/").removeprefix("./")
    return Row(line, slide, _mpp(get["mpp"], line, path), get["sample"], get["name"], exclude in YES)


def _mpp(text: str, line: int, path: Path) -> float | None:
    if not text:
        return None
    try:
        mpp = float(text.replace(",", "."))
    except ValueError:
        mpp = math.nan
    if not 0.01 <= mpp <= 100:
        cure = "Give um per pixel, such as 0.25"
        raise UsageError(f"line {line}, column mpp: {text!r} is no scale", path=path, cure=cure)
    return mpp
