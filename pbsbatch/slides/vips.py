"""libvips, bounded: what every reader that uses it shares.

libvips never guesses a loader here (a bracket in a file's name would be taken for options), never caches operations
(a handle that failed would come back from the cache) and uses one thread (Dask owns the cores).
"""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyvips
from numpy.typing import NDArray

from pbsbatch.errors import UnsupportedFormatError, one_line
from pbsbatch.geometry import Box
from pbsbatch.slides.image import ReadFault

__all__ = ["LevelReader", "VipsHandle", "check", "rgb", "said", "setup"]


@cache
def setup() -> None:
    """Bound libvips once a process, before its first image."""
    logging.getLogger("pyvips").setLevel(logging.ERROR)  # its warnings would reach stderr; faults come as errors
    pyvips.cache_set_max(0)
    pyvips.concurrency_set(1)


def said(error: Exception) -> str:
    """Return the telling line of an error: libvips puts a general one before it and repeats it for every scanline."""
    lines = [one_line(line) for line in str(error).splitlines() if line.strip()]
    telling = lines[1:] if lines and lines[0].startswith("unable to ") else lines
    return (telling or lines or ["no reason given"])[0][:200]


def check(image: Any, path: Path) -> tuple[str, ...]:
    """Refuse pixels that are no colours; return notes."""
    cure = "Convert it to 8 bits per channel, gray or RGB"
    if image.format not in ("uchar", "ushort"):
        raise UnsupportedFormatError(f"pixels of type {image.format}", path=path, cure=cure)
    if image.bands > 4 + (image.interpretation == "cmyk"):
        raise UnsupportedFormatError(f"{image.bands} channels, which is no brightfield image", path=path, cure=cure)
    return ("16 bits per channel: the upper 8 are read",) if image.format == "ushort" else ()


def rgb(image: Any) -> Any:
    """Return 8-bit sRGB, transparency on white. Embedded profiles are left alone: models learnt raw pixels."""
    if image.interpretation == "multiband":
        image = image.copy(interpretation="b-w" if image.bands < 3 else "srgb")
    if image.hasalpha():
        image = image.flatten(background=[65535 if image.format == "ushort" else 255])
    if image.format == "ushort":
        image = (image >> 8).cast("uchar").copy(interpretation="b-w" if image.bands == 1 else "srgb")
    return image if image.interpretation == "srgb" else image.colourspace("srgb")


class LevelReader(Protocol):
    """What reads one level; may raise pyvips.Error."""

    def read(self, box: Box) -> NDArray[np.uint8]: ...
    def close(self) -> None: ...


class VipsHandle:
    """A Handle: one reader a level."""

    def __init__(self, levels: tuple[LevelReader, ...]) -> None:
        self.levels = levels

    def read(self, level: int, box: Box) -> NDArray[np.uint8]:
        """Return (h, w, 3) RGB of a box inside the level."""
        try:
            return self.levels[level].read(box)
        except pyvips.Error as error:
            raise ReadFault(said(error)) from error

    def close(self) -> None:
        """Close the readers of this thread."""
        for level in self.levels:
            level.close()
