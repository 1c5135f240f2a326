"""Writing that survives: atomic files, synced folders, and full disks said plainly."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from pbsbatch.errors import OutputError

__all__ = [
    "file_sha256",
    "make_folder",
    "new_file",
    "new_folder",
    "output_errors",
    "remove_tree",
    "sync_files",
    "unique",
    "write_all",
    "write_atomic",
]

_WORTH_SYNCING = 1 << 20
_PIECE = 1 << 20
_CURES = {
    errno.ENOSPC: "The disk is full. Make room and run again: what is done is kept",
    errno.EDQUOT: "The disk quota is used up. Make room and run again: what is done is kept",
    errno.EACCES: "No permission to write there. Change it or choose another --output and run again",
    errno.EPERM: "No permission to write there. Change it or choose another --output and run again",
    errno.EROFS: "The disk is read-only. Choose another --output and run again",
    errno.ENOTDIR: "A file stands where a folder must be. Move it or choose another --output and run again",
    errno.EEXIST: "A file stands where a folder must be. Move it or choose another --output and run again",
    errno.EIO: "The disk reports a fault. Check it, then run again",
}


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turn the errors of a disk that cannot take results into OutputError with the cure; let others pass."""
    try:
        yield
    except OSError as e:
        cure = _CURES.get(e.errno or 0)
        if cure is None:
            raise
        raise OutputError(
            f"cannot write results ({os.strerror(e.errno or 0)})", path=e.filename or path, cure=cure
        ) from e


def unique(stem: str) -> str:
    """Return a name that no other attempt has."""
    return f"{stem}-{uuid.uuid4().hex}"


def make_folder(path: Path) -> None:
    """Create a folder with its parents, also while another process removes an empty parent."""
    for _ in range(20):
        with suppress(FileNotFoundError):
            path.mkdir(parents=True, exist_ok=True)
            return
    path.mkdir(parents=True, exist_ok=True)


def new_folder(path: str) -> None:
    """Create a folder with its parents if it is not there.

    For the thirty files and folders of a store: with pathlib a small field's store took 24 ms, like this 15.
    """
    try:
        os.mkdir(path)  # noqa: PTH102
    except FileExistsError:
        pass
    except FileNotFoundError:
        os.makedirs(path, exist_ok=True)  # noqa: PTH103


def new_file(path: str) -> FileIO:
    """Open a file that must not be there yet for writing, without a buffer: what is written is written at once."""
    return FileIO(path, "xb")


def write_all(file: FileIO, data: bytes) -> None:
    """Write bytes to a file without a buffer, which may take them in pieces, as on a disk that fills up."""
    done = file.write(data)
    while done < len(data):
        done += file.write(memoryview(data)[done:])


def write_atomic(path: Path, parts: Iterable[bytes | memoryview], *, private: bool = False, sync: bool = False) -> None:
    """Write a file that is there wholly or not at all, whichever process is killed when.

    private: only its owner may read it, from its first byte on. sync: it also survives a power cut, name and all.
    Else small files are not synced, because their readers know a torn one by its checksum, and to compute
    1 MB again costs less than to sync it ten thousand times.
    """
    temporary = path.with_name(unique(f".tmp-{path.name}"))
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666)
        with os.fdopen(handle, "wb") as f:
            for part in parts:
                f.write(part)
            if sync or f.tell() >= _WORTH_SYNCING:
                f.flush()
                os.fsync(f.fileno())
        temporary.replace(path)
    except BaseException:  # also Ctrl-C: a torn temporary file must not stay; the error goes on
        with suppress(OSError):
            temporary.unlink()
        raise
    if sync:
        _sync(path.parent, os.O_RDONLY | os.O_DIRECTORY)


def file_sha256(path: str | Path, on_bytes: Callable[[int], None] = lambda _: None) -> str:
    """Return the hex digest of a file, read in pieces; on_bytes hears how long each was."""
    digest = hashlib.sha256()
    with FileIO(path) as file:  # most files are far smaller than a piece
        view = memoryview(bytearray(max(1, min(_PIECE, os.fstat(file.fileno()).st_size))))
        while size := file.readinto(view):
            digest.update(view[:size])
            on_bytes(size)
    return digest.hexdigest()


def sync_files(path: Path) -> None:
    """Make everything written below a folder survive a power cut.

    One syncfs of the file system costs what two fsyncs cost; a store has thirty files and more.
    """
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:
        for folder, _, names in os.walk(path, topdown=False):
            for name in names:
                _sync(Path(folder, name), os.O_RDONLY)
            _sync(Path(folder), os.O_RDONLY | os.O_DIRECTORY)
        return
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if syncfs(fd) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(path))
    finally:
        os.close(fd)


def _sync(path: Path, flags: int) -> None:
    fd = os.open(path, flags)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def remove_tree(path: Path) -> None:
    """Remove a folder, also while others write into it or remove it: what stays is tried again next time."""
    for _ in range(3):
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            return
