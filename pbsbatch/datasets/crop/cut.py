"""Cut a square out of a picture around a cell.

Law: the cell's box lies in the middle of its crop, to half a pixel; what would lie outside of the picture mirrors what
lies inside, so that nothing black teaches anybody where pictures end.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Frame", "cut"]

MOST_PX = 4096


@dataclass(frozen=True, slots=True)
class Frame:
    """How large a crop is: a side in pixels, or, where that is 0, the cell's longer side with a margin around it."""

    side: int = 0
    margin: float = 0.15  # on either side, in shares of the cell's longer side

    def around(self, box: NDArray[np.int32]) -> tuple[int, int, int]:
        """Return x, y of the crop's first pixel, which may lie outside of the picture, and the crop's side."""
        x0, y0, x1, y1 = (int(v) for v in box)
        side = self.side or min(MOST_PX, max(1, round(max(x1 - x0, y1 - y0) * (1 + 2 * self.margin))))
        return (x0 + x1 - side + 1) // 2, (y0 + y1 - side + 1) // 2, side


def cut(image: NDArray[np.uint8], x: int, y: int, side: int) -> NDArray[np.uint8]:
    """Return the square that begins at x, y."""
    high, wide = image.shape[:2]
    inside = image[max(0, y) : min(high, y + side), max(0, x) : min(wide, x + side)]
    beyond = max(0, -y), max(0, y + side - high), max(0, -x), max(0, x + side - wide)
    if not any(beyond):
        return inside
    # a crop larger than its picture mirrors it more than once
    return np.asarray(cv2.copyMakeBorder(inside, *beyond, cv2.BORDER_REFLECT), np.uint8)
