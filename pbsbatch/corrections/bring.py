"""Bring a file of annotations back: what it changes is appended to the ledger, all of it or nothing.

Law: a run's own files are not touched, but for the manifest, which takes note of the ledger.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pbsbatch.corrections.compare import Change, Found, changes
from pbsbatch.corrections.cvat_file import AnnotationFile
from pbsbatch.errors import UsageError, one_line
from pbsbatch.ledger import Correction, append, writing
from pbsbatch.results import open_run
from pbsbatch.run.manifest import renew
from pbsbatch.run.output import MARKER, owner_of

__all__ = ["Brought", "bring_back"]

LOCK = "ledger.lock"
MOST_WORDS = 500


@dataclass(frozen=True, slots=True)
class Brought:
    """What a file changed."""

    slides: int
    kinds: Counter[str]  # renamed, outlined, added, removed
    other: int  # shapes of kinds that are no outlines: not looked at
    new_names: tuple[str, ...]  # that no store of the run has

    @property
    def corrections(self) -> int:
        """Return how many lines were appended."""
        return self.kinds.total()


def bring_back(
    out: Path, path: Path, *, user: str, reason: str, force: bool = False,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Brought:  # fmt: skip
    """Append what an annotated file changed. Raises UsageError, and appends nothing, where it cannot be meant."""
    words = {"user": one_line(user), "reason": one_line(reason)}
    for name, text in words.items():
        if not 0 < len(text) <= MOST_WORDS:
            raise UsageError(
                f"--{name} is a few words, at most {MOST_WORDS} characters", cure="A ledger says who and why"
            )
    if not (out / MARKER).is_dir():
        raise UsageError("not a folder of results", path=out, cure="Give the --output of a run")
    owner = owner_of(out)
    if owner is not None:
        raise UsageError(f"a run is at work here ({owner})", path=out, cure="Import when it has ended")
    file = AnnotationFile(path)
    with writing(out, out / MARKER / LOCK) as ledger:
        run = open_run(out)
        found = list(changes(run, file))
        _refuse_doubtful(found, force)
        utc = now().astimezone(UTC).isoformat(timespec="seconds")
        entries = list(_entries(found, file, utc=utc, **words))
        append(ledger, entries)
    renew(out)
    known = {name for slide in run for name in (*slide.store.classes, *slide.store.types)}
    said = {name for one in entries if one.new for name in (one.new.name, one.new.type) if name}
    kinds = Counter(one.kind for one in entries)
    return Brought(len(found), kinds, sum(f.other for f in found), tuple(sorted(said - known)))


def _refuse_doubtful(found: Sequence[Found], force: bool) -> None:
    for one in found:
        if one.is_doubtful and not force:
            gone = sum(change.new is None for change in one.changes)
            raise UsageError(
                f"it changes {len(one.changes):,} of the {one.slide.store.info.cells:,} cells of {one.slide.name} "
                f"and takes {gone:,} of these away", path=one.slide.path,
                cure="If that is meant, give --force: shapes that CVAT never loaded look the same",
            )  # fmt: skip


def _entries(found: Sequence[Found], file: AnnotationFile, *, user: str, reason: str, utc: str) -> Iterator[Correction]:
    outlines = file.outlines({one.image: {c.shape for c in one.changes if c.shape >= 0} for one in found})

    def outline(image: int, change: Change) -> tuple[tuple[float, float], ...] | None:
        if change.shape < 0:
            return None
        return tuple((round(x, 2), round(y, 2)) for x, y in outlines[image, change.shape].tolist())

    for one in found:
        key = one.slide.store.info.key
        for change in one.changes:
            yield Correction(
                one.slide.id, key, change.cell, change.old, change.new, outline(one.image, change), user, utc, reason,
                file.sha256,
            )  # fmt: skip
