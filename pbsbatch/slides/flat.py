"""Read images that only decode from their beginning: JPEG, PNG, WebP and TIFF in strips.

Regions would start the decoder over each time. libvips' own way out, decoding to memory or to a file, is the one taken
here, but once a slide and not once a thread, and into a file that vanishes with the process.
"""

from __future__ import annotations

import math
import shutil
import tempfile
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyvips
from numpy.typing import NDArray

from pbsbatch.errors import UnreadableSlideError
from pbsbatch.geometry import Box
from pbsbatch.slides.image import Source
from pbsbatch.slides.scale import UM_PER_MM, ScaleFacts
from pbsbatch.slides.vips import VipsHandle, check, rgb, said, setup

__all__ = ["SWAPS", "Flat", "flat_source"]

AGAIN = "Copy or export the file again"
MEMORY_PX = 64 << 20  # decoded images up to here (192 MB) stay in memory, larger ones go to a nameless file
NAMES = {"jpegload": "JPEG", "pngload": "PNG", "webpload": "WebP"}
SWAPS = (5, 6, 7, 8)  # orientations that exchange width and height
# libjpeg warns of damaged pixels, which must not be counted in, as of these sloppy writers' habits, which harm nothing
HARMLESS = (
    "extraneous bytes before marker 0xd9",
    "Invalid SOS parameters",
    "Adobe color transform",
    "unknown JFIF revision",
)

DIAGNOSIS = threading.Lock()


def flat_source(path: Path) -> Source:
    """Return a JPEG, PNG or WebP as a Source of one level."""
    setup()
    name = _loader(path)
    load = partial(getattr(pyvips.Image, name), str(path))
    try:
        header = load()
    except pyvips.Error as error:
        raise UnreadableSlideError(f"damaged {NAMES[name]}: {said(error)}", path=path, cure=AGAIN) from error
    orientation = header.get("orientation") if header.get_typeof("orientation") else 1
    size = (header.width, header.height) if orientation not in SWAPS else (header.height, header.width)
    notes = check(header, path)
    if header.get_n_pages() > 1:
        notes += (f"animation of {header.get_n_pages()} frames: the first is read",)
    strict = "warning" if name == "jpegload" else "truncated"
    flat = Flat(path, lambda fail_on: load(access="sequential", fail_on=fail_on), orientation, strict)
    tag = None if min(header.xres, header.yres) <= 0 else (UM_PER_MM / header.xres, UM_PER_MM / header.yres)
    return Source(NAMES[name], (size,), lambda: VipsHandle((flat,)), ScaleFacts(tag=tag), notes=notes)


class Flat:
    """One image decoded once for all threads, when it is first read."""

    def __init__(self, path: Path, load: Callable[[str], Any], orientation: int, strict: str) -> None:
        self.path, self.load, self.orientation, self.strict = path, load, orientation, strict
        self.lock = threading.Lock()
        self.pixels: NDArray[np.uint8] | None = None

    def read(self, box: Box) -> NDArray[np.uint8]:
        """Return (h, w, 3) RGB. Raises UnreadableSlideError: what cannot be decoded has no tile to save."""
        with self.lock:
            if self.pixels is None:
                self.pixels = _turn(self._decode(), self.orientation)
        return self.pixels[box.y : box.y1, box.x : box.x1].copy()

    def close(self) -> None:
        """Keep the pixels: other threads share them, and they go with the slide."""

    def _decode(self) -> NDArray[np.uint8]:
        try:
            return self._pixels(self.strict)
        except pyvips.Error:
            pass
        with DIAGNOSIS:  # libvips has one text of errors for all threads, and swallowed warnings linger in it
            pyvips.vips_lib.vips_error_clear()
            try:
                return self._pixels(self.strict)
            except pyvips.Error as error:
                if not _harmless(error):
                    what = f"damaged or truncated: {said(error)}"
                    raise UnreadableSlideError(what, path=self.path, cure=AGAIN) from error
            return self._pixels("truncated")

    def _pixels(self, fail_on: str) -> NDArray[np.uint8]:
        image = rgb(self.load(fail_on))
        shape = (image.height, image.width, 3)
        if math.prod(shape[:2]) <= MEMORY_PX:
            return np.frombuffer(image.write_to_memory(), np.uint8).reshape(shape)
        need, folder = math.prod(shape), tempfile.gettempdir()
        free = shutil.disk_usage(folder).free
        if need > free * 0.9:
            what = f"decoding it needs {need / 1e9:.1f} GB in {folder}, which has {free / 1e9:.1f} GB free"
            raise UnreadableSlideError(what, path=self.path, cure="Set TMPDIR, or convert it to a tiled pyramid TIFF")
        with tempfile.TemporaryFile() as file:
            image.rawsave_target(pyvips.Target.new_to_descriptor(file.fileno()))
            return np.memmap(file, np.uint8, "r", shape=shape)


def _turn(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Return a view of pixels as EXIF orientation 1 to 8 wants them."""
    flipped = {2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 4: pixels[::-1], 7: pixels[::-1, ::-1]}.get(
        orientation, pixels
    )
    if orientation not in SWAPS:
        return flipped
    turned = flipped.transpose(1, 0, 2)
    return {6: turned[:, ::-1], 8: turned[::-1]}.get(orientation, turned)


def _harmless(error: pyvips.Error) -> bool:
    lines = [line for line in str(error).splitlines() if "VipsJpeg: " in line]
    return bool(lines) and all(any(word in line for word in HARMLESS) for line in lines)


def _loader(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(4)
    return {b"\x89PNG": "pngload", b"RIFF": "webpload"}.get(head, "jpegload")
