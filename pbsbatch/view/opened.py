"""The slides of a run as the viewer holds them: few at a time, and only those that the run has."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pbsbatch.errors import PbsbatchError
from pbsbatch.results import Run, RunSlide, open_run, originals
from pbsbatch.view import index
from pbsbatch.view.cache import Cache
from pbsbatch.view.index import Columns, Index
from pbsbatch.view.pixels import Pixels
from pbsbatch.view.tiles import Grid

__all__ = ["Opened", "Slides"]

MOST_OPEN = 4
ROWS_BYTES = 96 << 20


@dataclass(frozen=True)
class Opened:
    """One slide with what the viewer knows of it."""

    slide: RunSlide
    grid: Grid
    pixels: Pixels

    _reading: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @property
    def index(self) -> Index:
        """Return where its cells are; read once, when it is first asked for, whoever asks."""
        with self._reading:
            return self._index

    @cached_property
    def _index(self) -> Index:
        return index.build(self.slide.store)


class Slides:
    """The slides of the run at OUT, as they are there now: a run may be going on."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._run = open_run(out)
        self._originals: Mapping[str, Path] | None = None
        self._finding, self._opening = threading.Lock(), threading.Lock()
        self._open: Cache[Opened] = Cache(MOST_OPEN, lambda _: 1)
        self._rows: Cache[Columns] = Cache(ROWS_BYTES, lambda c: sum(v.nbytes for v in c.values()))

    def again(self) -> Run:
        """Look at the run anew, also for where its slides lie."""
        self._run, self._originals = open_run(self._out), None
        return self._run

    def find(self, slide_id: str) -> RunSlide | None:
        """Return a slide of the run, or None."""
        return next((slide for slide in self._run if slide.id == slide_id), None)

    def open(self, slide_id: str) -> Opened | None:
        """Return a slide of the run with its pixels, or None where there is no such slide."""
        slide = self.find(slide_id)
        if slide is None:
            return None
        with self._opening:
            return self._open.get(f"{slide_id} {slide.store.info.key}", lambda: self._opened(slide))

    def _opened(self, slide: RunSlide) -> Opened:
        about = slide.store.attributes["store"]
        grid = Grid(int(about["width_px"]), int(about["height_px"]))
        return Opened(slide, grid, Pixels(slide.store, grid, self._original(slide.id), slide.mpp))

    def _original(self, slide_id: str) -> Path | None:
        """Return where a slide lies, or None. The inputs are searched once for a list of slides."""
        with self._finding:
            if self._originals is None:
                try:
                    self._originals = originals(self._run)
                except (
                    PbsbatchError,
                    OSError,
                ):  # gone, or the run goes on: the preview stands in, and says so
                    self._originals = {}
            return self._originals.get(slide_id)

    def read(self, opened: Opened, piece: int) -> Columns:
        """Return a piece of a slide's table, from memory where it was read lately."""
        store = opened.slide.store
        return self._rows.get((store.path, store.info.key, piece), lambda: index.read_rows(store, piece))
