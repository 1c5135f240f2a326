"""What a virtual cell is: one record of a structured array, drawn from its key alone.

Lengths are um. The outline is a star: radius r * (1 + sum of harmonics 2, 3 and 5 of the angle), so
that whether a pixel's centre lies in a cell is one exact comparison, the same for picture and truth.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pbsbatch.synth.jit import kernel
from pbsbatch.synth.noise import normal, unit

__all__ = ["CELL", "CLASSES", "DEBRIS", "PLATELET", "RBC", "REACH_UM", "TYPES", "WBC", "Cell", "dress", "edge", "reach"]

CLASSES = ("RBC", "WBC", "Platelet")
"""Class names by index; the order is also the order of drawing, so the upper cell has the higher index."""
RBC, WBC, PLATELET, DEBRIS = 0, 1, 2, 3
TYPES = (
    "erythrocyte", "polychromatic",
    "segmented_neutrophil", "band_neutrophil", "eosinophil", "basophil", "lymphocyte", "monocyte",
    "immature_granulocyte", "erythroblast",
    "platelet", "clumped_platelet",
    "debris",
)  # fmt: skip
"""Type names by index; 2..9 are the nucleated cells in the order of Scene.differential."""
REACH_UM = 27.0
"""No outline lies further than this from the block that its cell started in, in x or in y."""

CELL = np.dtype(
    [
        ("id", "i4"), ("kind", "u1"), ("type", "u1"), ("zone", "u1"), ("close", "u1"),
        ("x", "f8"), ("y", "f8"), ("r", "f8"),
        ("a2", "f8"), ("b2", "f8"), ("a3", "f8"), ("b3", "f8"), ("a5", "f8"), ("b5", "f8"),
        ("tone", "f8"), ("tint", "f8"), ("pallor", "f8"), ("hollow", "f8"), ("flat", "f8"), ("px", "f8"), ("py", "f8"),
        ("soft", "f8"), ("group", "i8"), ("key", "u8"),
    ],
    align=True,
)  # fmt: skip
"""close: may overlap its neighbours. tint: polychromasia. hollow: width of the pallor. soft: edge width, um."""

_MEAN_R = np.array([3.6, 3.95, 6.4, 6.4, 6.6, 6.1, 4.9, 7.9, 7.2, 4.6, 1.25, 1.2, 0.7])
_SD_R = np.array([0.27, 0.27, 0.4, 0.4, 0.4, 0.4, 0.6, 0.6, 0.6, 0.35, 0.22, 0.2, 0.25])
_WOBBLE = np.array([0.034, 0.04, 0.04, 0.04, 0.035, 0.05, 0.045, 0.07, 0.045, 0.045, 0.07, 0.07, 0.08])


class Cell(Protocol):
    """One record of CELL, as type checkers see it."""

    id: int
    kind: int
    type: int
    zone: int
    close: int
    x: float
    y: float
    r: float
    a2: float
    b2: float
    a3: float
    b3: float
    a5: float
    b5: float
    tone: float
    tint: float
    pallor: float
    hollow: float
    flat: float
    px: float
    py: float
    soft: float
    group: int
    key: np.uint64


@kernel
def edge(c: Cell, dx: float, dy: float, rho: float) -> float:
    """Return the outline's radius in the direction (dx, dy) of length rho > 0 from the cell's centre."""
    u, v = dx / rho, dy / rho
    u2, v2 = u * u - v * v, 2.0 * u * v
    u3, v3 = u2 * u - v2 * v, v2 * u + u2 * v
    u5, v5 = u3 * u2 - v3 * v2, v3 * u2 + u3 * v2
    wave = c.a2 * u2 + c.b2 * v2 + c.a3 * u3 + c.b3 * v3 + c.a5 * u5 + c.b5 * v5
    return c.r * (1.0 + wave)


@kernel
def reach(c: Cell) -> float:
    """Return a radius that the outline never leaves."""
    second, third = math.sqrt(c.a2 * c.a2 + c.b2 * c.b2), math.sqrt(c.a3 * c.a3 + c.b3 * c.b3)
    return c.r * (1.0 + second + third + math.sqrt(c.a5 * c.a5 + c.b5 * c.b5))


@kernel
def dress(cells: NDArray[np.void], i: int, kind: int, cell_type: int, key: np.uint64) -> None:
    """Give cell i its looks from its key: size, outline, tone, pallor. Place and id are the caller's."""
    c = cells[i]
    c.kind, c.type, c.key = kind, cell_type, key
    c.r = _MEAN_R[cell_type] + _SD_R[cell_type] * normal(key, 1)
    w = _WOBBLE[cell_type]
    c.a2, c.b2 = w * normal(key, 2), w * normal(key, 3)
    if kind == RBC and unit(key, 4) < 0.07:  # a few ovalocytes
        c.a2, c.b2 = c.a2 * 3.0, c.b2 * 3.0
    c.a3, c.b3 = 0.42 * w * normal(key, 5), 0.42 * w * normal(key, 6)
    c.a5, c.b5 = 0.18 * w * normal(key, 7), 0.18 * w * normal(key, 8)
    c.tone = 1.0 + 0.12 * normal(key, 9)
    c.tint = 0.6 + 0.4 * unit(key, 10) if cell_type == 1 else 0.0
    c.pallor = min(0.92, max(0.0, 0.62 + 0.22 * normal(key, 11)))
    c.hollow = 0.56 + 0.09 * normal(key, 12)
    c.flat = unit(key, 13)
    c.px, c.py = 0.06 * c.r * normal(key, 14), 0.06 * c.r * normal(key, 15)
