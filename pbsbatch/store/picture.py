"""Write the preview: a small RGB pyramid of the whole slide."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbsbatch import ngff
from pbsbatch.store.records import Preview, StoreHeader

__all__ = ["halve", "write_picture"]

_CHUNK = 512


def write_picture(path: Path, header: StoreHeader, preview: Preview, attributes: Mapping[str, Any]) -> None:
    """Write the root group and one array per level: as many levels as the labels have, by NGFF's rule."""
    n = ngff.levels_for(header.width, header.height)
    downsamples = [preview.downsample * 2**k for k in range(n)]
    ome = ngff.image_attributes(header.slide_id, downsamples, header.mpp)
    ngff.write_group(path, {"ome": ome, **attributes})
    pixels = preview.pixels
    for k in range(n):
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
