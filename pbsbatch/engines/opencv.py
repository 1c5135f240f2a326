"""The classical model's dense part: two colour planes per tile, on one CPU core."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pbsbatch.engines.base import own_threads
from pbsbatch.models.base import Raw
from pbsbatch.models.classical_colour import colour_planes

__all__ = ["OpenCVEngine"]


class OpenCVEngine:
    """Turn pixels into density and stain planes. Law: exact integers, so every batch slot and machine agrees."""

    name = "opencv"
    precision = "uint8"
    device = "cpu"

    def __init__(self) -> None:
        self.notes: list[str] = []

    @property
    def lanes(self) -> int:
        """Return one for each core."""
        return own_threads()

    def __call__(self, pixels: NDArray[np.uint8]) -> Raw:
        """Return "green" and "stain", each (B, H, W) uint8, for a batch (B, H, W, 3) of RGB pixels."""
        green = np.empty(pixels.shape[:3], np.uint8)
        stain = np.empty(pixels.shape[:3], np.uint8)
        for slot, image in enumerate(pixels):
            planes = colour_planes(image)
            green[slot], stain[slot] = planes["green"], planes["stain"]
        return {"green": green, "stain": stain}

    def close(self) -> None:
        """Do nothing: there is nothing to release."""
