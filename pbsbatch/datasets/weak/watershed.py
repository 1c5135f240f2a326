"""Weak masks by Otsu and a watershed: a white cell is what drains to its nucleus.

Two thresholds of green, by Otsu, part glass, cells and nuclei. Nuclei and the distance's peaks beside them, which are
other cells, are seeds; the flood runs over the distance to the glass, so that cells part where they are narrow.
Distance, for the gradient as height gave drawn cells an overlap of .69 where the distance gave .89: a nucleus has a
steeper border than its cell.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pbsbatch.datasets.crop.stained import Rule, disc, stain
from pbsbatch.datasets.weak.steps import Image, Labels, Mask, Plane, Steps, chosen, enlarged, filled, nothing, reduced
from pbsbatch_kernels.flood import flood
from pbsbatch_kernels.peaks import local_maxima

__all__ = ["Watershed", "two_levels"]

FINER = 8
"""Steps of height to a pixel of distance."""


@dataclass(frozen=True, slots=True)
class Watershed:
    """The method's settings; lengths are shares of a white cell's diameter."""

    rule: Rule
    across: int = 64  # pixels of the grid across a cell, at least
    blur: float = 0.02
    lobes: float = 0.08  # lobes so near are one nucleus
    speck: float = 0.05  # radius of what is no nucleus
    other: float = 0.14  # a peak further than this from all nuclei is another cell's
    deep: float = 0.12  # of the distance at such a peak, and how far it must be the highest
    smooth: float = 0.08

    def __call__(self, image: Image) -> Steps:
        """Return what came of a picture."""
        view = reduced(image, self.rule, self.across)
        if view is None:
            return nothing(image)
        cell = view.cell
        soft = np.asarray(cv2.GaussianBlur(view.pixels, (0, 0), max(0.3, self.blur * cell)), np.uint8)
        dark = 255 - soft[..., 1]
        low, high = two_levels(np.bincount(dark.ravel(), minlength=256))
        cells = filled((dark > low).astype(np.uint8), cell)
        nuclei = self._nuclei(soft, (dark > high).astype(np.uint8) & cells, cell)
        distance = np.asarray(cv2.distanceTransform(cells, cv2.DIST_L2, 5), np.float32)
        parts = self._flooded(cells, nuclei, distance, cell)
        opened = cv2.morphologyEx((parts > 0).astype(np.uint8), cv2.MORPH_OPEN, disc(self.smooth * cell))
        found = chosen(np.where(filled(np.asarray(opened, np.uint8), cell) > 0, parts, 0), view, self.rule)
        stages = (
            ("picture", view.pixels), ("darkness", dark), ("cells", cells), ("nuclei", nuclei),
            ("distance", distance), ("regions", parts), ("mask", found),
        )  # fmt: skip
        return Steps(enlarged(found, view.size), stages)

    def _nuclei(self, soft: Image, dark: Mask, cell: float) -> Mask:
        mask = dark & stain(soft, self.rule)
        closed = np.asarray(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, disc(self.lobes * cell)), np.uint8)
        whole = (closed & dark) | mask
        return np.asarray(cv2.morphologyEx(whole, cv2.MORPH_OPEN, disc(self.speck * cell)), np.uint8)

    def _flooded(self, cells: Mask, nuclei: Mask, distance: Plane, cell: float) -> Labels:
        """Return the region of each nucleus; lobes near each other are one."""
        near = cv2.dilate(nuclei, disc(self.lobes * cell))
        _, groups = cv2.connectedComponents(near, connectivity=4)
        count, pieces, _, _ = cv2.connectedComponentsWithStats(nuclei, connectivity=4)
        first = np.unique(pieces, return_index=True)[1][1:] if count > 1 else np.zeros(0, np.int64)
        seeds = [(at // cells.shape[1], at % cells.shape[1]) for at in first.tolist()]
        away = cv2.distanceTransform(1 - nuclei, cv2.DIST_L2, 5)
        peaks = local_maxima(distance, max(1, math.floor(self.deep * cell)), max(1.0, self.deep * cell))
        others = [(y, x) for y, x in peaks.tolist() if away[y, x] > self.other * cell]
        height = 1 + (FINER * (distance.max(initial=0.0) - distance)).astype(np.int32)
        height[nuclei > 0] = 0  # a nucleus is under water before anything else
        flooded = flood(height, np.array(seeds + others, np.int32).reshape(-1, 2), cells)
        owner = np.zeros(1 + len(seeds) + len(others), np.int32)
        owner[1 : 1 + len(seeds)] = [groups[y, x] for y, x in seeds]
        return np.asarray(owner[flooded], np.int32)


def two_levels(histogram: NDArray[np.integer]) -> tuple[int, int]:
    """Return Otsu's two levels: above the first and above the second lie the second and the third class."""
    share = histogram / max(1, int(histogram.sum()))
    below = np.cumsum(share)
    moment = np.cumsum(share * np.arange(len(share)))
    lower, middle, upper = below[:, None], below[None] - below[:, None], 1 - below[None]
    sums = moment[:, None], moment[None] - moment[:, None], moment[-1] - moment[None]
    there = (lower > 1e-9) & (middle > 1e-9) & (upper > 1e-9)
    between = sum(s**2 / np.where(there, w, 1) for s, w in zip(sums, (lower, middle, upper), strict=True))
    first, second = divmod(int(np.where(there, between, -1).argmax()), len(share))
    return first, second
