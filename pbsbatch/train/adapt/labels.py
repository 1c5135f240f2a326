"""Labels that a person gave a few of the target's cells: a CSV file, and what the ledger of a run holds.

Laws. A label is a type or a kind of models.taxonomy, or what a mapping says it is; one that is neither is refused
with the closest names. A label of a cell that is not there is named, not passed over.
"""

from __future__ import annotations

from pathlib import Path

from pbsbatch.errors import UsageError, one_line
from pbsbatch.models.mapping import Names, read_mapping, read_rows

__all__ = ["Names", "read_labels", "read_mapping"]

COLUMNS = ("crop", "cell"), ("label", "type")


def read_labels(path: Path, names: Names) -> dict[str, str]:
    """Return what cells are called, by the name of the crop, or by SLIDE:CELL of a run."""
    head, *rows = read_rows(path) or [[]]
    columns = [column.strip().casefold() for column in head]
    which, label = (next((n for n in options if n in columns), None) for options in COLUMNS)
    if which is None or label is None or (which == "cell" and "slide" not in columns):
        raise UsageError(
            f"its first line names the columns {', '.join(columns) or 'not'}", path=path,
            cure="Name them crop,label for a folder of crops, or slide,cell,label for a run",
        )  # fmt: skip
    found: dict[str, str] = {}
    for number, row in enumerate(rows, 2):
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(columns):
            raise UsageError(f"line {number} has {len(row)} values for {len(columns)} columns", path=path)
        said = dict(zip(columns, (cell.strip() for cell in row), strict=True))
        name = said["crop"] if which == "crop" else f"{said['slide']}:{said['cell']}"
        called = names.of(said[label], path)
        if found.setdefault(name, called) != called:
            raise UsageError(f"line {number} calls {one_line(name)[:80]!r} otherwise than a line before", path=path)
    return {name: called for name, called in found.items() if called}
