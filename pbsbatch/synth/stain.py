"""How a slide is stained and lit: background colour and one optical density per material.

Colours follow Beer and Lambert: a pixel is background * exp(-density), and densities add where cells overlap.
The three families are what Wright and May-Gruenwald-Giemsa stains look like under three kinds of optics.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["MATERIALS", "STAINS", "Stain", "stain_for"]

Rgb = tuple[float, float, float]

MATERIALS = ("haemoglobin", "chromatin", "blue", "pink", "azurophil", "eosin", "basophil", "platelet")
"""Row i of Stain.density: red cell plateau, nucleus, basophilic and neutral cytoplasm, three granules, platelet."""

_BACKGROUND: dict[str, Rgb] = {"cream": (254, 231, 206), "grey": (197, 198, 194), "rose": (215, 183, 169)}
_SPREAD = {"cream": 0.02, "grey": 0.05, "rose": 0.05}
_SEEN: dict[str, tuple[Rgb, ...]] = {
    "cream": (
        (208, 171, 168), (88, 38, 138), (138, 118, 178), (218, 178, 186), (126, 60, 138), (186, 100, 104),
        (62, 20, 100), (150, 104, 166),
    ),
    "grey": (
        (178, 153, 160), (142, 100, 214), (142, 132, 208), (178, 160, 192), (130, 92, 190), (184, 128, 138),
        (92, 52, 158), (140, 116, 180),
    ),
    "rose": (
        (149, 107, 130), (120, 38, 115), (132, 92, 142), (186, 134, 146), (124, 44, 112), (176, 88, 88), (74, 10, 74),
        (140, 82, 126),
    ),
}  # fmt: skip
"""The colours of MATERIALS as seen in each family at their usual depth."""
STAINS = tuple(_BACKGROUND)


@dataclass(frozen=True, slots=True)
class Stain:
    """Background (3,) in 0..255 and density (materials, 3); natural logarithms."""

    name: str
    background: NDArray[np.float64]
    density: NDArray[np.float64]


def stain_for(name: str, seed: int) -> Stain:
    """Return a slide's stain: a family, its hue and strength varied a little by the seed."""
    rng = np.random.default_rng([seed % 2**64, 9151])
    base = np.array(_BACKGROUND[name])
    density = -np.log(np.array(_SEEN[name]) / base)
    strength = rng.normal(1.0, [[0.07], [0.05], [0.08], [0.08], [0.06], [0.08], [0.05], [0.08]])
    hue = rng.normal(1.0, 0.035, density.shape)
    background = np.clip(base * rng.normal(1.0, 0.012, 3) * rng.normal(1.0, _SPREAD[name]), 0, 255)
    return Stain(name, background, density * strength * hue)
