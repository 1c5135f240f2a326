"""Count the colours of an image: one pass over its pixels, into counts that go on over many images.

Before each pixel was looked at by itself there were six passes and three arrays in between: 4 ms of a small field.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pbsbatch_kernels.jit import kernel

__all__ = ["count_colours"]


@kernel
def count_colours(
    pixels: NDArray[np.uint8], density: NDArray[np.uint8], stain_zero: int, joint: NDArray[np.int64],
    colours: NDArray[np.int64],
) -> None:  # fmt: skip
    """Add the pixels (H, W, 3) to joint (256, 256), by density of green and stain, and to colours (3, 256).

    Stain is density of green less that of blue, moved by stain_zero and kept within 8 bits.
    """
    for y in range(pixels.shape[0]):
        for x in range(pixels.shape[1]):
            red, green, blue = pixels[y, x, 0], pixels[y, x, 1], pixels[y, x, 2]
            dense = int(density[green])
            stain = dense - int(density[blue]) + stain_zero
            joint[dense, min(max(stain, 0), 255)] += 1
            colours[0, red] += 1
            colours[1, green] += 1
            colours[2, blue] += 1
