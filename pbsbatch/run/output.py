"""The output folder of a run: ours or refused, locked while in use, writable and with room."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import secrets
import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pbsbatch.disk import output_errors, remove_tree, write_atomic
from pbsbatch.errors import OutputError, OutputLockedError, UsageError
from pbsbatch.run.fence import is_held, turnstile
from pbsbatch.run.keyfile import Key

__all__ = [
    "MARKER",
    "OUR_FILES",
    "PAGES",
    "check_ours",
    "claim",
    "free_bytes",
    "host_name",
    "is_deidentified",
    "locked",
    "owner_of",
    "start_over",
]

MARKER = ".pbsbatch"
"""A folder inside OUT that says it is ours; it holds the lock and the inputs that the results belong to."""
PAGES = "report"
"""A folder inside OUT with a page for each slide."""


def check_ours(out: Path, inputs: Sequence[Path], *, fresh: bool, key: Key | None = None) -> None:
    """Refuse a folder that is not ours to write to with UsageError; nothing is touched.

    A folder with files in it that is not ours is never written to. One that belongs to other inputs
    is refused too, since its summary would mix two archives, and so is one whose names were hashed
    with another key or not at all; --fresh takes it over.
    """
    marker = out / MARKER
    with output_errors(out):
        if out.exists() and not out.is_dir():
            raise UsageError("the output is a file, not a folder", path=out, cure="Choose another --output")
        if out.is_dir() and not marker.exists() and any(out.iterdir()):
            raise UsageError(
                "the output folder holds files that are not pbsbatch's", path=out,
                cure="Choose an empty or new folder with --output",
            )  # fmt: skip
        there = _owner(out)
        if there is not None and not fresh:
            _refuse_other_key(out, there, key)
            _refuse_other_inputs(out, there, _names(inputs, key))


def claim(out: Path, inputs: Sequence[Path], key: Key | None = None) -> None:
    """Note, under the lock, which inputs the folder's results belong to; with a key its fingerprint and hashes."""
    names = _names(inputs, key)
    note = names if key is None else {"deidentified": key.fingerprint, "inputs": names}
    with output_errors(out):
        write_atomic(out / MARKER / "inputs.json", (json.dumps(note, indent=1).encode(),))


def is_deidentified(out: Path) -> bool:
    """Say whether the folder holds results whose names were hashed."""
    return isinstance(_owner(out), dict)


def _names(inputs: Sequence[Path], key: Key | None) -> list[str]:
    names = (str(path.resolve()) for path in inputs)
    return sorted(names if key is None else (key.hashed("input", name) for name in names))


def _owner(out: Path) -> list[str] | dict[str, Any] | None:
    """Return what claim() noted; None where it noted nothing, or a crash tore it before it reached the disk."""
    try:
        there = json.loads((out / MARKER / "inputs.json").read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return there if isinstance(there, list | dict) else None


def _refuse_other_key(out: Path, there: list[str] | dict[str, Any], key: Key | None) -> None:
    if isinstance(there, list):
        if key is not None:
            cure = "Choose another --output, or --fresh to start over in this one"
            raise UsageError("the results in the output folder carry names", path=out, cure=cure)
        return
    if key is None:
        cure = "Run with --deidentify and the key that they were made with, or --fresh to start over"
        raise UsageError("the results in the output folder are de-identified", path=out, cure=cure)
    if there.get("deidentified") != key.fingerprint:
        raise UsageError(
            f"the results in the output folder were de-identified with another key than {key.path}", path=out,
            cure="Give the key that they were made with by --key-file, or --fresh to start over",
        )  # fmt: skip


def _refuse_other_inputs(out: Path, there: list[str] | dict[str, Any], wanted: list[str]) -> None:
    names = there if isinstance(there, list) else there.get("inputs")
    if names != wanted:
        whose = ", ".join(map(str, there)) if isinstance(there, list) else "other inputs"
        raise UsageError(
            f"the output folder belongs to a run over {whose}", path=out,
            cure="Choose another --output, or --fresh to start over in this one",
        )  # fmt: skip


@contextmanager
def locked(out: Path, key: Key | None = None) -> Iterator[str]:
    """Hold the folder for one run and yield its token; a dead owner keeps nothing. With a key no host is named.

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
        with turnstile(path.parent, alone=True):  # workers of a dead run that are publishing finish first
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"process {os.getpid()} on {host_name(key)}\n{token}\n".encode(), 0)
        yield token
    finally:
        os.close(handle)


def owner_of(out: Path) -> str | None:
    """Return how the live owner of a folder calls itself ("process 7 on host"), None where none is alive.

    The kernel, or an NFS server, says whether the lock is held; a dead owner holds none.
    """
    try:
        handle = os.open(out / MARKER / "lock", os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        if not is_held(handle):
            return None
        return os.pread(handle, 200, 0).decode("utf-8", "replace").split("\n")[0] or "another process"
    finally:
        os.close(handle)


def host_name(key: Key | None = None) -> str:
    """Return what this machine is called in results; with a key not by its name."""
    host = socket.gethostname()
    return host if key is None else f"host-{key.hashed('host', host)[:8]}"


def free_bytes(path: Path) -> int:
    """Return the free bytes of the disk that holds path, or the nearest folder that exists."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


BOXES = "workers"
"""Below MARKER: the black boxes of workers (blackbox.py)."""
TEMPORARY = re.compile(r"\.tmp-.+-[0-9a-f]{32}")
OUR_FILES = ("manifest.json", "summary.csv", "samples.csv", "failures.csv", "run.json", "run.log", "report.html")


def start_over(out: Path) -> list[str]:
    """Remove what earlier runs wrote under OUT, nothing else, and return what was removed."""
    from pbsbatch.store.seal import seal_path  # with the store come libraries that `status` can do without

    stores = out / "slides"
    ours = [out / name for name in OUR_FILES]
    notes = out / MARKER
    if notes.is_dir() and not notes.is_symlink():
        ours += [path for path in sorted(notes.iterdir()) if path.name not in ("lock", "turnstile", "inputs.json")]
    if stores.is_dir() and not stores.is_symlink():
        found = [path for path in sorted(stores.glob("*.zarr")) if _is_our_store(path)]
        ours += [stores / ".work", *found, *(seal_path(out, path.stem) for path in found)]
        ours += [out / PAGES / f"{path.stem}.html" for path in found]
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


def sweep(out: Path) -> None:
    """Remove what processes that were killed left half written. Only while the folder is locked."""
    from pbsbatch.store.attempt import remove_dead, shared_place
    from pbsbatch.store.seal import FOLDER as SEALS

    with output_errors(out):
        for folder in (out, out / MARKER, out / SEALS, out / PAGES):
            for path in folder.glob(".tmp-*"):
                if TEMPORARY.fullmatch(path.name) and path.is_file():
                    path.unlink()
        remove_tree(out / MARKER / BOXES)
        together = shared_place(out)
        remove_dead(together, unnamed=True)
        with suppress(OSError):  # a dead run's worker is still dying there, or slides are begun
            together.rmdir()
            together.parent.rmdir()


def _is_our_store(path: Path) -> bool:
    try:
        return "pbsbatch" in json.loads((path / "zarr.json").read_bytes())["attributes"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
