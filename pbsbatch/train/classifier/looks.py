"""Dress a cell's picture in another laboratory's colours: glass, red cells and nuclei each take on their own.

Laws. Places do not change. A look is three optical densities per channel, of glass and, above it, of red cells and of
nuclei; colours between these go along linearly, so that granules and cytoplasm keep their place among them. A picture
dressed in its own look is itself.

Mixing and strengthening the three densities at random (train.stain alone) lost: nuclei are twice as pale in another
laboratory while its red cells are not, and no matrix near the identity does both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pbsbatch.train.stain import densities, of_densities

__all__ = ["USUAL", "Look", "drawn_look", "look_of", "redressed"]

Image = NDArray[np.uint8]
F64 = NDArray[np.float64]

GLASS, GLASS_MORE = (0.0, 0.35), np.array([(-0.05, 0.05), (-0.1, 0.16), (-0.08, 0.28)])
"""Density of glass that is drawn, and how much more it is in each channel: those of unlabelled fields of three
laboratories (grey, peach and rose) and a margin, as are all bounds here."""
RED_GREEN, NUCLEUS_GREEN = (0.18, 0.5), (0.55, 2.7)
"""Densities in green above glass."""
RED_SHARE = np.array([(0.35, 0.85), (1.0, 1.0), (0.3, 0.85)])
NUCLEUS_SHARE = np.array([(0.22, 0.75), (1.0, 1.0), (-0.12, 0.32)])
"""Densities in red and blue against green. Violet nuclei are brighter than glass in blue."""
LEAST_CONTRAST = 1.8
"""Nuclei are so much denser than red cells in green, at least."""
PALE, DENSE = 15, 85
"""Percentiles of green: paler is glass; denser, in the middle, nucleus."""
MIDDLE_UM = 8.0
"""The cell's nucleus is found within so much of the middle, red cells beyond."""
LEAST_RED = 0.02
"""Share of a picture that red cells must have to be measured."""
USUAL_RED, USUAL_NUCLEUS = (0.2, 0.3, 0.18), (1.2, 2.0, 0.42)


@dataclass(frozen=True, slots=True)
class Look:
    """Densities (3,) of glass and, above it, of red cells and nuclei."""

    glass: F64
    red: F64
    nucleus: F64

    def between(self, other: Look, share: float) -> Look:
        """Return the look that lies so far on the way to another."""
        parts = ((getattr(self, n), getattr(other, n)) for n in Look.__slots__)
        return Look(*((1 - share) * a + share * b for a, b in parts))


USUAL = Look(np.array([0.005, 0.11, 0.23]), np.array(USUAL_RED), np.array([1.17, 1.92, 0.42]))
"""Of the pictures that the shipped classifier was taught on: means over those held out."""


def look_of(pixels: Image, mpp: float) -> Look:
    """Measure a picture with one cell in its middle."""
    density = densities(pixels).astype(np.float64)
    green = density[..., 1]
    glass = np.median(density[green <= np.percentile(green, PALE)], 0)
    above = density - glass
    height, width = green.shape
    y, x = np.mgrid[:height, :width]
    middle = np.hypot(x - (width - 1) / 2, y - (height - 1) / 2) < MIDDLE_UM / mpp
    dark = middle & (green >= np.percentile(green[middle], DENSE))
    nucleus = np.median(above[dark], 0)
    pale = ~middle & (above[..., 1] > 0.12) & (above[..., 1] < 0.6) & (above[..., 1] - above[..., 2] < 0.25)
    red = np.median(above[pale], 0) if pale.mean() > LEAST_RED else np.array(USUAL_RED)
    if nucleus[1] < LEAST_CONTRAST * red[1]:  # a pale platelet: its own colours say nothing of nuclei
        nucleus = np.array(USUAL_NUCLEUS)
    return Look(glass, red, nucleus)


def drawn_look(rng: np.random.Generator) -> Look:
    """Draw the look of a laboratory."""
    red = rng.uniform(*RED_GREEN)
    nucleus = rng.uniform(*np.log((max(NUCLEUS_GREEN[0], LEAST_CONTRAST * red), NUCLEUS_GREEN[1])))
    glass = np.maximum(0.0, rng.uniform(*GLASS) + rng.uniform(*GLASS_MORE.T))
    return Look(glass, red * rng.uniform(*RED_SHARE.T), np.exp(nucleus) * rng.uniform(*NUCLEUS_SHARE.T))


def redressed(pixels: Image, was: Look, becomes: Look) -> Image:
    """Return a picture of one look in another."""
    change = _frame(becomes) @ np.linalg.inv(_frame(was))
    return of_densities(densities(pixels), change, becomes.glass - change @ was.glass)


def _frame(look: Look) -> F64:
    """Return three directions as columns: red cells, nuclei, and what is neither, as long as nuclei."""
    across = np.cross(look.red, look.nucleus)
    return np.stack([look.red, look.nucleus, across / np.linalg.norm(across) * np.linalg.norm(look.nucleus)], 1)
