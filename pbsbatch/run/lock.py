"""Ask who holds the lock of an output folder, without taking it: a look must never keep a run from starting."""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

from pbsbatch.run.output import MARKER

__all__ = ["owner_of"]

FLOCK = "hhqqi4x"  # struct flock: type, whence, start, length, process


def owner_of(out: Path) -> str | None:
    """Return how the live owner of a folder calls itself ("process 7 on host"), None where none is alive.

    The kernel, or an NFS server, says whether the lock is held; a dead owner holds none.
    """
    try:
        handle = os.open(out / MARKER / "lock", os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        wanted = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind = struct.unpack(FLOCK, fcntl.fcntl(handle, fcntl.F_GETLK, wanted))[0]
        text = os.pread(handle, 200, 0).decode("utf-8", "replace")
    finally:
        os.close(handle)
    return None if kind == fcntl.F_UNLCK else text.split("\n")[0] or "another process"
