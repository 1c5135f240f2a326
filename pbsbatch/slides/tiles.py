"""Read TIFF pyramids through libvips: tiled levels by regions, levels in strips decoded once."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyvips
from numpy.typing import NDArray

from pbsbatch.errors import UnreadableSlideError
from pbsbatch.geometry import Box
from pbsbatch.slides.flat import SWAPS, Flat
from pbsbatch.slides.image import Source
from pbsbatch.slides.pyramid import Pyramid
from pbsbatch.slides.tiff import Ifd
from pbsbatch.slides.vips import VipsHandle, check, rgb, said, setup

__all__ = ["CODECS", "tiff_source"]

# TIFF compressions that every build of libvips decodes; pip's has no zstd, WebP or JPEG 2000 in TIFF
CODECS = frozenset({0, 1, 2, 3, 4, 5, 7, 8, 32773, 32946})
CACHE_PX = 32 << 20  # libvips keeps 1.5 rows of tiles: where that is more, a region is renewed after reading this much


def tiff_source(path: Path, pyramid: Pyramid) -> Source:
    """Return a TIFF's pyramid as a Source."""
    setup()
    orientation = pyramid.base.number(274, 1)
    try:
        notes = check(_load(path, pyramid.levels[0], "random"), path)
    except pyvips.Error as error:
        cure = "Copy or export the file again"
        raise UnreadableSlideError(f"damaged TIFF: {said(error)}", path=path, cure=cure) from error
    flats = {
        k: Flat(path, partial(_load, path, row, "sequential"), orientation, "warning")
        for k, row in enumerate(pyramid.levels)
        if not row[0].tiled
    }

    def open_levels() -> VipsHandle:
        return VipsHandle(tuple(flats.get(k) or Tiled(path, row, orientation) for k, row in enumerate(pyramid.levels)))

    sizes = tuple((row[0].width, row[0].height) for row in pyramid.levels)
    sizes = tuple((h, w) for w, h in sizes) if orientation in SWAPS else sizes
    notes = (*pyramid.notes, *notes)
    return Source(
        pyramid.format, sizes, open_levels, pyramid.scale, associated=pyramid.associated, notes=notes,
        origin=pyramid.origin,
    )  # fmt: skip


class Tiled:
    """One level of a tiled TIFF for one thread."""

    def __init__(self, path: Path, row: tuple[Ifd, ...], orientation: int) -> None:
        self.path, self.row, self.orientation = path, row, orientation
        self.region: Any = None
        self.fetched = 0
        self.renews = 1.5 * max(row[0].width, row[0].height) * row[0].number(323) > CACHE_PX

    def read(self, box: Box) -> NDArray[np.uint8]:
        """Return (h, w, 3) RGB."""
        if self.region is None or (self.renews and self.fetched > CACHE_PX):
            image = _upright(rgb(_load(self.path, self.row, "random")), self.orientation)
            self.region, self.fetched = pyvips.Region.new(image), 0
        self.fetched += box.area
        data = self.region.fetch(box.x, box.y, box.w, box.h)
        return np.frombuffer(data, np.uint8).reshape(box.h, box.w, 3)

    def close(self) -> None:
        """Forget the region, which closes the file."""
        self.region = None


def _load(path: Path, row: tuple[Ifd, ...], access: str, fail_on: str = "warning") -> Any:
    """Return the lazy image of a level, as stored. "warning": a damaged deflate tile is otherwise read as black."""
    images = [
        pyvips.Image.tiffload(str(path), page=ifd.page, subifd=ifd.sub, access=access, fail_on=fail_on) for ifd in row
    ]
    return images[0] if len(images) == 1 else images[0].bandjoin(images[1:]).copy(interpretation="srgb")


def _upright(image: Any, orientation: int) -> Any:
    image = image.copy()
    image.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    return image.autorot()
