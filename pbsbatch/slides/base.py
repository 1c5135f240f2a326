"""What a slide is to everyone else: levels, a scale with its source, and reads that never fail at a border."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pbsbatch.geometry import Level
from pbsbatch.slides.origin import Origin

__all__ = ["MppSource", "Slide", "SlideRef"]

MppSource = Literal["metadata", "given", "estimated"]


@dataclass(frozen=True, slots=True)
class SlideRef:
    """A slide found by discovery and not yet opened; small, and picklable to any worker."""

    id: str
    path: Path
    name: str  # as a person would call it: relative path, or the name given in slides.csv
    sample: str  # default: the id
    mpp: float | None = None  # given by --mpp or slides.csv, else None


@runtime_checkable
class Slide(Protocol):
    """An open image. Safe to read from many threads: each thread gets a handle of its own.

    Laws: level 0 is the finest; downsamples are exact and grow; reads outside the slide are filled
    with `background`; a pixel of read_scaled depends on its absolute position alone, never on the
    region it was read with.
    """

    @property
    def id(self) -> str: ...
    @property
    def path(self) -> Path: ...
    @property
    def format(self) -> str:
        """Say what the file is, as a person would: "SVS (Aperio)", "TIFF pyramid", "JPEG"."""
        ...

    @property
    def levels(self) -> tuple[Level, ...]: ...
    @property
    def mpp(self) -> float | None:
        """Return um per level-0 pixel, or None where nothing tells."""
        ...

    @property
    def mpp_source(self) -> MppSource | None: ...
    @property
    def background(self) -> tuple[int, int, int]: ...
    @property
    def associated(self) -> tuple[str, ...]:
        """Return the names of label, macro and other images beside the pyramid; they are never decoded."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what a person should know about how the file is read, one line each."""
        ...

    @property
    def origin(self) -> Origin:
        """Return which scanner made the file, and when, as far as it says."""
        ...

    def read(self, level: int, x: int, y: int, w: int, h: int) -> NDArray[np.uint8]:
        """Return (h, w, 3) RGB; x, y, w, h are pixels of that level.

        Raises TileError where this region cannot be read, UnreadableSlideError where nothing can.
        """
        ...

    def read_scaled(self, scale: float, x: int, y: int, w: int, h: int) -> NDArray[np.uint8]:
        """Return (h, w, 3) RGB on the work grid of `scale` level-0 pixels per work pixel. Raises TileError."""
        ...

    def thumbnail(self, max_px: int) -> tuple[NDArray[np.uint8], float]:
        """Return the whole slide with its longer side at most max_px, and level-0 pixels per thumbnail pixel.

        Parts that cannot be read are background. Raises TileError where nothing can be read.
        """
        ...

    def close(self) -> None: ...
