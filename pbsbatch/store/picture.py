"""Write the preview: a small RGB pyramid of the whole slide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbsbatch import ngff
from pbsbatch.store.records import Preview, StoreHeader

__all__ = ["halve", "picture_attributes", "write_levels"]

_CHUNK = 512


def picture_attributes(header: StoreHeader, preview: Preview) -> dict[str, Any]:
    """Return what the root group says of the picture: as many levels as the labels have, by NGFF's rule."""
    downsamples = [preview.downsample * 2**k for k in range(ngff.levels_for(header.width, header.height))]
    return ngff.image_attributes(header.slide_id, downsamples, header.mpp)


def write_levels(path: Path, header: StoreHeader, preview: Preview) -> None:
    """Write one array per level."""
    pixels = preview.pixels
    for k in range(ngff.levels_for(header.width, header.height)):
        pixels = halve(pixels) if k else pixels
        height, width = pixels.shape[:2]
        shard = (3, *(-(-size // _CHUNK) * _CHUNK for size in (height, width)))
        spec = ngff.ArraySpec((3, height, width), (3, _CHUNK, _CHUNK), shard, "uint8", dimensions=("c", "y", "x"))
        ngff.write_array(path / str(k), spec, pixels.transpose(2, 0, 1))


def halve(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the picture at half the size, each pixel the rounded mean of those it covers; at least 1 x 1."""
    padded = np.pad(pixels, ((0, pixels.shape[0] % 2), (0, pixels.shape[1] % 2), (0, 0)), mode="edge")
    wide = padded.astype(np.uint16)
    total = wide[::2, ::2] + wide[1::2, ::2] + wide[::2, 1::2] + wide[1::2, 1::2]
    return ((total + 2) // 4).astype(np.uint8)
