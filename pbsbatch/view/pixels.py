"""The slide's own pixels as JPEG tiles; where the slide is gone, its preview stands in, and that is said.

Laws. What is coarser than the preview comes from it in any case: it was made of the slide, and a slide without a
pyramid would be read whole for it. Label and macro images are never looked at.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pbsbatch.errors import PbsbatchError
from pbsbatch.slides import open_slide
from pbsbatch.slides.base import Slide
from pbsbatch.store import StoredSlide
from pbsbatch.view.tiles import SIDE, Grid, Place

__all__ = ["Pixels", "thumbnail"]

Image = NDArray[np.uint8]
QUALITY = 85
GREY = 128


class Pixels:
    """Tiles of one slide. Any thread may ask. `problem` says why the preview stands in; None: the slide is there."""

    def __init__(self, store: StoredSlide, grid: Grid, original: Path | None, mpp: float | None) -> None:
        self._grid = grid
        self._preview = store.preview(0)
        self._shrink = grid.width / self._preview.shape[1]  # level-0 px per pixel of the preview
        self._slide: Slide | None = None
        self.problem: str | None = (
            None if original is not None else "the slide is not where it was, or the run has not finished"
        )
        if original is not None:
            self._open(original, store.path.stem, mpp)

    def _open(self, path: Path, slide_id: str, mpp: float | None) -> None:
        try:
            slide = open_slide(path, id=slide_id, mpp=mpp)
        except PbsbatchError as error:
            self.problem = f"the slide cannot be opened ({error.what})"
            return
        full = slide.levels[0]
        if (full.width, full.height) == (self._grid.width, self._grid.height):
            self._slide = slide
        else:
            self.problem = f"the file in its place has {full.width} x {full.height} px"
            slide.close()

    def tile(self, place: Place) -> bytes:
        """Return a tile of a level from 0 on, cut off where the slide ends."""
        scale = 1 << place.level
        w = min(SIDE, -(-(self._grid.width - place.x) // scale))
        h = min(SIDE, -(-(self._grid.height - place.y) // scale))
        if self._slide is None or scale >= self._shrink:
            return _jpeg(self._stand_in(place, scale, w, h))
        try:
            return _jpeg(self._slide.read_scaled(float(scale), place.column * SIDE, place.row * SIDE, w, h))
        except PbsbatchError:  # one bad tile: the page goes on, and shows which
            return _jpeg(_unreadable(w, h))

    def _stand_in(self, place: Place, scale: int, w: int, h: int) -> Image:
        """Return a tile from the preview: pixel centres keep their places."""
        step = scale / self._shrink
        shift = [(corner + scale / 2) / self._shrink - 0.5 for corner in (place.x, place.y)]
        move = np.array([[step, 0, shift[0]], [0, step, shift[1]]])
        how = (cv2.INTER_LINEAR if step <= 1 else cv2.INTER_NEAREST) | cv2.WARP_INVERSE_MAP
        out = cv2.warpAffine(self._preview, move, (w, h), flags=how, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(out, np.uint8)


def thumbnail(preview: Image, side: int) -> bytes:
    """Return a picture as JPEG, its longer side at most so long."""
    height, width = preview.shape[:2]
    shrink = min(1.0, side / max(height, width))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    return _jpeg(np.asarray(cv2.resize(preview, size, interpolation=cv2.INTER_AREA), np.uint8))


def _jpeg(pixels: Image) -> bytes:
    """Return RGB pixels as a JPEG file."""
    done, file = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert done
    return file.tobytes()


def _unreadable(w: int, h: int) -> Image:
    out = np.full((h, w, 3), GREY, np.uint8)
    cv2.putText(out, "could not be read", (10, 30), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (255, 255, 255), 1, cv2.LINE_AA)
    return out
