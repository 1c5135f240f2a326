"""The table of an evaluation as text: Markdown, LaTeX, CSV, JSON. Law: all of them hold the same figures."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pbsbatch.evaluate.figures import Figures, Row, names_of_rows

__all__ = ["COLUMNS", "FORMATS", "cells", "render"]

FORMATS = ("json", "csv", "markdown", "latex")
COLUMNS = {
    "name": "", "true": "true", "found": "found", "tp": "TP", "fp": "FP", "fn": "FN", "precision": "precision",
    "recall": "recall", "f1": "F1", "ap50": "AP50", "ap": "AP", "count_mae": "count MAE", "count_mape": "count MAPE %",
    "count_bias": "count bias",
}  # fmt: skip
"""What people look at, and how it is called; JSON and CSV hold all."""


def cells(row: Row, columns: Sequence[str]) -> list[str]:
    """Return a row's figures as text, blank where one does not exist."""
    return [_text(getattr(row, name), name) for name in columns]


def _text(value: object, name: str) -> str:
    if isinstance(value, float):
        digits = 2 if name.startswith("count") else 4
        return "" if value != value else f"{value:.{digits}f}"  # noqa: PLR0124 - NaN
    return str(value)


def render(found: Figures, form: str) -> str:
    """Return the table in one of FORMATS."""
    if form == "json":
        return json.dumps(found.table(), indent=1) + "\n"
    if form == "csv":
        every = names_of_rows()
        return "\n".join([",".join(every), *(",".join(cells(row, every)) for row in found.rows)]) + "\n"
    columns = list(COLUMNS)
    heads = list(COLUMNS.values())
    lines = [cells(row, columns) for row in found.rows]
    if form == "markdown":
        rule = ["---", *["---:"] * (len(columns) - 1)]
        return "\n".join("| " + " | ".join(line) + " |" for line in (heads, rule, *lines)) + "\n"
    body = "\n".join(" & ".join(_tex(cell) for cell in line) + r" \\" for line in lines)
    head = " & ".join(_tex(head) for head in heads) + r" \\ \hline"
    return f"\\begin{{tabular}}{{l{'r' * (len(columns) - 1)}}}\n{head}\n{body}\n\\end{{tabular}}\n"


def _tex(text: str) -> str:
    for sign in "&%$#_{}":
        text = text.replace(sign, f"\\{sign}")
    return text
