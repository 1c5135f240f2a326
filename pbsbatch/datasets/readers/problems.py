"""What is wrong with a data set, record by record.

Laws. Each problem says file, record, what, and the cure. A bad record costs its field, for a field that
lacks a cell would teach it as background; what can be put right (a box without area, one that
hangs over the edge) is a note and costs nothing but itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pbsbatch.errors import UsageError, one_line

__all__ = ["DataError", "Problem", "Problems", "RecordError"]

SHOWN = 20
"""Problems told in one message."""


class DataError(UsageError):
    """A training data set has records that cannot be used."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One record and what is wrong with it; a note was put right, anything else cost the field."""

    path: Path
    record: str  # "line 3", "object 2", "annotation 17"; empty for the whole file
    what: str
    cure: str
    note: bool = False

    def __str__(self) -> str:
        record = f", {self.record}" if self.record else ""
        return one_line(f"{self.path}{record}: {self.what}. {self.cure}")


class RecordError(Exception):
    """A record that cannot be used; becomes a Problem where its file is known."""

    def __init__(self, what: str, cure: str, record: str = "") -> None:
        super().__init__(what)
        self.what, self.cure, self.record = what, cure, record


class Problems:
    """The problems met while reading a data set."""

    def __init__(self) -> None:
        self.found: list[Problem] = []

    def note(self, path: Path, record: str, what: str, cure: str) -> None:
        """Remember something that was put right."""
        self.found.append(Problem(path, record, what, cure, note=True))

    @contextmanager
    def field(self, path: Path) -> Iterator[None]:
        """Within it, a bad record ends this field alone."""
        try:
            yield
        except RecordError as e:
            self.found.append(Problem(path, e.record, e.what, e.cure))

    def judge(self, root: Path, *, skip_bad: bool) -> None:
        """Raise DataError with the first problems, unless bad records are to be skipped."""
        bad = [p for p in self.found if not p.note]
        if not bad or skip_bad:
            return
        more = f" (and {len(bad) - SHOWN} more)" if len(bad) > SHOWN else ""
        told = " | ".join(str(p) for p in bad[:SHOWN])
        raise DataError(
            f"{len(bad)} bad records: {told}{more}", path=root, cure="Mend them, or skip their fields with --skip-bad"
        )
