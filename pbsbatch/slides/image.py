"""The one Slide class: readers give it a Source, it gives levels, padding, threads, retries and the work grid."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pbsbatch.errors import TileError
from pbsbatch.geometry import Box, Level
from pbsbatch.slides import grid
from pbsbatch.slides.base import MppSource
from pbsbatch.slides.origin import NOBODY, Origin
from pbsbatch.slides.scale import Scale, ScaleFacts

__all__ = ["Handle", "ImageSlide", "ReadFault", "Source"]


NOTHING = ScaleFacts()
Opener = Callable[..., "ImageSlide"]


class ReadFault(Exception):
    """A handle could not read a region; a fresh handle may."""


class Handle(Protocol):
    """An open file, used by one thread at a time unless its reader says otherwise."""

    def read(self, level: int, box: Box) -> NDArray[np.uint8]:
        """Return (h, w, 3) RGB of a box inside the level. Raises ReadFault."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Source:
    """What a reader found out about a file without decoding a pixel."""

    format: str
    sizes: tuple[tuple[int, int], ...]  # (width, height), finest first
    open: Callable[[], Handle]
    scale: ScaleFacts = NOTHING
    background: tuple[int, int, int] = (255, 255, 255)
    associated: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    origin: Origin = NOBODY


class ImageSlide:
    """A Slide over any Source.

    Law: each thread has its own handle. A handle that failed once is not trusted again (OpenSlide's stay broken): it
    is closed, the read is tried once on a fresh one, and then the tile is given up.
    """

    def __init__(
        self, source: Source, path: Path, slide_id: str, scale: Scale, given: float | None, opener: Opener
    ) -> None:
        self._source, self._path, self._id, self._scale, self._given = source, path, slide_id, scale, given
        self._opener = opener  # how another process gets this slide: handles do not travel
        self._levels = grid.exact_levels(source.sizes)
        self._local = threading.local()
        self._handles: weakref.WeakSet[Handle] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._closed = False

    def __repr__(self) -> str:
        full = self._levels[0]
        return f"<{self.format} {self._id}: {full.width} x {full.height} px, {len(self._levels)} levels>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self._opener, self._path, self._id, self._given)

    @property
    def id(self) -> str:
        return self._id

    @property
    def path(self) -> Path:
        return self._path

    @property
    def format(self) -> str:
        return self._source.format

    @property
    def levels(self) -> tuple[Level, ...]:
        return self._levels

    @property
    def mpp(self) -> float | None:
        return self._scale.mpp

    @property
    def mpp_source(self) -> MppSource | None:
        return self._scale.source

    @property
    def background(self) -> tuple[int, int, int]:
        return self._source.background

    @property
    def associated(self) -> tuple[str, ...]:
        return self._source.associated

    @property
    def notes(self) -> tuple[str, ...]:
        return self._source.notes + self._scale.notes

    @property
    def origin(self) -> Origin:
        return self._source.origin

    def read(self, level: int, x: int, y: int, w: int, h: int) -> NDArray[np.uint8]:
        """Return (h, w, 3) RGB in pixels of that level, background outside; the array is the caller's own."""
        if not 0 <= level < len(self._levels):
            raise ValueError(f"{self._path} has levels 0 to {len(self._levels) - 1}, not {level}")
        want, full = Box(x, y, w, h), self._levels[level]
        inside = want.intersect(Box(0, 0, full.width, full.height))
        if inside == want and want.area:
            return np.require(self._fetch(level, inside), requirements=["C", "W"])
        out = filled(h, w, self.background)
        if inside.area:
            out[inside.y - y : inside.y1 - y, inside.x - x : inside.x1 - x] = self._fetch(level, inside)
        return out

    def read_scaled(self, scale: float, x: int, y: int, w: int, h: int) -> NDArray[np.uint8]:
        """Return (h, w, 3) RGB on the work grid."""
        return grid.read_scaled(self, scale, x, y, w, h)

    def thumbnail(self, max_px: int) -> tuple[NDArray[np.uint8], float]:
        """Return the whole slide from its pyramid, never from an associated image, and its scale."""
        return grid.thumbnail(self, max_px)

    def close(self) -> None:
        """Close every thread's handle; closing twice is fine, reading afterwards is an error of the caller."""
        with self._lock:
            self._closed = True
            handles = list(self._handles)
            self._handles.clear()
        for handle in handles:
            handle.close()

    def _fetch(self, level: int, box: Box) -> NDArray[np.uint8]:
        try:
            return self._handle().read(level, box)
        except ReadFault:
            self._drop()
        try:
            return self._handle().read(level, box)
        except ReadFault as fault:
            self._drop()
            where = f"level {level}, x {box.x}, y {box.y}, {box.w} x {box.h} px"
            cure = "It failed on a fresh handle too; the rest of the slide is read"
            raise TileError(f"cannot read {where}: {fault}", path=self._path, cure=cure) from fault

    def _handle(self) -> Handle:
        if self._closed:
            raise ValueError(f"{self._path} is closed")
        handle: Handle | None = getattr(self._local, "handle", None)
        if handle is None:
            handle = self._source.open()
            with self._lock:
                self._handles.add(handle)
            self._local.handle = handle
        return handle

    def _drop(self) -> None:
        handle: Handle = self._local.handle
        del self._local.handle
        with self._lock:
            mine = handle in self._handles
            self._handles.discard(handle)
        if mine:
            handle.close()


def filled(h: int, w: int, colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Return (h, w, 3) of one colour; a grey one, as nearly all are, many times as fast."""
    if len(set(colour)) == 1:
        return np.full((h, w, 3), colour[0], np.uint8)
    out = np.empty((h, w, 3), np.uint8)
    out[:] = colour
    return out


def _reopen(opener: Opener, path: Path, slide_id: str, given: float | None) -> Any:
    return opener(path, id=slide_id, mpp=given)
