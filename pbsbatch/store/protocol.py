"""The store of one slide: begin, append strips in any order and process, commit once.

    OUT/slides/.work/<slide id>/<key>/strip-00012.cells   finished strips, each there wholly or not at all
    OUT/slides/.work/<slide id>/settle-<unique>/          one attempt to settle
    OUT/slides/.work/.together/settle-<unique>/           one attempt to settle several small slides (together.py)
    OUT/slides/<slide id>.zarr                            appears by one rename

Laws. Nothing is visible before it is complete. A process killed at any moment loses at most the strip
it was writing. Whoever commits, and however often the work was interrupted, the same bytes appear.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

from pbsbatch.detections import UNTYPED, Detections
from pbsbatch.disk import make_folder, output_errors, remove_tree, sync_files, unique
from pbsbatch.errors import StoreError
from pbsbatch.store.attempt import attempt, work_of
from pbsbatch.store.build import build, info_of
from pbsbatch.store.reading import open_store
from pbsbatch.store.records import CommittedInfo, Measure, Preview, StoreHeader, TileRows
from pbsbatch.store.seal import seal
from pbsbatch.store.strips import HeldStrip, Strip, StripFile, write_strip

__all__ = ["Fence", "Store"]

Fence = Callable[[], AbstractContextManager[None]]

_KEY_CHARS = 16
_STRIP = re.compile(r"strip-(\d{5,})\.cells")
_AGAIN = "Run again: what is missing is computed, what is done is kept"


class Store:
    """What a slide's results go into. Made by `begin`; safe to use from many processes at once.

    A held store keeps its strips in memory: for a small slide whose strips are appended and committed with one Store,
    and are gone with the process.
    """

    def __init__(self, out: Path, header: StoreHeader, key: str, *, held: bool = False) -> None:
        self.header = header
        self.key = key
        self.path = out / "slides" / f"{header.slide_id}.zarr"
        self.stale: tuple[str, ...] = ()  # work folders of this slide under other keys; removed by commit
        self.damaged: tuple[str, ...] = ()  # what `finished` found damaged, as a person would read it
        self._out = out
        self._slide = work_of(out) / header.slide_id
        self._work = self._slide / key[:_KEY_CHARS]
        # a strip of the same key but another header is as good as damaged
        self._tag = hashlib.sha256(f"{key}\n{header.to_json()}".encode()).hexdigest()
        self._checked: dict[int, tuple[int, ...]] = {}
        self._held: dict[int, HeldStrip] | None = {} if held else None

    @classmethod
    def begin(cls, out: Path, header: StoreHeader, key: str, *, held: bool = False) -> Store:
        """Open the slide's work folder, or make it. A store that is already published stays as it is.

        Where a crash came between publishing and clearing up, this clears up.
        """
        if not re.fullmatch(r"[0-9a-f]{16,}", key):
            raise ValueError(f"a key is a hex digest of at least 16 characters, not {key!r}")
        store = cls(Path(out), header, key, held=held)
        with output_errors(store._slide):
            for _ in range(100):
                if store._published():
                    store.clean(store._out, header.slide_id)
                    return store
                if held and not store._slide.exists():
                    return store
                with suppress(FileNotFoundError):  # another process published and cleared up just now: look again
                    make_folder(store._slide if held else store._work)
                    names = sorted(p.name for p in store._slide.iterdir())
                    store.stale = tuple(n for n in names if re.fullmatch(r"[0-9a-f]{16}", n) and not key.startswith(n))
                    return store
        raise StoreError("the work folder is removed again and again", path=store._work, cure="Stop what removes it")

    def _published(self) -> CommittedInfo | None:
        info = self.committed(self._out, self.header.slide_id)
        return info if info is not None and info.key == self.key else None

    def _strip(self, strip: int) -> Path:
        return self._work / f"strip-{strip:05d}.cells"

    @property
    def finished(self) -> frozenset[int]:
        """Return the strips that are there and whole, read from disk now; each file's bytes are checked once."""
        good, bad = set(self._held or ()), []
        try:
            with output_errors(self._work):
                names = sorted(p.name for p in self._work.iterdir())
        except FileNotFoundError:
            return frozenset(range(self.header.strips)) if self._published() else frozenset(good)
        for name in names:
            found = _STRIP.fullmatch(name)
            if not found or int(found[1]) >= self.header.strips:
                continue
            try:
                self._check(int(found[1]))
                good.add(int(found[1]))
            except StoreError as e:
                bad.append(str(e))
            except FileNotFoundError:
                continue  # another process has published and is clearing up
        self.damaged = tuple(bad)
        return frozenset(good)

    def tiles(self) -> TileRows:
        """Return the tiles of all finished strips, of this attempt and earlier ones."""
        if self._published():
            return open_store(self.path).tiles
        return TileRows.concat([self._check(strip).tiles() for strip in sorted(self.finished)])

    def _check(self, strip: int) -> Strip:
        if self._held is not None and strip in self._held:
            return self._held[strip]
        path = self._strip(strip)
        s = path.stat()
        seen = (s.st_ino, s.st_size, s.st_mtime_ns)
        file = StripFile.open(path, self._tag, strip)
        if self._checked.get(strip) != seen:
            file.check()
            self._checked[strip] = seen
        return file

    def append(self, strip: int, cells: Detections, tiles: TileRows) -> None:
        """Add a strip. Law: it is there wholly or not at all; adding it again changes nothing."""
        if not 0 <= strip < self.header.strips:
            raise ValueError(f"strip {strip} is not one of {self.header.strips}")
        if len(cells) and int(cells.classes.max()) >= len(self.header.classes):
            raise ValueError(f"class {int(cells.classes.max())} is not one of {self.header.classes}")
        named = cells.types[cells.types != UNTYPED]
        if len(named) and int(named.max()) >= len(self.header.types):
            raise ValueError(f"type {int(named.max())} is not one of {self.header.types}")
        if cells.second is not None:
            said = cells.second["second_type"][cells.second["second_type"] != UNTYPED]
            if len(said) and int(said.max()) >= len(self.header.second_types):
                raise ValueError(f"the second opinion {int(said.max())} is not one of {self.header.second_types}")
        with suppress(StoreError, FileNotFoundError):
            self._check(strip)
            return
        held = HeldStrip.of(cells, tiles)
        if self._held is not None:
            self._held[strip] = held
            return
        try:
            with output_errors(self._work):
                write_strip(self._strip(strip), self._tag, strip, held)
        except FileNotFoundError as e:
            if not self._published():
                raise StoreError("the work folder was removed", path=self._work, cure=_AGAIN) from e

    def commit(
        self, preview: Preview, *, workers: int = 1, fence: Fence | None = None, measure: Measure | None = None
    ) -> CommittedInfo:
        """Settle, render and publish by one rename; the first to publish under a key wins.

        `measure` says from the tables what is to stand in the attributes, and nothing but them may decide it.
        `fence` is entered immediately before anything visible changes, and left behind it; it may raise to
        refuse. Raises StoreError where strips are missing or damaged, OutputError where the disk takes no more; the
        strips stay.
        """
        with self._there():
            strips = self._all_strips()
            if strips is not None:
                with output_errors(self.path), attempt(self._slide) as folder:
                    built = self._settle(folder, strips, preview, workers, measure)
                    sync_files(built)
                    self.publish(built, fence)
        self.clean(self._out, self.header.slide_id)
        return info_of(self.path)

    def build(self, folder: Path, preview: Preview, *, measure: Measure | None = None) -> Path | None:
        """Settle and render into a folder; nothing of it is synced or visible. None where another has published."""
        built = None
        with self._there():
            strips = self._all_strips()
            if strips is not None:
                built = self._settle(folder, strips, preview, 1, measure)
        return built

    @contextmanager
    def _there(self) -> Iterator[None]:
        """Say it where the work folder goes away, but for another process that published and cleared up."""
        try:
            yield
        except FileNotFoundError as e:
            if not self._published():
                raise StoreError("the work folder was removed", path=self._work, cure=_AGAIN) from e

    def _all_strips(self) -> list[Strip] | None:
        """Return the strips, None where it is published under this key. Raises StoreError where some are missing."""
        if self._published():
            return None
        missing = sorted(set(range(self.header.strips)) - self.finished)
        if missing and self._published():
            return None
        if missing:
            damaged = "".join(f"; {d}" for d in self.damaged)
            some = ", ".join(map(str, missing[:8])) + (", ..." if len(missing) > 8 else "")
            raise StoreError(f"{len(missing)} of {self.header.strips} strips are missing ({some}){damaged}",
                             path=self._work, cure=_AGAIN)  # fmt: skip
        with output_errors(self.path):
            return [self._opened(k) for k in range(self.header.strips)]

    def _settle(
        self, folder: Path, strips: Sequence[Strip], preview: Preview, workers: int, measure: Measure | None
    ) -> Path:
        built = folder / self.path.name
        build(built, self.header, self.key, strips, preview, workers, measure)
        return built

    def _opened(self, strip: int) -> Strip:
        held = None if self._held is None else self._held.get(strip)
        return StripFile.open(self._strip(strip), self._tag, strip) if held is None else held

    def publish(self, built: Path, fence: Fence | None = None) -> None:
        """Make what was built and synced visible, by one rename; what stood there goes beside what was built."""
        with self._there():
            self._publish(built, fence)

    def _publish(self, built: Path, fence: Fence | None) -> None:
        for _ in range(10):
            if self._published():
                return
            with nullcontext() if fence is None else fence():
                with suppress(FileNotFoundError):
                    self.path.rename(built.parent / unique("old"))
                try:
                    built.rename(self.path)
                except OSError as e:
                    if e.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                        raise
                    continue  # another process published between the two renames: look again
            # The files were synced before; the rename is not, nor is what follows: journals keep their
            # order, so that a power cut costs the last slides published, never a torn one.
            return
        raise StoreError("other processes keep publishing this slide", path=self.path, cure="Stop them and run again")

    @staticmethod
    def committed(out: Path, slide_id: str) -> CommittedInfo | None:
        """Return what the slide's published store says of itself; None where there is none that can be read."""
        store = f"{out}/slides/{slide_id}.zarr"
        if not os.path.exists(f"{store}/zarr.json"):  # noqa: PTH110  # asked eight times a field, mostly for nothing
            return None
        try:
            return info_of(Path(store))
        except StoreError:
            return None

    @staticmethod
    def clean(out: Path, slide_id: str) -> None:
        """Seal a published store and remove its work folder: after publishing, and when a later run keeps it."""
        seal(Path(out), slide_id)
        slide = work_of(Path(out)) / slide_id
        if slide.exists():
            remove_tree(slide)
        with suppress(OSError):  # others are working there
            slide.parent.rmdir()
