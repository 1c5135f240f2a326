"""How many pixels a picture's file says it has, before anything of that size is asked for.

Law: bounded: a header is looked at, and of a JPEG the lengths of its segments are followed, each of which moves on.
"""

from __future__ import annotations

import struct

__all__ = ["MOST_PIXELS", "claimed_pixels"]

MOST_PIXELS = 200_000_000
"""A larger picture is a slide, not a field; a small file can claim a thousand times as much."""
PNG, BMP, JPEG = b"\x89PNG\r\n\x1a\n", b"BM", b"\xff\xd8"
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""Markers of a JPEG behind which its size stands."""
ALONE = {0x01, *range(0xD0, 0xD8)}
"""Markers without a length."""


def claimed_pixels(encoded: bytes) -> int | None:
    """Return width times height by the header of a PNG, JPEG or BMP; None of other files, or where none is found."""
    try:
        if encoded.startswith(PNG):
            width, height = struct.unpack_from(">II", encoded, 16)
        elif encoded.startswith(BMP):
            width, height = struct.unpack_from("<ii", encoded, 18)
        elif encoded.startswith(JPEG):
            return _jpeg(encoded)
        else:
            return None
    except struct.error:
        return None
    return abs(int(width)) * abs(int(height))


def _jpeg(encoded: bytes) -> int | None:
    at = 2
    while at + 4 <= len(encoded):
        if encoded[at] != 0xFF:
            return None
        marker = encoded[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker in ALONE:
            at += 2
        elif marker in FRAMES:
            height, width = struct.unpack_from(">HH", encoded, at + 5)
            return int(height) * int(width)
        else:
            (length,) = struct.unpack_from(">H", encoded, at + 2)
            at += 2 + max(2, length)
    return None
