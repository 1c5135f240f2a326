"""What words for cells mean in the taxonomy: by their own names, or by what a person says in a file of NAME,TYPE.

Law: a word that is no type or kind, and is not mapped, is refused with the closest names.
"""

from __future__ import annotations

import csv
import difflib
from collections.abc import Mapping
from pathlib import Path

from pbsbatch.errors import UsageError, one_line
from pbsbatch.models.taxonomy import ABNORMAL, KINDS, TYPES, UNSURE

__all__ = ["LEFT_OUT", "Names", "read_mapping", "read_rows"]

LEFT_OUT = "-"
"""What a name is mapped to that says nothing of the type."""
NO_TYPE = ("", UNSURE, ABNORMAL)
MOST_BYTES = 64 << 20


class Names:
    """What labels mean: by their own names, or by a mapping."""

    def __init__(self, mapping: Mapping[str, str] | None = None, option: str = "--map") -> None:
        self.mapping, self.option = dict(mapping or {}), option
        for name, wanted in self.mapping.items():
            if wanted not in (*TYPES, *KINDS, LEFT_OUT):
                raise UsageError(
                    f"{name!r} is mapped to {wanted!r}, which is no type of cell", cure=self._closest(wanted)
                )

    def of(self, label: str, path: Path | None = None) -> str:
        """Return the type or kind that a label means, "" where it means none."""
        if label in self.mapping:
            return "" if self.mapping[label] == LEFT_OUT else self.mapping[label]
        word = "_".join(label.replace("-", " ").replace("_", " ").casefold().split())
        for name in (word, word.removesuffix("s")):
            if name in (*TYPES, *KINDS):
                return name
        if word in NO_TYPE:
            return ""
        raise UsageError(f"no type of cell is called {one_line(label)[:80]!r}", path=path, cure=self._closest(label))

    def _closest(self, name: str) -> str:
        """Return the cure for a name that is none: those most like it, and how to say what it is."""
        known = tuple(dict.fromkeys((*TYPES, *KINDS)))
        near = difflib.get_close_matches(name.casefold(), known, n=2, cutoff=0.4) or list(TYPES)
        said, file = one_line(name)[:80], f"the {self.option} file"
        return f"Say which it is in {file}, as {said},{near[0]} (closest: {', '.join(near)}), or {said},{LEFT_OUT}"


def read_mapping(path: Path | None, option: str = "--map") -> Names:
    """Return what a file of rows NAME,TYPE says labels mean."""
    if path is None:
        return Names(option=option)
    rows = [row for row in read_rows(path) if any(cell.strip() for cell in row)]
    if any(len(row) != 2 for row in rows):
        raise UsageError("a row of a mapping is NAME,TYPE", path=path, cure="For example Neutro,neutrophil")
    return Names({name.strip(): wanted.strip() for name, wanted in rows}, option)


def read_rows(path: Path) -> list[list[str]]:
    """Return the rows of a CSV file. Raises UsageError where it is none."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UsageError(f"it is larger than {MOST_BYTES >> 20} MB", path=path, cure="Give a few labels")
        with path.open(encoding="utf-8-sig", newline="") as handle:
            return list(csv.reader(handle, strict=True))
    except OSError as error:
        raise UsageError(f"cannot be read ({error.strerror})", path=path, cure="Check the path") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"it is no CSV in UTF-8: {one_line(error)[:100]}", path=path, cure="Save it as CSV") from error
