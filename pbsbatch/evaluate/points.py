"""Read truth that marks cells by a point each: a CSV of image, x, y and, if there are several, class.

Law: a row without x and y says that its image holds no cell: an image that is not named is not part of the truth.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np

from pbsbatch.errors import UsageError
from pbsbatch.evaluate.labels import Labelled, Labels

__all__ = ["read_points", "read_regions", "rows_of"]

ONE_CLASS = "cell"
MOST_BYTES = 1 << 30


def read_points(path: Path) -> Labels:
    """Return the truth of a file of points."""
    cells: dict[str, list[tuple[float, float, str]]] = {}
    for line, row in rows_of(path, ("image", "x", "y")):
        here = cells.setdefault(row["image"], [])
        if row["x"].strip() or row["y"].strip():
            x, y = (_number(row, name, line, path) for name in ("x", "y"))
            here.append((x, y, row.get("class") or ONE_CLASS))
    classes = tuple(sorted({kind for marks in cells.values() for _, _, kind in marks}))
    images = []
    for name, marks in cells.items():
        at = np.array([mark[:2] for mark in marks], np.float64).reshape(-1, 2)
        kinds = np.array([classes.index(kind) for _, _, kind in marks], np.int64)
        images.append(Labelled(name, np.concatenate([at, at], axis=1), kinds))
    return Labels(classes, tuple(images), points=True)


def read_regions(path: Path) -> dict[str, np.ndarray]:
    """Return the regions (K, 4) of a CSV of image, x0, y0, x1, y1, by image."""
    found: dict[str, list[list[float]]] = {}
    corners = ("x0", "y0", "x1", "y1")
    for line, row in rows_of(path, ("image", *corners)):
        box = [_number(row, name, line, path) for name in corners]
        if box[2] <= box[0] or box[3] <= box[1]:
            raise UsageError(f"line {line}: a region has no area", path=path, cure="Write x0 < x1 and y0 < y1")
        found.setdefault(row["image"], []).append(box)
    return {name: np.array(boxes, np.float64) for name, boxes in found.items()}


def rows_of(path: Path, needed: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    """Return the rows of a CSV by column, with their lines. Raises UsageError where a column is missing."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UsageError(f"it is larger than {MOST_BYTES >> 30} GB", path=path)
        with path.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.DictReader(handle)
            columns = reader.fieldnames or ()
            missing = [name for name in needed if name not in columns]
            if missing:
                raise UsageError(
                    f"there is no column {', '.join(missing)}", path=path, cure=f"Begin it with {','.join(needed)}"
                )
            rows = [(reader.line_num, {k: v or "" for k, v in row.items() if k}) for row in reader]
    except OSError as error:
        raise UsageError(f"cannot read it ({error.strerror})", path=path) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"it is no CSV: {error}", path=path) from error
    if not rows:
        raise UsageError("it has no rows", path=path)
    return rows


def _number(row: dict[str, str], name: str, line: int, path: Path) -> float:
    try:
        value = float(row[name])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UsageError(f"line {line}: {name} is {row[name]!r}, no number", path=path, cure="Write a number")
    return value
