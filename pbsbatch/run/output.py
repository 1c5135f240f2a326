"""The output folder of a run: ours or refused, locked while in use, writable and with room."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pbsbatch.disk import output_errors, write_atomic
from pbsbatch.errors import OutputError, OutputLockedError, UsageError

__all__ = ["MARKER", "check_ours", "claim", "free_bytes", "locked", "start_over"]

MARKER = ".pbsbatch"
"""A folder inside OUT that says it is ours; it holds the lock and the inputs that the results belong to."""


def check_ours(out: Path, inputs: Sequence[Path], *, fresh: bool) -> None:
    """Refuse a folder that is not ours to write to with UsageError; nothing is touched.

    A folder with files in it that is not ours is never written to. One that belongs to other inputs
    is refused too, since its summary would mix two archives; --fresh takes it over.
    """
    marker = out / MARKER / "inputs.json"
    wanted = _names(inputs)
    with output_errors(out):
        if out.exists() and not out.is_dir():
            raise UsageError("the output is a file, not a folder", path=out, cure="Choose another --output")
        if out.is_dir() and not marker.parent.exists() and any(out.iterdir()):
            raise UsageError(
                "the output folder holds files that are not pbsbatch's", path=out,
                cure="Choose an empty or new folder with --output",
            )  # fmt: skip
        if marker.exists() and not fresh:
            _refuse_other_inputs(out, marker, wanted)


def claim(out: Path, inputs: Sequence[Path]) -> None:
    """Note, under the lock, which inputs the folder's results belong to."""
    with output_errors(out):
        write_atomic(out / MARKER / "inputs.json", (json.dumps(_names(inputs), indent=1).encode(),))


def _names(inputs: Sequence[Path]) -> list[str]:
    return sorted(str(p.resolve()) for p in inputs)


def _refuse_other_inputs(out: Path, marker: Path, wanted: list[str]) -> None:
    try:
        there = json.loads(marker.read_text(encoding="utf-8"))
    except ValueError:
        there = None  # torn by a crash before atomic writes reached the disk: take it over
    if there is not None and there != wanted:
        raise UsageError(
            f"the output folder belongs to a run over {', '.join(map(str, there))}", path=out,
            cure="Choose another --output, or --fresh to start over in this one",
        )  # fmt: skip


@contextmanager
def locked(out: Path) -> Iterator[str]:
    """Hold the folder for one run and yield its token; a dead owner keeps nothing.

    The lock is fcntl's, which the kernel (or an NFS server) gives back when its owner dies.
    """
    path = out / MARKER / "lock"
    with output_errors(out):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except FileNotFoundError as error:
            raise OutputError("no folder can be made there", path=out, cure="Choose another --output") from error
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise
            owner = os.pread(handle, 200, 0).decode("utf-8", "replace").split("\n")[0] or "another process"
            raise OutputLockedError(
                f"another run is writing here ({owner})", path=out, cure="Wait for it, or choose another --output"
            ) from None
        token = secrets.token_hex(8)
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}\n{token}\n".encode(), 0)
        yield token
    finally:
        os.close(handle)


def free_bytes(path: Path) -> int:
    """Return the free bytes of the disk that holds path, or the nearest folder that exists."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


OUR_FILES = ("summary.csv", "failures.csv", "run.json", "run.log")


def start_over(out: Path) -> list[str]:
    """Remove what earlier runs wrote under OUT, nothing else, and return what was removed."""
    stores = out / "slides"
    ours = [out / name for name in OUR_FILES]
    if stores.is_dir() and not stores.is_symlink():
        ours += [stores / ".work", *(path for path in sorted(stores.glob("*.zarr")) if _is_our_store(path))]
    removed: list[str] = []
    with output_errors(out):
        for path in ours:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.exists() or path.is_symlink():
                path.unlink()
            else:
                continue
            removed.append(str(path.relative_to(out)))
    return removed


def _is_our_store(path: Path) -> bool:
    try:
        return "pbsbatch" in json.loads((path / "zarr.json").read_bytes())["attributes"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
