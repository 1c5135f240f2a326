"""The sha256 of a slide's bytes: of one file its own, of several that of the list that sha256sum would print.

Law: the list names files relative to the folder that holds the slide, in the order of their paths, so that
`sha256sum` gives the same digest. Size, time and inode of the files are only a hint that they did not change.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from pbsbatch.disk import file_sha256, write_atomic
from pbsbatch.slides.files import slide_files

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["Ledger", "SlideDigest", "combined", "digest_slide", "hint_of"]


@dataclass(frozen=True, slots=True)
class SlideDigest:
    """What the bytes of a slide are."""

    sha256: str
    files: int
    bytes: int
    hint: str


def digest_slide(path: Path, on_bytes: Callable[[int], None] = lambda _: None) -> SlideDigest | None:
    """Read a slide once; None where it changes meanwhile. Raises OSError."""
    files = slide_files(path)
    hint = hint_of(files)
    digests = {file.relative_to(path.parent): file_sha256(file, on_bytes) for file in files}
    size = sum(file.stat().st_size for file in files)
    return SlideDigest(combined(digests), len(files), size, hint) if hint_of(slide_files(path)) == hint else None


def combined(digests: Mapping[Path, str]) -> str:
    """Return one digest for the files of a slide, by their relative paths."""
    if len(digests) == 1:
        return next(iter(digests.values()))
    lines = (digests[name].encode() + b"  " + os.fsencode(name) + b"\n" for name in sorted(digests))
    return hashlib.sha256(b"".join(lines)).hexdigest()


def hint_of(files: tuple[Path, ...]) -> str:
    """Return what changes when a file is written to or replaced; it holds no name."""
    status = [file.stat() for file in files]
    seen = [(one.st_size, one.st_mtime_ns, one.st_ino) for one in status]
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:32]


SPARE = 1000
T = TypeVar("T", bound="DataclassInstance")


class Ledger(Generic[T]):
    """What runs over a folder of results have found of each slide, a line each, appended.

    A line that a crash tore is passed over; of two lines for a slide the later counts. Law: the file is written anew
    before it holds twice as many lines as slides and SPARE more, however often runs find something else.
    Nothing is synced: what a power cut takes is found again.
    """

    def __init__(self, path: Path, kind: type[T]) -> None:
        self.path = path
        self.known: dict[str, T] = {}
        self.torn = False
        self.lines = 0
        try:
            lines = path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return
        self.torn = lines.pop() != b""
        self.lines = len(lines) + self.torn
        for line in lines:
            try:
                fields = json.loads(line)
                slide_id = fields.pop("slide")
                self.known[slide_id] = kind(**fields)
            except (ValueError, TypeError, KeyError, AttributeError):
                continue

    def note(self, slide_id: str, found: T) -> None:
        """Keep what was found of a slide."""
        if self.known.get(slide_id) == found:
            return
        self.known[slide_id] = found
        if self.lines >= 2 * len(self.known) + SPARE:
            write_atomic(self.path, [_line(name, one) for name, one in self.known.items()])
            self.lines = len(self.known)
        else:
            with self.path.open("ab") as file:
                file.write(b"\n" * self.torn + _line(slide_id, found))
            self.lines += 1
        self.torn = False


def _line(slide_id: str, found: DataclassInstance) -> bytes:
    return json.dumps({"slide": slide_id, **asdict(found)}).encode() + b"\n"
