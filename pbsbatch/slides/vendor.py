"""Read scanners' own formats through OpenSlide: SVS, NDPI, MRXS, SCN, BIF, VMS, Philips, Sakura, Trestle, DICOM."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import openslide
from numpy.typing import NDArray

from pbsbatch.errors import UnreadableSlideError, UnsupportedFormatError
from pbsbatch.geometry import Box
from pbsbatch.slides.image import ReadFault, Source
from pbsbatch.slides.origin import from_openslide
from pbsbatch.slides.scale import ScaleFacts

__all__ = ["detect", "vendor_source"]

NAMES = {
    "aperio": "SVS (Aperio)", "hamamatsu": "Hamamatsu", "mirax": "MRXS (3DHISTECH)", "leica": "SCN (Leica)",
    "ventana": "BIF (Ventana)", "trestle": "TIFF (Trestle)", "philips-tiff": "TIFF (Philips)", "sakura": "Sakura",
    "dicom": "DICOM", "generic-tiff": "TIFF pyramid", "zeiss": "CZI (Zeiss)",
}  # fmt: skip
BLOCK, BLOCKS = 512, 64
OVERLAPPING = ("mirax", "ventana", "trestle")  # tiles at fractional places, blended by Cairo


def detect(path: Path) -> str | None:
    """Return the vendor that OpenSlide sees, or None."""
    vendor: str | None = openslide.OpenSlide.detect_format(path)
    return vendor


def vendor_source(path: Path) -> Source:
    """Return a scanner's file as a Source."""
    try:
        with openslide.OpenSlide(path) as slide:
            facts = dict(slide.properties)
            sizes = tuple((int(w), int(h)) for w, h in slide.level_dimensions)
            downsamples = tuple(float(d) for d in slide.level_downsamples)
            associated = tuple(sorted(slide.associated_images))
    except openslide.OpenSlideUnsupportedFormatError as error:
        cure = "Copy the whole slide again: some formats keep a folder beside the file"
        raise UnreadableSlideError("not a slide that OpenSlide knows", path=path, cure=cure) from error
    except openslide.OpenSlideError as error:
        raise _refusal(error, path) from error
    vendor = facts.get(openslide.PROPERTY_NAME_VENDOR, "")
    background = _colour(facts.get(openslide.PROPERTY_NAME_BACKGROUND_COLOR, "FFFFFF"))

    def open_handle() -> _Handle:
        try:
            return _Handle(openslide.OpenSlide(path), downsamples, vendor in OVERLAPPING, background)
        except openslide.OpenSlideError as error:
            raise _refusal(error, path) from error

    name = "TIFF" if vendor == "generic-tiff" and len(sizes) == 1 else NAMES.get(vendor, vendor)
    return Source(
        name,
        sizes,
        open_handle,
        _scale(facts, vendor),
        background=background,
        associated=associated,
        origin=from_openslide(facts),
    )


def _refusal(error: Exception, path: Path) -> UnreadableSlideError | UnsupportedFormatError:
    if "Unsupported" in str(error):
        return UnsupportedFormatError(str(error), path=path, cure="Convert it with QuPath or bfconvert to OME-TIFF")
    return UnreadableSlideError(f"damaged: {error}", path=path, cure="Copy the file again, with all that belongs to it")


class _Handle:
    """One thread's OpenSlide.

    OpenSlide takes level-0 coordinates: where a level's downsample is no whole number, or tiles lie at fractions of a
    pixel, the same pixel depends on the region asked for. There, whole blocks on a fixed grid are read and kept.
    """

    def __init__(
        self, slide: openslide.OpenSlide, downsamples: tuple[float, ...], blocks: bool, background: tuple[int, int, int]
    ) -> None:
        self.slide, self.downsamples, self.background = slide, downsamples, background
        self.by_block = tuple(blocks or d != round(d) for d in downsamples)
        self.kept: OrderedDict[tuple[int, int, int], NDArray[np.uint8]] = OrderedDict()

    def read(self, level: int, box: Box) -> NDArray[np.uint8]:
        """Return (h, w, 3) RGB of a box inside the level."""
        if not self.by_block[level]:
            return self._region(level, box)
        out = np.empty((box.h, box.w, 3), np.uint8)
        for row in range(box.y // BLOCK, -(-box.y1 // BLOCK)):
            for col in range(box.x // BLOCK, -(-box.x1 // BLOCK)):
                at = Box(col * BLOCK, row * BLOCK, BLOCK, BLOCK)
                part = at.intersect(box)
                pixels = self._block(level, at)[part.y - at.y : part.y1 - at.y, part.x - at.x : part.x1 - at.x]
                out[part.y - box.y : part.y1 - box.y, part.x - box.x : part.x1 - box.x] = pixels
        return out

    def close(self) -> None:
        """Close the file."""
        self.slide.close()
        self.kept.clear()

    def _block(self, level: int, at: Box) -> NDArray[np.uint8]:
        key = (level, at.x, at.y)
        if key in self.kept:
            self.kept.move_to_end(key)
            return self.kept[key]
        self.kept[key] = self._region(level, at)
        if len(self.kept) > BLOCKS:
            self.kept.popitem(last=False)
        return self.kept[key]

    def _region(self, level: int, box: Box) -> NDArray[np.uint8]:
        """Return RGB with holes in the background colour."""
        downsample = self.downsamples[level]
        corner = (round(box.x * downsample), round(box.y * downsample))
        try:
            rgba = np.asarray(self.slide.read_region(corner, level, (box.w, box.h)))
        except openslide.OpenSlideError as error:
            raise ReadFault(str(error)) from error
        alpha = rgba[..., 3:]
        if alpha.min() == 255:
            return np.ascontiguousarray(rgba[..., :3])
        weight = alpha.astype(np.uint32)
        mixed = rgba[..., :3] * weight + np.array(self.background, np.uint32) * (255 - weight)
        return ((mixed + 127) // 255).astype(np.uint8)


def _scale(facts: Mapping[str, str], vendor: str) -> ScaleFacts:
    mpp = (_number(facts.get(openslide.PROPERTY_NAME_MPP_X)), _number(facts.get(openslide.PROPERTY_NAME_MPP_Y)))
    pair = None if mpp[0] is None or mpp[1] is None else (mpp[0], mpp[1])
    power = _number(facts.get(openslide.PROPERTY_NAME_OBJECTIVE_POWER))
    if vendor == "generic-tiff":  # there mpp is only the resolution tag
        return ScaleFacts(tag=pair, objective=power)
    return ScaleFacts(scanner=pair, objective=power)


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if number > 0 else None


def _colour(text: str) -> tuple[int, int, int]:
    try:
        r, g, b = bytes.fromhex(text)
    except ValueError:
        return (255, 255, 255)
    return r, g, b
