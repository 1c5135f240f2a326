"""Labels that a person gave a few of the target's cells: a CSV file, and what the ledger of a run holds.

Laws. A label is a type or a kind of models.taxonomy, or what a mapping says it is; one that is neither is refused
with the closest names. A label of a cell that is not there is named, not passed over.
"""

from __future__ import annotations

import csv
import difflib
from collections.abc import Mapping
from pathlib import Path

from pbsbatch.errors import UsageError, one_line
from pbsbatch.models.taxonomy import ABNORMAL, KINDS, TYPES, UNSURE

__all__ = ["LEFT_OUT", "Names", "read_labels", "read_mapping"]

LEFT_OUT = "-"
"""What a name is mapped to that says nothing of the type."""
NO_TYPE = ("", UNSURE, ABNORMAL)
COLUMNS = ("crop", "cell"), ("label", "type")
MOST_BYTES = 64 << 20


class Names:
    """What labels mean: by their own names, or by a mapping."""

    def __init__(self, mapping: Mapping[str, str] | None = None) -> None:
        self.mapping = dict(mapping or {})
        for name, wanted in self.mapping.items():
            if wanted not in (*TYPES, *KINDS, LEFT_OUT):
                raise UsageError(f"{name!r} is mapped to {wanted!r}, which is no type of cell", cure=closest(wanted))

    def of(self, label: str, path: Path) -> str:
        """Return the type or kind that a label means, "" where it means none."""
        if label in self.mapping:
            return "" if self.mapping[label] == LEFT_OUT else self.mapping[label]
        word = "_".join(label.replace("-", " ").replace("_", " ").casefold().split())
        for name in (word, word.removesuffix("s")):
            if name in (*TYPES, *KINDS):
                return name
        if word in NO_TYPE:
            return ""
        raise UsageError(f"no type of cell is called {one_line(label)[:80]!r}", path=path, cure=closest(label))


def closest(name: str) -> str:
    """Return the cure for a name that is none: those most like it, and how to say what it is."""
    known = tuple(dict.fromkeys((*TYPES, *KINDS)))
    near = difflib.get_close_matches(name.casefold(), known, n=2, cutoff=0.4) or list(TYPES)
    said = one_line(name)[:80]
    return f"Say which it is in the --map file, as {said},{near[0]} (closest: {', '.join(near)}), or {said},{LEFT_OUT}"


def read_mapping(path: Path | None) -> Names:
    """Return what a file of rows NAME,TYPE says labels mean."""
    if path is None:
        return Names()
    rows = [row for row in _rows(path) if any(cell.strip() for cell in row)]
    if any(len(row) != 2 for row in rows):
        raise UsageError("a row of a mapping is NAME,TYPE", path=path, cure="For example Neutro,neutrophil")
    return Names({name.strip(): wanted.strip() for name, wanted in rows})


def read_labels(path: Path, names: Names) -> dict[str, str]:
    """Return what cells are called, by the name of the crop, or by SLIDE:CELL of a run."""
    head, *rows = _rows(path) or [[]]
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


def _rows(path: Path) -> list[list[str]]:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UsageError(f"it is larger than {MOST_BYTES >> 20} MB", path=path, cure="Give a few labels")
        with path.open(encoding="utf-8-sig", newline="") as handle:
            return list(csv.reader(handle, strict=True))
    except OSError as error:
        raise UsageError(f"cannot be read ({error.strerror})", path=path, cure="Check the path") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"it is no CSV in UTF-8: {one_line(error)[:100]}", path=path, cure="Save it as CSV") from error
