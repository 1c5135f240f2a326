"""Folders for attempts to settle: each is one process's own, and is known to be dead by a lock that nobody holds.

Law: what is in the folder of a live attempt is touched by nobody else; what a dead one left is removed by the next
attempt in the same place, or by the next run.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pbsbatch.disk import make_folder, remove_tree, unique

__all__ = ["attempt", "remove_dead", "shared_place", "work_of"]

STEM = "settle"


def work_of(out: Path) -> Path:
    """Return the folder below which everything lies that is not published yet."""
    return out / "slides" / ".work"


def shared_place(out: Path) -> Path:
    """Return where attempts to settle several slides lie; no slide's id begins with a dot."""
    return work_of(out) / ".together"


@contextmanager
def attempt(place: Path) -> Iterator[Path]:
    """Give a folder for one attempt to settle, and take away those of attempts that died.

    A live attempt holds a lock in its folder from before the folder has its name; the kernel drops the
    lock with the process. Where a file system has no locks, dead attempts stay until the slide is done.
    """
    remove_dead(place)
    name = unique(STEM)
    folder, unnamed = place / name, place / f".{name}"
    make_folder(unnamed)
    with (unnamed / "lock").open("xb") as lock:
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        unnamed.rename(folder)
        try:
            yield folder
        finally:
            remove_tree(folder)


def remove_dead(place: Path, *, unnamed: bool = False) -> None:
    """Remove the folders of attempts that died in a place. Those that died before they had a name only if asked for:
    then no attempt of a process that may still publish can be at that point.
    """
    for old in place.glob(f"{STEM}-*"):
        with suppress(OSError), (old / "lock").open("r+b") as lock:  # else it is alive, or nobody can tell
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove_tree(old)
    for old in place.glob(f".{STEM}-*") if unnamed else ():
        remove_tree(old)
