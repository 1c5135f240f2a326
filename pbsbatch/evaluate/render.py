"""The tables of an evaluation as text: Markdown, LaTeX, CSV, JSON. Law: all of them hold the same figures."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Sequence

from pbsbatch.evaluate.figures import Figures
from pbsbatch.evaluate.tables import TABLES, Table, every_column, tables, text_of

__all__ = ["FORMATS", "lines_of", "markdown", "render", "table_text"]

NUMBER = re.compile(r"-(\d+(?:\.\d+)?)")
TEX = str.maketrans(
    {sign: f"\\{sign}" for sign in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
       ">": r"\textgreater{}", "|": r"\textbar{}"}
)  # fmt: skip
NAMED_BY_CLASS = ("combined", "confusion-share")
"""Tables whose columns are classes, whatever these are called."""
FORMATS = ("json", "csv", "markdown", "latex")


def render(found: Figures, form: str, only: Sequence[str] = ()) -> str:
    """Return an evaluation in one of FORMATS: all its tables, or only some of TABLES.

    CSV is one table: all columns of the classes where no other is asked for.
    """
    if form == "json":
        return json.dumps(found.table(), indent=1) + "\n"
    chosen = [t for t in tables(found) if t.key in (only or TABLES)]
    if form == "csv":
        return "\n".join(_csv(t) for t in (chosen if only else [every_column(found)]))
    write = markdown if form == "markdown" else _latex
    return "\n".join(write(t) for t in chosen)


def table_text(table: Table, form: str) -> str:
    """Return one table in one of FORMATS."""
    if form == "json":
        rows = [{k: _json(v) for k, v in zip(table.keys, row, strict=True)} for row in table.rows]
        return json.dumps({"title": table.title, "rows": rows}, indent=1) + "\n"
    return {"csv": _csv, "markdown": markdown, "latex": _latex}[form](table)


def _json(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def lines_of(table: Table) -> list[list[str]]:
    """Return the rows as text."""
    keys = table.keys if table.key not in NAMED_BY_CLASS else ("",) * len(table.keys)
    return [[text_of(v, key) for v, key in zip(row, keys, strict=True)] for row in table.rows]


def markdown(table: Table) -> str:
    """Return a table under its title."""
    rule = ["---", *["---:"] * (len(table.heads) - 1)]
    rows = [[cell.replace("|", "\\|") for cell in line] for line in (table.heads, rule, *lines_of(table))]
    return f"**{table.title}**\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in rows) + "\n"


def _csv(table: Table) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table.keys)
    writer.writerows(lines_of(table))
    return out.getvalue()


def _latex(table: Table) -> str:
    body = "\n".join(" & ".join(map(_tex, line)) + r" \\" for line in lines_of(table))
    head = " & ".join(map(_tex, table.heads)) + r" \\ \hline"
    columns = "l" + "r" * (len(table.heads) - 1)
    return f"% {table.title}\n\\begin{{tabular}}{{{columns}}}\n\\hline\n{head}\n{body}\n\\hline\n\\end{{tabular}}\n"


def _tex(text: str) -> str:
    """Return a cell as LaTeX sets it: a negative number with its minus, every other sign as itself."""
    number = NUMBER.fullmatch(text)
    if number:
        return f"$-{number[1]}$"
    return text.translate(TEX)
