"""Write what is made region by region: pyramids and label images as tiled BigTIFF, single fields as JPEG or PNG.

Law: what is written depends on the picture and the options, not on the number of workers; memory is a few
bands of tiles, whatever the slide's height.
"""

from __future__ import annotations

import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from pbsbatch.synth.bigtiff import JPEG_RGB, ZLIB_INT32, BigTiff
from pbsbatch.synth.pyramid import halve, levels_of
from pbsbatch.synth.scene import Scene

__all__ = ["IdMap", "Picture", "Progress", "write_field", "write_labels", "write_slide"]

Progress = Callable[[int, int], None]
"""Called with (bands done, bands in all)."""
Pixels = NDArray[np.uint8]


class Picture(Protocol):
    """What can be written, as a drawn scene or a composite. Law: a pixel does not depend on the region asked for."""

    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def mpp(self) -> float | None: ...
    def render(self, x: int, y: int, w: int, h: int) -> Pixels: ...


class IdMap:
    """Turn the scene's sparse ids into dense ones 1..N; ids that are not known become 0."""

    def __init__(self, ids: NDArray[np.int32]) -> None:
        """Take the scene's ids in the order of their dense ids."""
        self._order = np.argsort(ids, kind="stable").astype(np.int32)
        self._sorted = ids[self._order]

    def __call__(self, labels: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return labels with every id replaced."""
        present, where = np.unique(labels, return_inverse=True)
        at = np.searchsorted(self._sorted, present)
        known = at < len(self._sorted)
        known[known] = self._sorted[at[known]] == present[known]
        dense = np.zeros(len(present), np.int32)
        dense[known] = self._order[at[known]] + 1
        return dense[where].reshape(labels.shape)


class _Spool:
    """Encoded tiles of one level, kept on disk until that level's turn comes."""

    def __init__(self) -> None:
        self._file: IO[bytes] = TemporaryFile()  # noqa: SIM115 - outlives this call, closed by replay
        self._sizes: list[int] = []

    def append(self, tile: bytes) -> None:
        self._file.write(tile)
        self._sizes.append(len(tile))

    def replay(self) -> Iterator[bytes]:
        self._file.seek(0)
        for size in self._sizes:
            yield self._file.read(size)
        self._file.close()


def _jpeg(pixels: Pixels, quality: int) -> bytes:
    ok, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not ok:
        raise ValueError(f"cannot encode {pixels.shape} pixels as JPEG")
    return bytes(data.tobytes())


def _pad(pixels: NDArray[np.generic], tile: int) -> NDArray[np.generic]:
    """Repeat the last row and column up to a whole tile."""
    h, w = pixels.shape[:2]
    if (h, w) == (tile, tile):
        return pixels
    return np.pad(pixels, [(0, tile - h), (0, tile - w), (0, 0)][: pixels.ndim], mode="edge")


def _fit(scene: Picture, tile: int) -> int:
    """Return a tile side no larger than the scene needs: libvips refuses tiles far larger than the picture."""
    return min(tile, -(-max(scene.width, scene.height) // 16) * 16)


class _Levels:
    """Take bands of level-0 rows from the top; give encoded tiles of every level, the lower ones to spools."""

    def __init__(self, scene: Picture, tile: int, quality: int, pool: ThreadPoolExecutor, levels: int) -> None:
        self.tile, self.quality, self.pool = tile, quality, pool
        self.sizes = [(scene.width >> k, scene.height >> k) for k in range(levels)]
        self.spools = [_Spool() for _ in range(levels - 1)]
        self._waiting: list[list[Pixels]] = [[] for _ in range(levels)]

    def encode(self, band: Pixels) -> list[bytes]:
        """Return the tiles of one band, left to right."""
        starts = range(0, band.shape[1], self.tile)
        return list(self.pool.map(self._tile, [band[:, i : i + self.tile] for i in starts]))

    def _tile(self, pixels: Pixels) -> bytes:
        return _jpeg(np.ascontiguousarray(_pad(pixels, self.tile)), self.quality)

    def sink(self, band: Pixels, level: int, last: bool) -> None:
        """Halve a band of level - 1 into the spool of level; a band is written when it is a tile high."""
        if level == len(self.sizes):
            return
        waiting = self._waiting[level]
        waiting.append(halve(band))
        if sum(len(part) for part in waiting) < self.tile and not last:
            return
        whole = np.concatenate(waiting)
        waiting.clear()
        if len(whole):
            for tile in self.encode(whole):
                self.spools[level - 1].append(tile)
        self.sink(whole, level + 1, last)


def _bands(scene: Picture, tile: int, pool: ThreadPoolExecutor) -> Iterator[Pixels]:
    """Yield level-0 rows a tile high, the next band being drawn while this one is encoded."""
    step = 4 * tile

    def start(y: int) -> list[Future[Pixels]]:
        rows = min(tile, scene.height - y)
        return [pool.submit(scene.render, x, y, min(step, scene.width - x), rows) for x in range(0, scene.width, step)]

    ahead: deque[list[Future[Pixels]]] = deque([start(0)])
    for y in range(0, scene.height, tile):
        if y + tile < scene.height:
            ahead.append(start(y + tile))
        yield np.concatenate([part.result() for part in ahead.popleft()], axis=1)


def write_slide(scene: Picture, path: Path, *, tile: int = 256, quality: int = 87, workers: int = 1,
                levels: int | None = None, progress: Progress | None = None) -> None:  # fmt: skip
    """Write a pyramid: JPEG tiles, level 0 first, each lower level a page of its own (reduced image).

    Every lower level is made of rounded 2 x 2 means of the level above before JPEG.
    """
    tile, count = _fit(scene, tile), levels or levels_of(scene.width, scene.height)
    bands = -(-scene.height // tile)
    with ThreadPoolExecutor(max(1, workers)) as pool, BigTiff(path) as out:
        stack = _Levels(scene, tile, quality, pool, count)

        def level0() -> Iterator[bytes]:
            for done, band in enumerate(_bands(scene, tile, pool), 1):
                yield from stack.encode(band)
                stack.sink(band, 1, done == bands)
                if progress:
                    progress(done, bands)

        out.page(level0(), stack.sizes[0], tile, scene.mpp, JPEG_RGB)
        for k, spool in enumerate(stack.spools, 1):
            out.page(spool.replay(), stack.sizes[k], tile, scene.mpp and scene.mpp * 2**k, JPEG_RGB, reduced=True)


def write_labels(scene: Scene, path: Path, *, ids: IdMap | None = None, tile: int = 512, workers: int = 1) -> None:
    """Write the label image of the whole slide as deflated int32 tiles; ids are the scene's own without a map."""
    tile = _fit(scene, tile)

    def one(place: tuple[int, int]) -> bytes:
        x, y = place
        labels = scene.labels(x, y, min(tile, scene.width - x), min(tile, scene.height - y))
        whole = np.zeros((tile, tile), np.int32)
        whole[: labels.shape[0], : labels.shape[1]] = ids(labels) if ids else labels
        return zlib.compress(whole.tobytes(), 1)

    places = [(x, y) for y in range(0, scene.height, tile) for x in range(0, scene.width, tile)]
    with ThreadPoolExecutor(max(1, workers)) as pool, BigTiff(path) as out:
        tiles = _in_order(pool, one, places, 4 * max(1, workers))
        out.page(tiles, (scene.width, scene.height), tile, scene.mpp, ZLIB_INT32)


def _in_order(pool: ThreadPoolExecutor, work: Callable[[tuple[int, int]], bytes], items: Iterable[tuple[int, int]],
              ahead: int) -> Iterator[bytes]:  # fmt: skip
    """Map like the pool, holding no more than some results ahead of the reader."""
    running: deque[Future[bytes]] = deque()
    for item in items:
        running.append(pool.submit(work, item))
        if len(running) > ahead:
            yield running.popleft().result()
    while running:
        yield running.popleft().result()


def write_field(scene: Picture, path: Path, *, quality: int = 92) -> None:
    """Write a small scene as .jpg or .png with its scale, if known, in the file (JFIF density, pHYs)."""
    pixels = scene.render(0, 0, scene.width, scene.height)
    if path.suffix == ".png":
        ok, data = cv2.imencode(".png", pixels[..., ::-1])
        if not ok:
            raise ValueError(f"cannot encode {pixels.shape} pixels as PNG")
        path.write_bytes(_with_phys(data.tobytes(), scene.mpp))
    else:
        path.write_bytes(_with_density(_jpeg(pixels, quality), scene.mpp))


def _with_density(jpeg: bytes, mpp: float | None) -> bytes:
    """Set dots per cm in the JFIF header, or in an Exif block where 16 bits cannot hold them (below 0.153 um)."""
    if mpp is None:
        return jpeg
    if jpeg[6:11] != b"JFIF\0":
        raise ValueError("the encoder wrote no JFIF header")
    dots = round(1e4 / mpp)
    if dots <= 65535:
        return jpeg[:13] + struct.pack(">BHH", 2, dots, dots) + jpeg[18:]
    end = 4 + int.from_bytes(jpeg[4:6], "big")
    # three tags: x resolution, y resolution (both at offset 50), unit cm
    ifd = struct.pack(">HHHIIHHIIHHIHHI", 3, 282, 5, 1, 50, 283, 5, 1, 50, 296, 3, 1, 3, 0, 0)
    body = b"Exif\0\0" + b"MM\0*\0\0\0\x08" + ifd + struct.pack(">II", dots, 1)
    return jpeg[:end] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[end:]


def _with_phys(png: bytes, mpp: float | None) -> bytes:
    """Put a pHYs chunk (dots per metre) behind the header chunk."""
    if mpp is None:
        return png
    dots = round(1e6 / mpp)
    body = b"pHYs" + struct.pack(">IIB", dots, dots, 1)
    return png[:33] + struct.pack(">I", 9) + body + struct.pack(">I", zlib.crc32(body)) + png[33:]
