"""Write tiled BigTIFF pages from tiles that are already encoded, one behind the other, in one pass.

Written here because the usual writer asks for a codec library even where the tiles come encoded.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["JPEG_RGB", "ZLIB_INT32", "BigTiff", "Layout"]

_SHORT, _LONG, _RATIONAL, _ASCII, _LONG8 = 3, 4, 5, 2, 16
_CODES = {_SHORT: "H", _LONG: "I", _LONG8: "Q"}


@dataclass(frozen=True, slots=True)
class Layout:
    """How a page's pixels are stored, as TIFF tag values."""

    bits: tuple[int, ...]
    sample_format: int
    compression: int
    photometric: int
    subsampling: tuple[int, int] | None = None


JPEG_RGB = Layout((8, 8, 8), 1, 7, 6, (2, 2))
"""Colour as YCbCr JPEG tiles with halved chroma, each a whole JPEG stream."""
ZLIB_INT32 = Layout((32,), 2, 8, 1)


class BigTiff:
    """A file being written, to be used as a context. Law: pages follow in the order they were added."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._file.write(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 0))
        self._link = 8  # where the next page's offset goes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._file.close()

    def page(self, tiles: Iterable[bytes], size: tuple[int, int], tile: int, mpp: float | None, layout: Layout,
             *, reduced: bool = False) -> None:  # fmt: skip
        """Add a page of width x height pixels from its tiles, row by row; mpp sets the resolution tags."""
        offsets, counts = array("Q"), array("Q")
        for data in tiles:
            offsets.append(self._file.tell())
            counts.append(len(data))
            self._file.write(data)
        expected = -(-size[0] // tile) * -(-size[1] // tile)
        if len(counts) != expected:
            raise ValueError(f"{len(counts)} tiles came for a page of {expected}")
        tags: list[tuple[int, int, int, bytes]] = [
            _tag(254, _LONG, [int(reduced)]), _tag(256, _LONG, [size[0]]), _tag(257, _LONG, [size[1]]),
            _tag(258, _SHORT, layout.bits), _tag(259, _SHORT, [layout.compression]),
            _tag(262, _SHORT, [layout.photometric]), _tag(277, _SHORT, [len(layout.bits)]),
            *_resolution(mpp), _tag(284, _SHORT, [1]), _tag(296, _SHORT, [1 if mpp is None else 3]),
            (305, _ASCII, 15, b"pbsbatch synth\0"), _tag(322, _LONG, [tile]), _tag(323, _LONG, [tile]),
            _tag(324, _LONG8, offsets), _tag(325, _LONG8, counts),
            _tag(339, _SHORT, [layout.sample_format] * len(layout.bits)),
        ]  # fmt: skip
        if layout.subsampling:
            tags.append(_tag(530, _SHORT, layout.subsampling))
        self._directory(tags)

    def _directory(self, tags: list[tuple[int, int, int, bytes]]) -> None:
        """Write long values, then the directory, then link it to the page before."""
        entries = b""
        for tag, kind, count, value in tags:
            field = value.ljust(8, b"\0")
            if len(value) > 8:
                field = struct.pack("<Q", self._file.tell())
                self._file.write(value)
            entries += struct.pack("<HHQ", tag, kind, count) + field
        here = self._file.tell()
        self._file.write(struct.pack("<Q", len(tags)) + entries + struct.pack("<Q", 0))
        end = self._file.tell()
        self._file.seek(self._link)
        self._file.write(struct.pack("<Q", here))
        self._file.seek(end)
        self._link = end - 8


def _resolution(mpp: float | None) -> list[tuple[int, int, int, bytes]]:
    if mpp is None:
        return []
    per_cm = Fraction(1e4 / mpp).limit_denominator(10_000)
    scale = struct.pack("<II", per_cm.numerator, per_cm.denominator)
    return [(282, _RATIONAL, 1, scale), (283, _RATIONAL, 1, scale)]


def _tag(tag: int, kind: int, values: Iterable[int]) -> tuple[int, int, int, bytes]:
    numbers = list(values)
    return tag, kind, len(numbers), struct.pack(f"<{len(numbers)}{_CODES[kind]}", *numbers)
