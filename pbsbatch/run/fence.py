"""The fence: a worker that outlives its driver cannot publish. With the lock of the output folder (output.py).

Law: whoever publishes holds the turnstile shared, and has seen the run's token under a lock that its driver
still holds; whoever takes the folder over changes the token with the turnstile held alone. So nothing of
an earlier run becomes visible once a later one has begun, and nothing of a run whose driver is dead.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pbsbatch.errors import OutputError

__all__ = ["Fence", "is_held", "turnstile"]

_FLOCK = "hhqqi4x"  # struct flock: type, whence, start, length, process


@dataclass(frozen=True, slots=True)
class Fence:
    """What a worker enters to publish. Picklable; `lock` is the file that the driver holds locked."""

    lock: Path
    token: str

    def __call__(self) -> AbstractContextManager[None]:
        return self._held()

    @contextmanager
    def _held(self) -> Iterator[None]:
        with turnstile(self.lock.parent, alone=False):
            if not self._owned():
                raise OutputError(
                    "the run that this worker belongs to has ended, or another took its folder over",
                    path=self.lock.parent.parent, cure="Run again: what is done is kept",
                )  # fmt: skip
            yield

    def _owned(self) -> bool:
        try:
            handle = os.open(self.lock, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            lines = os.pread(handle, 400, 0).decode("utf-8", "replace").split("\n")
            return len(lines) > 1 and lines[1] == self.token and is_held(handle)
        finally:
            os.close(handle)


def is_held(handle: int) -> bool:
    """Say whether another process holds the lock of a file, without taking it: a look keeps no run from starting."""
    wanted = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    return bool(struct.unpack(_FLOCK, fcntl.fcntl(handle, fcntl.F_GETLK, wanted))[0] == fcntl.F_WRLCK)


@contextmanager
def turnstile(folder: Path, *, alone: bool) -> Iterator[None]:
    """Hold the turnstile of an output folder: publishers together, a run that takes over alone."""
    with (folder / "turnstile").open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield
