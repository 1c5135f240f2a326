"""Tell which series a DICOM file belongs to, without a DICOM library: the files of one series are one slide."""

from __future__ import annotations

import struct
from pathlib import Path

__all__ = ["series_uid"]

SERIES = (0x0020, 0x000E)
LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
IMPLICIT = b"1.2.840.10008.1.2"
ITEM_ENDS = ((0xFFFE, 0xE00D), (0xFFFE, 0xE0DD))
HEAD, DEPTH = 1 << 18, 16


def series_uid(path: Path) -> str | None:
    """Return the series' identifier, or None where the first 256 kB do not tell. Raises OSError."""
    with path.open("rb") as file:
        data = file.read(HEAD)
    if data[128:132] != b"DICM":
        return None
    try:
        return _find(data)
    except (struct.error, RecursionError):
        return None


def _find(data: bytes) -> str | None:
    at, implicit = 132, False
    while at + 8 <= len(data):
        group = struct.unpack_from("<H", data, at)[0]
        tag, start, length = _element(data, at, implicit and group != 2)
        if tag == (2, 0x10):
            implicit = data[start : start + length].rstrip(b"\0 ") == IMPLICIT
        if tag == SERIES:
            return data[start : start + length].rstrip(b"\0 ").decode("ascii", "replace")
        if tag > SERIES:
            return None
        at = _skip(data, start, implicit, 0) if length == 0xFFFFFFFF else start + length
    return None


def _element(data: bytes, at: int, implicit: bool) -> tuple[tuple[int, int], int, int]:
    """Return a data element's tag, and where its value starts and how long it is."""
    group, number = struct.unpack_from("<HH", data, at)
    if implicit or group == 0xFFFE:
        return (group, number), at + 8, struct.unpack_from("<I", data, at + 4)[0]
    if data[at + 4 : at + 6] in LONG:
        return (group, number), at + 12, struct.unpack_from("<I", data, at + 8)[0]
    return (group, number), at + 8, struct.unpack_from("<H", data, at + 6)[0]


def _skip(data: bytes, at: int, implicit: bool, depth: int) -> int:
    """Return where a sequence or item of undefined length ends."""
    if depth > DEPTH:
        raise RecursionError("DICOM sequences nested too deep")
    while True:
        tag, start, length = _element(data, at, implicit)
        if tag in ITEM_ENDS:
            return start
        at = _skip(data, start, implicit, depth + 1) if length == 0xFFFFFFFF else start + length
