"""Which image libraries are here, and which formats they read."""

from __future__ import annotations

from typing import Any

__all__ = ["image_libraries"]

LOADERS = ("tiff", "jpeg", "png", "webp", "heif", "jp2k", "openslide")
"""Loaders of libvips that a slide may need, by name."""


def image_libraries() -> dict[str, Any]:
    """Return the versions of libvips and OpenSlide and libvips' loaders. Law: what cannot be loaded is None."""
    try:
        import pyvips

        found = [name for name in LOADERS if pyvips.type_find("VipsOperation", f"{name}load")]
        libvips: str | None = ".".join(str(pyvips.version(part)) for part in range(3))
    except (ImportError, OSError, AttributeError):
        libvips, found = None, []
    try:
        import openslide

        library: str | None = openslide.__library_version__
    except (ImportError, OSError):
        library = None
    return {"libvips": libvips, "loaders": found, "openslide": library}
