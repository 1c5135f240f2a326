"""Open any slide: find its reader, refuse what cannot be read with the cure, settle its scale."""

from __future__ import annotations

import os
from os import PathLike
from pathlib import Path

from pbsbatch.errors import NotASlideError, UnreadableSlideError, UnsupportedFormatError
from pbsbatch.slides import formats, ome, pyramid, tiff
from pbsbatch.slides.image import ImageSlide, Source
from pbsbatch.slides.scale import resolve

__all__ = ["open_slide"]

AGAIN = "Copy or export the file again"
MAX_PX = 4e11  # 630,000 x 630,000: 95 x 95 mm at 0.15 um
SMALL_PX, MAX_PX_PER_BYTE = 1e8, 20_000  # zstd packs an empty 1024 px tile to about 3,500 px per byte


def open_slide(path: str | PathLike[str], *, id: str | None = None, mpp: float | None = None) -> ImageSlide:
    """Open a slide; nothing is decoded yet. id defaults to the stem; a given mpp overrides the file's.

    Raises a SlideError that names the file and the cure.
    """
    path = Path(path)
    source = _source(path)
    _refuse_absurd(source.sizes, path)
    scale = resolve(source.scale, mpp, path)
    return ImageSlide(source, path, id if id is not None else path.stem, scale, mpp, open_slide)


def _source(path: Path) -> Source:
    try:
        str(path).encode()
        if path.is_dir():
            return _folder(path)
        size = path.stat().st_size
        if not os.access(path, os.R_OK):
            raise PermissionError("permission denied")
        if size == 0:
            raise UnreadableSlideError("the file is empty", path=path, cure=AGAIN)
        return _file(path)
    except FileNotFoundError as error:
        raise UnreadableSlideError("no such file", path=path, cure="Check the path") from error
    except PermissionError as error:
        raise UnreadableSlideError("may not be read", path=path, cure="Give yourself the right to read it") from error
    except UnicodeEncodeError as error:
        raise UnreadableSlideError("its name is not UTF-8", path=path, cure="Rename it") from error
    except OSError as error:
        raise UnreadableSlideError(f"cannot be read: {error.strerror}", path=path, cure=AGAIN) from error


def _folder(path: Path) -> Source:
    if any((path / name).is_file() for name in ("zarr.json", ".zattrs", ".zgroup")):
        from pbsbatch.slides import ngff

        return ngff.source(path)
    first = min((f for f in path.iterdir() if f.suffix.lower() == ".dcm" and f.is_file()), default=None)
    if first is None:
        cure = "Give a slide, or run on the folder with --input"
        raise NotASlideError("a folder, and neither OME-Zarr nor DICOM", path=path, cure=cure)
    return _vendor(first)


def _file(path: Path) -> Source:
    kind, key = formats.sniff(path)
    if kind == "refused":
        name, cure = formats.REFUSED[key]
        raise UnsupportedFormatError(f"{name} is not read", path=path, cure=cure)
    if kind == "tiff":
        return _tiff(path)
    if kind in ("vendor", "dicom"):
        return _vendor(path)
    if kind == "flat":
        from pbsbatch.slides import flat

        return flat.flat_source(path)
    if path.suffix.lower() in formats.SLIDE_SUFFIXES:
        what = f"named {path.suffix} but its bytes are no image's"
        raise UnreadableSlideError(what, path=path, cure=AGAIN)
    raise NotASlideError("not a slide", path=path, cure="Leave it out")


def _tiff(path: Path) -> Source:
    """Read by libvips what it reads well (five times as fast, same pixels), by OpenSlide what only it knows."""
    from pbsbatch.slides import vendor

    maker = vendor.detect(path)
    if maker not in (None, "generic-tiff", "aperio"):
        return _vendor(path)
    try:
        found = pyramid.choose(tiff.read_ifds(path))
    except tiff.Malformed as error:
        raise UnreadableSlideError(f"damaged or truncated TIFF: {error}", path=path, cure=AGAIN) from error
    except ome.OmeRefusal as error:
        raise UnsupportedFormatError(str(error), path=path, cure=formats.CONVERT) from error
    _refuse_absurd(tuple((row[0].width, row[0].height) for row in found.levels), path)
    _refuse_truncated(found, path)
    codecs = {ifd.number(259, 1) for row in found.levels for ifd in row}
    if maker == "aperio" and (not codecs <= {1, 5, 7, 8} or any(ifd.sparse for row in found.levels for ifd in row)):
        return _vendor(path)
    if maker is not None and found.base.number(259, 1) == 7 and found.base.number(277, 1) in (2, 4):
        return _vendor(path)  # libvips refuses JPEG tiles with an alpha channel
    from pbsbatch.slides import tiles

    if codecs <= tiles.CODECS:
        return tiles.tiff_source(path, found)
    if maker is None:
        what = f"TIFF compression {min(codecs - tiles.CODECS)} in strips or sub-pages is not read"
        raise UnsupportedFormatError(
            what, path=path, cure="Convert it to a tiled TIFF with JPEG or deflate compression"
        )
    return _vendor(path)


def _vendor(path: Path) -> Source:
    from pbsbatch.slides import vendor

    return vendor.vendor_source(path)


def _refuse_truncated(found: pyramid.Pyramid, path: Path) -> None:
    size, need = path.stat().st_size, max(ifd.extent for row in found.levels for ifd in row)
    if need > size:
        what = f"truncated: it ends at byte {size:,}, its pixels at byte {need:,}"
        raise UnreadableSlideError(what, path=path, cure="Copy the file again; is it still being copied?")


def _refuse_absurd(sizes: tuple[tuple[int, int], ...], path: Path) -> None:
    """Refuse, before anything is decoded, sizes that no scanner makes or that the file is too small for."""
    w, h = max(sizes)
    if not sizes or min(min(size) for size in sizes) < 1 or w * h > MAX_PX:
        raise UnreadableSlideError(f"claims {w:,} x {h:,} px, which no slide has", path=path, cure=AGAIN)
    size = path.stat().st_size if path.is_file() else 0
    if (
        size
        and w * h > SMALL_PX
        and w * h > size * MAX_PX_PER_BYTE
        and path.suffix.lower() not in formats.VENDOR_SUFFIXES
    ):
        what = f"claims {w:,} x {h:,} px in {size:,} bytes"
        raise UnreadableSlideError(what, path=path, cure=f"{AGAIN}; if it is right, convert it to a pyramid TIFF")
