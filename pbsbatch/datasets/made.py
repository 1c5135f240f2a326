"""What the commands share that make pictures of pictures: where files may go, and what may be taken away.

Laws. Nothing is written outside of the output folder, also not through a link that lies in it. Only files of the
command's own names are taken away, and links as links.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from pathlib import Path

from pbsbatch.disk import make_folder, write_atomic
from pbsbatch.errors import OutputError, UsageError, one_line
from pbsbatch.run.csv_text import safe_cell

__all__ = ["Made", "clear_ours", "outside", "table_bytes"]


def outside(output: Path, root: Path) -> None:
    """Refuse an output folder within that of the pictures, or around it: what is written is never read or replaced."""
    out, pictures = output.resolve(), root.resolve()
    if out.is_relative_to(pictures) or pictures.is_relative_to(out):
        raise UsageError(
            "is the folder of the pictures, or lies in it or around it", path=output, cure="Choose another --output"
        )


def clear_ours(folder: Path, ours: re.Pattern[str]) -> None:
    """Remove what an earlier writing left in a folder and in its class folders."""
    folders = [folder, *(p for p in folder.iterdir() if p.is_dir() and not p.is_symlink())]
    for path in [p for f in folders for p in f.iterdir()]:
        if ours.fullmatch(one_line(path.name)) and (path.is_file() or path.is_symlink()):
            path.unlink()


class Made:
    """The output folder while it is written into, from any thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ready: set[Path] = set()

    def write(self, name: str, data: bytes) -> None:
        """Write a file below the folder, whole or not at all."""
        path = self.path / name
        folder = path.parent
        if folder not in self._ready:
            make_folder(folder)
            if not folder.resolve().is_relative_to(self.path.resolve()):
                raise OutputError("a link leads out of the output folder", path=folder, cure="Remove it and run again")
            self._ready.add(folder)
        write_atomic(path, [data])


def table_bytes(header: Iterable[str], rows: Iterable[Iterable[object]]) -> bytes:
    """Return a table as CSV; text is made safe for spreadsheets, numbers stay numbers, also below zero."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        writer.writerow([safe_cell(cell) if isinstance(cell, str) else cell for cell in row])
    return out.getvalue().encode()
