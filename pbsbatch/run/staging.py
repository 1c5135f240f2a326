"""Copy the next slides from slow storage to a local folder while others are computed.

One thread copies and takes off; what to do decides the shelf (run/shelf.py). A slide is copied with all its files,
which keep their names and places beside each other, and its bytes are digested on the way.

Law: nothing but a folder of this run's own is ever written to or removed. It is locked while the run lives, so
that the next run knows a dead one's by the lock that nobody holds, and removes it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pbsbatch.config import Config
from pbsbatch.disk import remove_tree, unique
from pbsbatch.errors import UsageError, one_line
from pbsbatch.run.events import SlideResult
from pbsbatch.run.output import free_bytes
from pbsbatch.run.shelf import Shelf
from pbsbatch.run.slide_digest import SlideDigest, combined, hint_of
from pbsbatch.slides.base import SlideRef
from pbsbatch.slides.files import slide_files

__all__ = ["Arrival", "Staging", "check_stage", "copy_slide", "staging", "staging_folder"]

STEM = "pbsbatch-stage"
LOCK, MAGIC = "lock", b"a stage of pbsbatch\n"
PIECE = 1 << 22
SECONDS_TO_END = 10.0
FREE_SHARE = 0.5
"""What a stage takes at most of what is free, unless it is told otherwise."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A slide may begin: from its copy, or in place and why."""

    slide_id: str
    digest: SlideDigest | None = None
    in_place: str | None = None


def check_stage(config: Config) -> int:
    """Return the bytes that the stage may take; refuse a stage in the results or among the slides."""
    if config.stage is None:
        return 0
    stage = config.stage.resolve()
    for path, what in ((config.output, "the results"), *((p, "the slides") for p in config.inputs)):
        if stage.is_relative_to(path.resolve()):
            raise UsageError(f"the stage lies inside {what}", path=config.stage, cure="Choose another --stage")
    if stage.exists() and not stage.is_dir():
        raise UsageError("the stage is a file, not a folder", path=config.stage, cure="Choose another --stage")
    free = free_bytes(stage)
    if config.stage_bytes is not None and config.stage_bytes > free:
        what = f"the stage should hold {config.stage_bytes / 1e9:.2f} GB, {free / 1e9:.2f} GB are free"
        raise UsageError(what, path=config.stage, cure="Use a smaller --stage-bytes, or make room")
    return config.stage_bytes or int(free * FREE_SHARE)


@contextlib.contextmanager
def staging(
    config: Config, shelf: Shelf, slides: Iterable[SlideRef], blind: Callable[[Path], list[str]]
) -> Iterator[Staging | None]:
    """Give the stage of a run, None without --stage. blind: which workers do not see a path."""
    if config.stage is None:
        yield None
        return
    with staging_folder(config.stage, shared=config.scheduler is not None) as folder:
        if workers := blind(folder):
            what = f"{len(workers)} workers do not see the stage, {workers[0]} is one"
            raise UsageError(what, path=config.stage, cure="Give a folder that is the same on all machines")
        with contextlib.closing(Staging(folder, shelf, {ref.id: ref for ref in slides})) as stage:
            yield stage


@contextlib.contextmanager
def staging_folder(stage: Path, *, shared: bool = False) -> Iterator[Path]:
    """Give a folder of this run's own inside the stage, and take away those of runs that died.

    What is copied carries names: others may read it only where workers of other users must.
    """
    try:
        stage.mkdir(parents=True, exist_ok=True)
        for old in stage.glob(f"{STEM}-*"):
            if not old.is_symlink():
                _remove_dead(old)
        folder, lock = _own(stage, 0o755 if shared else 0o700)
    except OSError as error:
        what = f"nothing can be written there ({error.strerror})"
        raise UsageError(what, path=stage, cure="Choose another --stage") from error
    try:
        yield folder
    finally:
        remove_tree(folder)
        os.close(lock)


def _own(stage: Path, mode: int) -> tuple[Path, int]:
    """Make and lock a folder; another run may take it for a dead one's until it is locked, then a new one is made."""
    while True:
        folder = stage / unique(STEM)
        folder.mkdir(mode=mode)
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(lock).st_nlink:
                    os.write(lock, MAGIC)
                    return folder, lock
            os.close(lock)


def _remove_dead(folder: Path) -> None:
    """Remove a folder of a run that is dead: its lock is there, and nobody holds it."""
    try:
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        with contextlib.suppress(OSError):
            folder.rmdir()  # a crash before the lock was made left it empty; what is not empty is not ours
        return
    except OSError:
        return  # another user's, or not ours
    try:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.pread(lock, len(MAGIC), 0) == MAGIC or [path.name for path in folder.iterdir()] == [LOCK]:
                remove_tree(folder)
    finally:
        os.close(lock)


