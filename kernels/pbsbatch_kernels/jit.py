"""Compile the inner loops once per machine, and keep their types.

Laws. Kept machine code lies where nobody but its user and root can write, because a cached kernel is code that will
run. Each state of a file and of all that it imports has a folder of its own: numba's own check knows the file that a
kernel stands in, but not the files of the kernels that it calls. Where no such folder can be had, every process
compiles for itself.
No `fastmath`: reassociated sums would make a pixel depend on the region it was asked for with.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import pickle
import re
import shutil
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar, cast

import numba
from llvmlite.binding import get_host_cpu_name
from numba.core.caching import FunctionCache

__all__ = ["cache_folder", "folder_for", "kernel", "kernel_ieee", "locked", "only_ours", "tally"]

P = ParamSpec("P")
R = TypeVar("R")
HERE = Path(__file__).parent
IMPORT = re.compile(r"^[ \t]*(?:from|import)\b[^\n(]*(?:\([^)]*\))?", re.MULTILINE)
KEPT = 3
"""States of a file whose code is kept: a few installed versions, and not every edit of a working day."""
CUT_SHORT = (EOFError, pickle.UnpicklingError)
SETTINGS: Any = numba.config
_made: list[Any] = []
_choosing = threading.Lock()


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function to machine code that runs without the interpreter lock, kept on disk."""
    return _compiled(function, "python")


def kernel_ieee(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function likewise; a division by zero gives inf or nan there, and is not looked for."""
    return _compiled(function, "numpy")


def _compiled(function: Callable[P, R], error_model: Literal["python", "numpy"]) -> Callable[P, R]:
    if SETTINGS.DISABLE_JIT:
        return function
    made: Any = numba.njit(nogil=True, error_model=error_model)(function)
    folder = folder_for(Path(function.__code__.co_filename))
    if folder is not None:
        made._cache = _Cache.within(folder, function)
    _made.append(made)
    return cast("Callable[P, R]", made)


def tally() -> tuple[int, int]:
    """Return how many kernels this process has loaded from disk, and how many it has compiled."""
    stats = [made.stats for made in _made]
    return sum(s.cache_hits.total() for s in stats), sum(s.cache_misses.total() for s in stats)


class _Cache(FunctionCache):
    """numba's file cache, safe for several processes and never in the way."""

    folder: Path

    @classmethod
    def within(cls, folder: Path, function: Callable[..., Any]) -> _Cache:
        """Return the cache of one function; numba asks a global setting for the folder, at this moment only."""
        with _choosing:
            before, SETTINGS.CACHE_DIR = SETTINGS.CACHE_DIR, str(folder)
            try:
                cache = cls(function)
            finally:
                SETTINGS.CACHE_DIR = before
        cache.folder = folder
        return cache

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the kept code, or None; a file that a crash cut short counts as not there."""
        try:
            return super().load_overload(sig, target_context)  # type: ignore[no-untyped-call]
        except (OSError, *CUT_SHORT):
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep the code. numba names files without a lock: two processes may give one name to two signatures."""
        with contextlib.suppress(OSError), locked(self.folder / "lock"):  # a full disk costs time, not the run
            try:
                super().save_overload(sig, data)  # type: ignore[no-untyped-call]
            except CUT_SHORT:  # the index of the kept files
                self.flush()  # type: ignore[no-untyped-call]
                super().save_overload(sig, data)  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time in; the system gives the lock back when its owner dies."""
    with path.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@functools.lru_cache
def folder_for(source: Path) -> Path | None:
    """Return the folder for the kernels that stand in one file, or None where there is no safe one."""
    cpu = os.environ.get("NUMBA_CPU_NAME") or get_host_cpu_name()
    digest = hashlib.sha256(f"{numba.__version__} {cpu} {SETTINGS.OPT} {SETTINGS.BOUNDSCHECK}".encode())
    for path in sorted(_sources(source)):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return cache_folder(source.stem, digest.hexdigest()[:24])


def _sources(source: Path) -> set[Path]:
    """Return a file and every file beside it, or beside this one, that it imports at any remove."""
    found: set[Path] = set()
    waiting = [source]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            imports = " ".join(IMPORT.findall(path.read_text(encoding="utf-8")))
            names = [f"{word}.py" for word in re.findall(r"\w+", imports)]
            waiting += [at for folder in (path.parent, HERE) for name in names if (at := folder / name).exists()]
    return found


def cache_folder(name: str, digest: str) -> Path | None:
    """Return the first folder for that name and digest that can be written to, by this user only.

    Not beside the package, numba's own first choice: what is left there hinders the next pip uninstall.
    """
    for root in _roots():
        try:
            for missing in [f for f in (*reversed(root.parents), root) if not f.exists()]:
                missing.mkdir(mode=0o700, exist_ok=True)  # mkdir(parents=True) would leave the parents to the umask
            folder = root.resolve() / f"{name}-{digest}"
            if not only_ours(folder.parent):
                continue
            if not folder.exists():
                folder.mkdir(mode=0o700, exist_ok=True)
                _drop_oldest(folder.parent, name)
            with locked(folder / "lock"), tempfile.TemporaryFile(dir=folder):
                pass
        except OSError:
            continue
        if only_ours(folder):
            return folder
    return None


def _roots() -> Iterator[Path]:
    """Yield where to look: what the user named, the user's cache, a folder of the user's own for temporary files."""
    named, base = os.environ.get("NUMBA_CACHE_DIR"), Path(os.environ.get("XDG_CACHE_HOME", ""))
    if named:
        yield Path(named).absolute() / "pbsbatch"
    home = Path(os.path.expanduser("~"))  # noqa: PTH111  # Path.home() raises where there is none
    if not base.is_absolute():
        base = home / ".cache"
    if base.is_absolute():
        yield base / "pbsbatch" / "numba"
    with contextlib.suppress(FileNotFoundError):
        yield Path(tempfile.gettempdir()) / f"pbsbatch-{os.geteuid()}" / "numba"


def only_ours(folder: Path) -> bool:
    """Say whether nobody else can write into the folder, nor swap it or a folder above it for another."""
    own = folder.lstat()
    if not stat.S_ISDIR(own.st_mode) or own.st_uid != os.geteuid() or own.st_mode & 0o022:
        return False
    for above in folder.parents:
        info = above.stat()
        loose = info.st_mode & 0o022 and not info.st_mode & stat.S_ISVTX  # a sticky folder lets nobody swap
        if loose or info.st_uid not in (0, os.geteuid()):
            return False
    return True


def _drop_oldest(root: Path, name: str) -> None:
    """Remove the folders of all but the last few states of one file."""
    for folder in sorted(root.glob(f"{name}-*"), key=lambda f: f.lstat().st_mtime)[:-KEPT]:
        shutil.rmtree(folder, ignore_errors=True)  # who still uses it compiles anew
