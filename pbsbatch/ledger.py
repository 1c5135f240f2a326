"""The ledger beside a run's results, OUT/corrections.jsonl: what people said of cells, a line for each correction.

Laws. A line is appended and never changed or taken away; those of one import are there all or none, as long as the
disk keeps its word; a last line without an end, as a power cut leaves it, is none. A correction speaks of one store, by
its key: where a slide was computed again since, it stays in the ledger and is applied to nothing.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from io import FileIO
from pathlib import Path
from typing import Any

from pbsbatch.disk import output_errors, write_all
from pbsbatch.errors import StoreError

__all__ = ["LEDGER", "Correction", "Label", "Ledger", "Now", "append", "as_they_are_now", "writing"]

LEDGER = "corrections.jsonl"
Outline = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Label:
    """What a cell is called."""

    name: str  # its class
    type: str = ""  # empty where it has none

    def __str__(self) -> str:
        return f"{self.name}: {self.type}" if self.type else self.name


@dataclass(frozen=True, slots=True)
class Correction:
    """What one person said of one cell."""

    slide: str  # its id
    store: str  # the key of the store that the cell is of
    cell: int  # its number; those of added cells go on from the last of the store
    old: Label | None  # None: there was no such cell
    new: Label | None  # None: there is none
    outline: Outline | None  # level-0 px; None: as it was
    user: str
    utc: str
    reason: str
    source: str  # sha256 of the file that it came in

    @property
    def kind(self) -> str:
        """Say in a word what it does."""
        if self.old is None:
            return "added"
        if self.new is None:
            return "removed"
        return "renamed" if self.old != self.new else "outlined"

    def to_json(self) -> str:
        """Return it as a line of the ledger."""
        labels = {
            which: None if label is None else {"class": label.name, "type": label.type}
            for which, label in (("old", self.old), ("new", self.new))
        }
        return json.dumps({
            "slide": self.slide, "store": self.store, "cell": self.cell, **labels, "outline": self.outline,
            "user": self.user, "utc": self.utc, "reason": self.reason, "source": self.source,
        })  # fmt: skip


@dataclass(frozen=True, slots=True)
class Now:
    """What a cell is after all corrections of it."""

    label: Label | None  # None: taken away
    outline: Outline | None  # None: as the store has it
    entry: int  # the place, in the ledger of its slide, of the correction that first spoke of it


class Ledger:
    """The ledger of one folder of results, read once, when it is first asked for."""

    def __init__(self, out: Path) -> None:
        self.path = Path(out) / LEDGER

    @cached_property
    def corrections(self) -> tuple[Correction, ...]:
        """Return all corrections in their order. Raises StoreError where a line cannot be read."""
        try:
            whole = self.path.read_bytes()
        except FileNotFoundError:
            return ()
        lines = whole[: whole.rfind(b"\n") + 1].splitlines()
        return tuple(_parsed(line, number, self.path) for number, line in enumerate(lines, 1))

    @cached_property
    def _by_slide(self) -> Mapping[str, tuple[Correction, ...]]:
        slides: dict[str, list[Correction]] = {}
        for one in self.corrections:
            slides.setdefault(one.slide, []).append(one)
        return {slide: tuple(these) for slide, these in slides.items()}

    def of(self, slide_id: str) -> tuple[Correction, ...]:
        """Return the corrections of one slide, of whichever store."""
        return self._by_slide.get(slide_id, ())


def as_they_are_now(corrections: Sequence[Correction]) -> dict[int, Now]:
    """Return what became of the cells that corrections of one store speak of, by their numbers."""
    now: dict[int, Now] = {}
    for entry, one in enumerate(corrections):
        before = now.get(one.cell)
        outline = one.outline if one.outline is not None or before is None else before.outline
        now[one.cell] = Now(one.new, outline, entry if before is None else before.entry)
    return now


@contextmanager
def writing(out: Path, lock: Path) -> Iterator[Ledger]:
    """Give the ledger as it is, which nobody else appends to meanwhile; `lock` is the file that says so."""
    with output_errors(out), lock.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield Ledger(out)


def append(ledger: Ledger, corrections: Iterable[Correction]) -> None:
    """Append corrections to the ledger that `writing` gave, all or none."""
    data = "".join(f"{one.to_json()}\n" for one in corrections).encode()
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    if not data:
        return
    with FileIO(os.open(ledger.path, flags, 0o666), "r+b") as file:
        end = _whole_lines(file)
        os.ftruncate(file.fileno(), end)
        try:
            write_all(file, data)
            os.fsync(file.fileno())
        except BaseException:  # a full disk, Ctrl-C: the ledger is as it was
            os.ftruncate(file.fileno(), end)
            raise


def _whole_lines(file: FileIO) -> int:
    """Return where the last whole line ends."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - (1 << 16))
        file.seek(start)
        at = file.read(end - start).rfind(b"\n")
        if at >= 0:
            return start + at + 1
        end = start
    return 0


def _parsed(line: bytes, number: int, path: Path) -> Correction:
    try:
        said: dict[str, Any] = json.loads(line)
        text = {name: said[name] for name in ("slide", "store", "user", "utc", "reason", "source")}
        outline = said["outline"]
        if not all(isinstance(value, str) for value in text.values()) or type(said["cell"]) is not int:
            raise TypeError("a value is of another kind")
        return Correction(
            **text, cell=said["cell"], old=_label(said["old"]), new=_label(said["new"]),
            outline=None if outline is None else tuple((float(x), float(y)) for x, y in outline),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"line {number} of the ledger of corrections cannot be read ({type(error).__name__})", path=path,
            cure="Put the file back from a copy: nothing else says what people corrected",
        ) from error  # fmt: skip


def _label(said: Any) -> Label | None:
    if said is None:
        return None
    name, kind = said["class"], said["type"]
    if not isinstance(name, str) or not isinstance(kind, str):
        raise TypeError("a label is text")
    return Label(name, kind)