class Staging:
    """The stage of one run. All but the copying happens on the driver's thread."""

    def __init__(self, folder: Path, shelf: Shelf, refs: Mapping[str, SlideRef]) -> None:
        self.folder, self.shelf, self.refs = folder, shelf, refs
        self.arrivals: list[Arrival] = []
        self.copies: dict[str, Path] = {}
        self.changed = threading.Condition()
        self.closing = False
        self.thread = threading.Thread(target=self._work, name="staging", daemon=True)
        self.thread.start()

    def offer(self, slides: Iterable[str]) -> None:
        """Take slides that may not begin before they arrive."""
        with self.changed:
            bound = self.shelf.bound
            size = f"{bound / 1e9:.1f} GB" if bound >= 1e9 else f"{bound / 1e6:.1f} MB"
            why = f"it is larger than the stage of {size}"
            self.arrivals += [Arrival(slide, in_place=why) for slide in self.shelf.offer(slides)]
            self.changed.notify()

    def news(self) -> list[Arrival]:
        """Return the slides that may begin, each once."""
        with self.changed:
            found, self.arrivals = self.arrivals, []
        return found

    def staged(self, ref: SlideRef) -> SlideRef:
        """Return a slide with the path that workers read."""
        return replace(ref, path=self.copies.get(ref.id, ref.path))

    def done(self, slide_id: str) -> None:
        """Take note that a slide needs nothing more: its copy is taken off."""
        with self.changed:
            self.shelf.done(slide_id)
            self.changed.notify()

    def restored(self, result: SlideResult) -> SlideResult:
        """Return a result that speaks of the slide where it lies, not of its copy."""
        path = self.refs[result.slide_id].path
        copy = self.copies.get(result.slide_id)
        if copy is None:
            return replace(result, path=path)

        def said(text: str) -> str:
            return text.replace(one_line(copy), one_line(path)).replace(str(copy), str(path))

        return replace(
            result, path=path,
            error=None if result.error is None else said(result.error),
            details=None if result.details is None else said(result.details),
            failed_tiles=tuple((tile, said(text)) for tile, text in result.failed_tiles),
        )  # fmt: skip

    def close(self) -> None:
        """End the copying; a read that a dead share never answers is left behind, and the next run cleans up."""
        with self.changed:
            self.closing = True
            self.changed.notify()
        self.thread.join(SECONDS_TO_END)

    # ---- the copying thread

    def _work(self) -> None:
        while True:
            with self.changed:
                slide = None
                while not self.closing and not self.shelf.leaving and (slide := self.shelf.next()) is None:
                    self.changed.wait()
                if self.closing:
                    return
                leaving = sorted(self.shelf.leaving)
            if slide is not None:
                self._stage(slide)
            for old in leaving:
                remove_tree(self.folder / old)
                with self.changed:
                    self.shelf.left(old)

    def _stage(self, slide_id: str) -> None:
        """Copy one slide, and let it begin."""
        ref, digest, why = self.refs[slide_id], None, None
        try:
            digest = copy_slide(ref.path, self.folder / slide_id, self._go_on)
            why = None if digest is not None else "it changed while it was copied"
        except OSError as error:
            why = f"it could not be copied ({error.strerror or error})"
        with self.changed:
            self.shelf.copied(whole=digest is not None)
            if digest is not None:
                self.copies[slide_id] = self.folder / slide_id / ref.path.name
            self.arrivals.append(Arrival(slide_id, digest, why))

    def _go_on(self) -> None:
        if self.closing:
            raise InterruptedError(errno.EINTR, "the run ends")


def copy_slide(path: Path, folder: Path, go_on: Callable[[], None]) -> SlideDigest | None:
    """Copy all files of a slide into a folder, and digest them; None where they change meanwhile. Raises OSError."""
    files = slide_files(path)
    hint = hint_of(files)
    digests: dict[Path, str] = {}
    size = 0
    for file in files:
        name = file.relative_to(path.parent)
        digests[name], copied = _copy(file, folder / name, go_on)
        size += copied
    return SlideDigest(combined(digests), len(files), size, hint) if hint_of(slide_files(path)) == hint else None


def _copy(source: Path, target: Path, go_on: Callable[[], None]) -> tuple[str, int]:
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    buffer = memoryview(bytearray(PIECE))
    with source.open("rb", buffering=0) as file, target.open("xb", buffering=0) as copy:
        while count := file.readinto(buffer):
            go_on()
            digest.update(buffer[:count])
            written = 0
            while written < count:
                written += copy.write(buffer[written:count])
            size += count
    return digest.hexdigest(), size
