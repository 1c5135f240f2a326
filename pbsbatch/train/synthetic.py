"""Drawn fields as samples: every box, class and outline is exact.

Laws. The samples are a function of seed and place in the sequence alone: sample i is the same whatever count is
asked for. A cell that the field's border cuts has the box and outline of what is left of it; one of which too
little is left is unsure, and no cell.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pbsbatch.datasets.outlines import outline_of_mask
from pbsbatch.datasets.samples import RAYS, Sample, encode, red_cell_diameter
from pbsbatch.synth import DIFFERENTIAL, STAINS, Scene, SceneCells

__all__ = ["SOURCE", "SynthRanges", "synthetic_sample", "synthetic_samples"]

SOURCE = "synth"
RED_CELL_UM = 7.2
MIN_VISIBLE = 0.2
"""Share of its area that a cut cell must show to be taught."""
MIN_VISIBLE_PX = 4
"""And the sides of what is left of it."""
MARGIN_UM = 20.0
"""A scene is so much larger than the field cut from it on every side: its own edge cuts no cell that counts."""


@dataclass(frozen=True, slots=True)
class SynthRanges:
    """Between what the scenes vary; wide, for real fields vary more than any one laboratory's."""

    density_per_mm2: tuple[float, float] = (3000.0, 14000.0)
    overlap: tuple[float, float] = (0.05, 0.6)
    rouleaux: tuple[float, float] = (0.0, 0.12)
    white_per_1000: tuple[float, float] = (20.0, 120.0)
    platelets_per_1000: tuple[float, float] = (20.0, 200.0)
    polychromatic_per_1000: tuple[float, float] = (0.0, 60.0)
    debris_per_1000: tuple[float, float] = (0.0, 120.0)  # a platelet is what debris is not
    focus_um: tuple[float, float] = (0.1, 0.9)
    noise: tuple[float, float] = (0.3, 5.0)
    zoom: tuple[float, float] = (0.8, 1.25)  # of mpp: drawn red cells vary too little in size


def synthetic_samples(
    count: int, seed: int, size_px: int | tuple[int, int], red_cell_px: float, ranges: SynthRanges | None = None
) -> Iterator[Sample]:
    """Yield drawn fields of size_px (a side, or width and height) whose red cells measure about red_cell_px."""
    for index in range(count):
        yield synthetic_sample(index, seed, size_px, red_cell_px, ranges)


def synthetic_sample(
    index: int, seed: int, size_px: int | tuple[int, int], red_cell_px: float, ranges: SynthRanges | None = None
) -> Sample:
    """Return one field of the sequence."""
    size = (size_px, size_px) if isinstance(size_px, int) else size_px
    if index < 0 or min(size) < 16 or not 4.0 <= red_cell_px <= 400.0:
        raise ValueError(f"cannot draw field {index} of {size} px with red cells of {red_cell_px} px")
    scene = _scene(np.random.default_rng([seed % 2**32, index]), size, red_cell_px, ranges or SynthRanges())
    margin = (scene.width - size[0]) // 2
    pixels = scene.render(margin, margin, *size)
    cells = scene.cells(margin, margin, *size)
    boxes, outlines, pixels_seen = _visible(cells, margin, size)
    shown = (pixels_seen >= MIN_VISIBLE * cells.areas) & ((boxes[:, 2:] - boxes[:, :2]).min(1) >= MIN_VISIBLE_PX)
    kept, classes = boxes[shown], cells.classes[shown]
    measured = red_cell_diameter(kept, classes, size)
    return Sample(
        name=f"{SOURCE}_{seed}_{index:06d}", source=SOURCE, encoded=encode(pixels), size=size, boxes=kept,
        classes=classes, outlines=outlines[shown], unsure=boxes[~shown & (pixels_seen > 0)],
        red_cell_px=measured if np.isfinite(measured) else RED_CELL_UM / scene.mpp,
    )  # fmt: skip


def _scene(rng: np.random.Generator, size: tuple[int, int], red_cell_px: float, ranges: SynthRanges) -> Scene:
    def between(low_high: tuple[float, float]) -> float:
        return float(rng.uniform(*low_high))

    mpp = RED_CELL_UM / red_cell_px * float(np.exp(rng.uniform(*np.log(ranges.zoom))))
    margin = math.ceil(MARGIN_UM / mpp)
    shares = np.array(DIFFERENTIAL) + 0.08  # rare cells are drawn often enough to be learned
    return Scene(
        width=size[0] + 2 * margin, height=size[1] + 2 * margin, mpp=mpp,
        seed=int(rng.integers(2**62)), profile="field", stain=str(rng.choice(STAINS)),
        differential=tuple(rng.dirichlet(12.0 * shares / shares.sum())),
        density_per_mm2=between(ranges.density_per_mm2), overlap=between(ranges.overlap),
        rouleaux=between(ranges.rouleaux), white_per_1000=between(ranges.white_per_1000),
        platelets_per_1000=between(ranges.platelets_per_1000),
        polychromatic_per_1000=between(ranges.polychromatic_per_1000),
        debris_per_1000=between(ranges.debris_per_1000), focus_um=between(ranges.focus_um), noise=between(ranges.noise),
    )  # fmt: skip


def _visible(
    cells: SceneCells, margin: int, size: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Return the box and outline of what the field shows of each cell, and how many pixels that is."""
    n = len(cells)
    boxes, outlines = np.zeros((n, 4), np.float32), np.full((n, RAYS), np.nan, np.float32)
    seen = np.zeros(n, np.int64)
    for i in range(n):
        x, y, *_ = cells.boxes[i].tolist()
        left, top = max(0, margin - x), max(0, margin - y)
        mask = cells.mask(i)[top : margin + size[1] - y, left : margin + size[0] - x]
        seen[i] = mask.sum()
        if not seen[i]:
            continue
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        window = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)
        boxes[i] = window + np.tile([x + left - margin, y + top - margin], 2)
        outlines[i] = outline_of_mask(mask, window)
    return boxes, outlines, seen
