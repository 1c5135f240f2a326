"""Read a TIFF's directories, without pixels, from files that may be damaged or hostile.

Law: every count and offset is checked against the file's size before it is used; a malformed file raises Malformed,
never another error, and costs bounded time and memory.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pbsbatch.slides.origin import Origin, from_tiff_tags

__all__ = ["Ifd", "Malformed", "read_ifds"]

MAX_PAGES, MAX_TAGS, MAX_BYTES = 4096, 4096, 1 << 26
CODES = {1: "B", 2: "s", 3: "H", 4: "I", 5: "II", 6: "b", 7: "s", 8: "h", 9: "i", 10: "ii", 13: "I", 16: "Q", 18: "Q"}
SIZES = {code: struct.calcsize("<" + letters) for code, letters in CODES.items()}
OFFSETS, COUNTS = (324, 273), (325, 279)  # of tiles, else of strips
WANTED = {
    254,
    256,
    257,
    258,
    259,
    262,
    270,
    271,
    272,
    274,
    277,
    282,
    283,
    296,
    305,
    306,
    322,
    323,
    330,
    339,
    *OFFSETS,
    *COUNTS,
}
UM_PER_RESOLUTION_UNIT = {2: 25_400.0, 3: 10_000.0}  # inch, cm; 1 means "no unit", an aspect ratio


class Malformed(Exception):
    """The directories of this TIFF contradict its size or the format."""


@dataclass(frozen=True)
class Ifd:
    """One directory: a page, or with page and sub a sub-directory of one."""

    page: int
    sub: int  # -1: the page itself
    tags: dict[int, tuple[int, ...] | bytes]
    subs: tuple[Ifd, ...] = ()

    def number(self, tag: int, default: int = 0) -> int:
        """Return the first value of a tag."""
        value = self.tags.get(tag)
        return int(value[0]) if value else default

    @property
    def width(self) -> int:
        return self.number(256)

    @property
    def height(self) -> int:
        return self.number(257)

    @property
    def tiled(self) -> bool:
        return 322 in self.tags

    @cached_property
    def description(self) -> str:
        return self._text(270)

    @property
    def software(self) -> str:
        return self._text(305)

    @cached_property
    def origin(self) -> Origin:
        """Return what its own tags say of the scanner."""
        return from_tiff_tags(self._text(271), self._text(272), self._text(306))

    @cached_property
    def um_per_px(self) -> tuple[float, float] | None:
        """Return what the resolution tags say, whatever it is worth."""
        unit = UM_PER_RESOLUTION_UNIT.get(self.number(296, 2))
        x, y = (self.tags.get(tag) for tag in (282, 283))
        if unit is None or not x or not y or len(x) < 2 or len(y) < 2 or not (x[0] and x[1] and y[0] and y[1]):
            return None
        return unit * x[1] / x[0], unit * y[1] / y[0]

    @cached_property
    def extent(self) -> int:
        """Return where the last byte of this page's pixels ends."""
        offsets, counts = self._blocks()
        return int((offsets + counts).max()) if offsets.size else 0

    @cached_property
    def sparse(self) -> bool:
        """Say whether some tiles are left out (zero bytes), which readers fill each in their own way."""
        return bool((self._blocks()[1] == 0).any())

    def _text(self, tag: int) -> str:
        value = self.tags.get(tag, b"")
        return value.split(b"\0")[0].decode("utf-8", "replace") if isinstance(value, bytes) else ""

    def _blocks(
        self,
    ) -> tuple[np.ndarray[tuple[int], np.dtype[np.uint64]], np.ndarray[tuple[int], np.dtype[np.uint64]]]:
        offsets, counts = (
            np.array(next((self.tags[t] for t in pair if t in self.tags), ()), np.uint64) for pair in (OFFSETS, COUNTS)
        )
        n = min(len(offsets), len(counts))
        return offsets[:n], counts[:n]


def read_ifds(path: Path) -> tuple[Ifd, ...]:
    """Return the pages of a classic or Big TIFF with their sub-directories. Raises Malformed or OSError."""
    with path.open("rb") as file:
        reader = _Reader(file, path.stat().st_size)
        pages: list[Ifd] = []
        offset, seen = reader.first, set[int]()
        while offset:
            if offset in seen or len(pages) >= MAX_PAGES:
                raise Malformed("its list of pages does not end")
            seen.add(offset)
            tags, following = reader.directory(offset)
            pages.append(_page(reader, len(pages), tags))
            offset = following
    if not pages:
        raise Malformed("it has no page")
    return tuple(pages)


def _page(reader: _Reader, index: int, tags: dict[int, tuple[int, ...] | bytes]) -> Ifd:
    offsets = tags.get(330, ())
    if len(offsets) > 64:
        raise Malformed(f"page {index} has {len(offsets)} sub-pages")
    subs = tuple(Ifd(index, k, reader.directory(int(offset))[0]) for k, offset in enumerate(offsets))
    return Ifd(index, -1, tags, subs)


class _Reader:
    """Bounded reads of one file in its byte order and flavour."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size = file, size
        head = file.read(16)
        self.order = {b"II": "<", b"MM": ">"}.get(head[:2], "")
        version = struct.unpack(self.order + "H", head[2:4])[0] if self.order and len(head) >= 8 else 0
        if version not in (42, 43) or (version == 43 and len(head) < 16):
            raise Malformed("its header is not a TIFF's")
        self.big = version == 43
        self.word = "Q" if self.big else "I"
        self.first: int = struct.unpack_from(self.order + self.word, head, 8 if self.big else 4)[0]

    def take(self, offset: int, size: int) -> bytes:
        """Return bytes, or raise where the file ends before them."""
        if size > MAX_BYTES or offset + size > self.size:
            raise Malformed(f"it ends at byte {self.size:,} but refers to byte {offset + size:,}")
        self.file.seek(offset)
        return self.file.read(size)

    def directory(self, offset: int) -> tuple[dict[int, tuple[int, ...] | bytes], int]:
        """Return the wanted tags of one directory and the offset of the next."""
        counter, width = ("Q", 20) if self.big else ("H", 12)
        at = offset + struct.calcsize(counter)
        (n,) = struct.unpack(self.order + counter, self.take(offset, at - offset))
        if n > MAX_TAGS:
            raise Malformed(f"a directory claims {n:,} entries")
        raw = self.take(at, n * width + struct.calcsize(self.word))
        tags = {}
        for k in range(n):
            tag, code, count = struct.unpack_from(self.order + "HH" + self.word, raw, k * width)
            if tag in WANTED and code in CODES:
                tags[tag] = self.value(raw[(k + 1) * width - (8 if self.big else 4) : (k + 1) * width], code, count)
        return tags, struct.unpack_from(self.order + self.word, raw, n * width)[0]

    def value(self, inline: bytes, code: int, count: int) -> tuple[int, ...] | bytes:
        """Return a tag's values; rationals as flat pairs."""
        size = SIZES[code] * count
        raw = (
            inline[:size] if size <= len(inline) else self.take(struct.unpack(self.order + self.word, inline)[0], size)
        )
        if CODES[code] == "s":
            return raw
        letters = CODES[code]
        return struct.unpack(f"{self.order}{count * len(letters)}{letters[0]}", raw)
