"""CSV that a spreadsheet opens without harm: one line per row, and no cell that it would run as a formula."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from pbsbatch.errors import one_line

__all__ = ["csv_bytes", "plain_cell", "safe_cell"]

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")


def csv_bytes(header: Iterable[str], rows: Iterable[Iterable[str]]) -> bytes:
    """Return a table as UTF-8; every cell is made safe, the header included."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for row in (header, *rows):
        writer.writerow([safe_cell(cell) for cell in row])
    return out.getvalue().encode()


def safe_cell(cell: str) -> str:
    """Keep a spreadsheet from running a file name as a formula; everything stays on one line."""
    line = one_line(cell) if cell else cell
    return f"'{line}" if line.startswith(FORMULA_STARTS) else line


def plain_cell(cell: str) -> str:
    """Return what a cell was before it was made safe."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA_STARTS) else cell
