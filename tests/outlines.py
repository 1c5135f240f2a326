"""What an outline is held against: the pixels it goes around."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def largest_piece(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return what an outline is traced around: the largest piece whose pixels share sides."""
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    return (pieces == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()).astype(np.uint8)


def filled(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a piece without its holes."""
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(np.zeros(mask.shape, np.uint8), contours, -1, 1, -1)
