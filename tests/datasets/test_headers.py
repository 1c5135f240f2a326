"""What a file says of its size is known before it is decoded, and an absurd claim costs nothing."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest

from pbsbatch.datasets.headers import claimed_pixels
from pbsbatch.datasets.samples import decode


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp"])
def test_the_claim_of_a_real_file_is_its_size(suffix: str) -> None:
    image = np.random.default_rng(1).integers(0, 256, (37, 53, 3), np.uint8)
    for settings in ([], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1] if suffix == ".jpg" else []):
        encoded = cv2.imencode(suffix, image, settings)[1].tobytes()
        assert claimed_pixels(encoded) == 37 * 53
        if suffix == ".jpg":  # a comment, a fill byte and a restart marker before the rest
            more = encoded[:2] + b"\xff\xfe\x00\x06abcd\xff\xd3\xff" + encoded[2:]
            assert claimed_pixels(more) == 37 * 53
        for cut in range(0, 64, 3):
            assert claimed_pixels(encoded[:cut]) in (None, 37 * 53)


def test_nothing_is_known_of_other_files_and_of_loops() -> None:
    assert claimed_pixels(b"") is None and claimed_pixels(b"II*\0") is None
    assert claimed_pixels(b"\xff\xd8" + b"\xff\xe0\x00\x00" * 5000) is None
    assert claimed_pixels(b"\xff\xd8" + b"\xff" * 5000) is None
    assert claimed_pixels(b"\xff\xd8ab") is None


def test_an_absurd_claim_is_no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    def untouched(*_: object) -> None:
        raise AssertionError("it was decoded")

    monkeypatch.setattr(cv2, "imdecode", untouched)
    for size in ((100_000, 100_000), (2**31 - 1, 2**31 - 1), (20_000, 20_000)):
        assert decode(png(*size)) is None


def test_what_opencv_refuses_is_no_picture() -> None:
    head = b"II*\0\x08\0\0\0"  # a TIFF of 2^32 pixels, whose header is not read here
    entries = ((256, 4, 65536), (257, 4, 65536), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1))
    entries += ((278, 4, 65536), (279, 4, 4))
    table = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", t, k, 1, v) for t, k, v in entries)
    assert decode(head + table + b"\0" * 64) is None
