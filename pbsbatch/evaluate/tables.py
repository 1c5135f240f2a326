"""An evaluation as tables of plain values, each under a title: what every form of output is made of.

Law: a table is made once; how it is written (render.py, page.py, the console) adds and leaves out nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pbsbatch.evaluate.figures import Figures, Row, names_of_rows

__all__ = ["TABLES", "Table", "tables", "text_of"]

Value = str | int | float | None
CLASSES = {
    "name": "", "true": "true", "found": "found", "tp": "TP", "fp": "FP", "fn": "FN", "precision": "precision",
    "recall": "recall", "f1": "F1", "ap50": "AP50", "ap50_trapezoid": "AP50 trapezoid", "ap": "AP50-95",
}  # fmt: skip
COUNTS = {
    "name": "", "true": "true", "found": "found", "count_mae": "MAE", "count_mape": "MAPE %", "count_bias": "bias",
    "count_low": "agreement from", "count_high": "to",
}  # fmt: skip
COMBINED = {
    "tp": "true positives", "fp": "false positives", "fn": "false negatives", "precision": "precision",
    "recall": "recall", "f1": "F1", "found": "total predictions", "true": "total truth",
    "found_per_true": "average predictions per truth object", "accuracy": "accuracy TP / (TP + FP + FN)",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Table:
    """A title, heads and rows; keys name the columns in CSV, and in intervals."""

    key: str
    title: str
    heads: tuple[str, ...]
    keys: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]

    @property
    def is_of_classes(self) -> bool:
        """Say whether a row is all of a class: intervals are of these, not of parts of them."""
        return self.key in ("classes", "counts")


def tables(found: Figures) -> tuple[Table, ...]:
    """Return the tables of an evaluation, those without rows left out."""
    which = f"at an IoU of {found.iou:g}" if found.measure == "boxes" else f"within {found.iou:g} px"
    of_images = f"per image, of {found.images}"
    made = (
        _of_rows("classes", f"Cells {which}", CLASSES, found.rows),
        _combined(found),
        _of_rows("counts", f"Counts {of_images}; limits of agreement after Bland and Altman", COUNTS, found.rows),
        _sizes(found), _masks(found), *_confusion(found), _reliability(found),
    )  # fmt: skip
    return tuple(t for t in made if t.rows)


def every_column(found: Figures) -> Table:
    """Return all that is known of each class."""
    names = tuple(names_of_rows())
    return Table("every", "All columns", names, names, tuple(tuple(getattr(r, n) for n in names) for r in found.rows))


TABLES = ("classes", "combined", "counts", "sizes", "masks", "confusion", "confusion-share", "calibration")


def text_of(value: Value, key: str) -> str:
    """Return a value as it is read; blank where it does not exist."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float):
        return f"{value:.{_digits(key)}f}"
    return str(value)


def _digits(key: str) -> int:
    """Return how many digits of a column are read."""
    if key.startswith(("count", "bias", "low", "high", "intercept")) or key.endswith("_score"):
        return 2
    return 1 if key.endswith("_um") else 3 if key.startswith("slope") else 4


def _of_rows(key: str, title: str, columns: Mapping[str, str], rows: Sequence[Row]) -> Table:
    values = tuple(tuple(getattr(row, name) for name in columns) for row in rows)
    return Table(key, title, tuple(columns.values()), tuple(columns), values)


def _combined(found: Figures) -> Table:
    """Return the study's table of all images taken together: a figure a row, a class a column."""
    names = tuple(row.name for row in found.rows)
    rows = tuple((title, *(getattr(row, key) for row in found.rows)) for key, title in COMBINED.items())
    return Table("combined", "All images combined", ("", *names), ("figure", *names), rows)


def _sizes(found: Figures) -> Table:
    keys = ("name", "from_um", "to_um", "true", "recall", "ap50", "ap")
    heads = ("", "from um", "to um", "true", "recall", "AP50", "AP50-95")
    rows = tuple(tuple(getattr(row, key) for key in keys) for row in found.sizes)
    return Table("sizes", "By diameter", heads, keys, rows)


def _masks(found: Figures) -> Table:
    rows = tuple((row.name, row.cells, row.iou, row.dice) for row in found.masks)
    return Table("masks", "Masks of hits", ("", "cells", "IoU", "Dice"), ("name", "cells", "iou", "dice"), rows)


def _confusion(found: Figures) -> tuple[Table, Table]:
    names = found.names
    heads, keys = ("true \\ found", *names, "missed"), ("true", *names, "missed")
    counts = zip((*names, "nothing there"), found.confusion.tolist(), strict=True)
    raw: tuple[tuple[Value, ...], ...] = tuple((name, *row) for name, row in counts)
    rows = zip(names, found.confusion[:-1].tolist(), strict=True)
    shares = tuple((name, *(n / sum(row) for n in row)) for name, row in rows if sum(row))
    return (
        Table("confusion", "What was taken for what", heads, keys, raw),
        Table("confusion-share", "What was taken for what, as shares of the true cells", heads, keys, shares),
    )


def _reliability(found: Figures) -> Table:
    heads = ("", "score from", "to", "cells", "mean score", "share right", "calibration error")
    keys = ("name", "from_score", "to_score", "cells", "score", "right", "error")
    rows = tuple(
        (one.name, b.from_score, b.to_score, b.cells, b.score, b.right, one.error if i == 0 else None)
        for one in found.reliability for i, b in enumerate(one.bins)
    )  # fmt: skip
    return Table("calibration", "Whether scores mean what they say", heads, keys, rows)
