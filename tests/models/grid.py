"""Run the classical model on one array by any grid of tiles, as the pipeline does, and compare the cells."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from pbsbatch.engines.opencv import OpenCVEngine
from pbsbatch.models.base import Calibration, Found, Model
from pbsbatch.models.classical_colour import histogram, thresholds

Key = tuple[int, int, int, int, int, int, float]
"""class, box x0 y0 x1 y1, mask area, score: two grids agree on a cell if they agree on all of it."""

SEAM_PX = 3


def halo_of(model: Model) -> int:
    """Return the pipeline's halo in work pixels."""
    spec = model.spec
    return math.ceil(spec.max_cell_um / spec.work_mpp / 2) + SEAM_PX + spec.context_px


def calibrated(image: NDArray[np.uint8]) -> Calibration:
    """Return the calibration of one array taken as a whole slide."""
    return thresholds(histogram(image)).as_calibration()


def decode(model: Model, image: NDArray[np.uint8], calibration: Calibration | None = None, pad: int = 0) -> Found:
    """Return the cells of one array as one tile, with white around it as outside a slide."""
    known = calibrated(image) if calibration is None else calibration
    around = np.pad(image, ((pad, pad), (pad, pad), (0, 0)), constant_values=255)
    return model.decode(OpenCVEngine()(around[None]), 0, known)


def tiled(
    model: Model, image: NDArray[np.uint8], calibration: Calibration, core: int, origin: tuple[int, int] = (0, 0)
) -> list[Key]:
    """Return the cells whose box centre lies in the core of the tile that saw them, sorted."""
    halo = halo_of(model)
    side = core + 2 * halo
    h, w = image.shape[:2]
    around = np.pad(image, ((side, side), (side, side), (0, 0)), constant_values=255)
    out: list[Key] = []
    for y in range(-origin[1], h, core):
        for x in range(-origin[0], w, core):
            tile = around[y - halo + side :, x - halo + side :][:side, :side]
            found = decode(model, tile, calibration)
            out += owned(found, halo, core, x - halo, y - halo)
    return sorted(out)


def owned(found: Found, halo: int, core: int, dx: int, dy: int) -> list[Key]:
    """Return the cells centred in the core, moved by dx and dy."""
    centres = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
    out: list[Key] = []
    for i in np.flatnonzero(((centres >= halo) & (centres < halo + core)).all(1)).tolist():
        x0, y0, x1, y1 = (int(v) for v in found.boxes[i])
        area, score = int(found.masks[i].sum()), float(found.scores[i])
        out.append((int(found.classes[i]), x0 + dx, y0 + dy, x1 + dx, y1 + dy, area, score))
    return out


def differing(a: list[Key], b: list[Key]) -> int:
    """Return how many cells of either list are not in the other."""
    left, right = Counter(a), Counter(b)
    return sum(((left - right) + (right - left)).values())
