"""What the three layers of the classical detector share: its sizes, a region, and bounded mask operations."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pbsbatch_kernels.regions import extents, fill_labels

__all__ = ["PLATELET", "RED", "WHITE", "Mask", "Params", "Region", "closed", "disc", "fill_holes", "widened"]

Mask = NDArray[np.uint8]
"""0 or 1 per pixel."""

RED, WHITE, PLATELET = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Params:
    """Sizes in um and the few ratios tuned on the training fields of three laboratories."""

    work_mpp: float = 0.25
    max_cell_um: float = 25.0
    context_px: int = 40

    closing_um: float = 0.25
    pallor_um: float = 5.0  # the widest hole that is a pale centre
    pallor_fill: float = 0.55  # least share of its box: a round centre has 0.79, the gap between three cells 0.35
    gap_um2: float = 2.5  # a hole smaller than this is filled whatever its shape

    vote_near_um: float = 1.9  # radii of red cells that border pixels vote for
    vote_far_um: float = 4.5
    vote_blur: int = 3
    vote_floor: float = 180.0  # of about 850 for a whole circle
    vote_floor_bare: float = 250.0  # where the centre is not on the cell's mask
    seed_gap_um: float = 1.5
    merge_reach_um: float = 3.0
    merge_ratio: float = 0.85
    neck_reach_um: float = 3.5
    neck_ratio: float = 1.0
    red_radius_um: float = 3.4
    red_reach_um: float = 4.5
    overlap_share: float = 0.1  # of its border that a cell shares before it is given its part of the overlap
    red_min_um2: float = 9.0
    cut_min_um2: float = 4.0
    cut_max_um: float = 12.0

    mass_um: float = 4.25  # nucleus mass is gathered by two boxes of this width
    nucleus_share: float = 0.35
    nucleus_gap_um: float = 5.0
    nucleus_reach_um: float = 9.0
    nucleus_merge: float = 0.6
    nucleus_min_um2: float = 20.0
    lobe_gap_um: float = 1.5  # a piece further from the rest than this is a lobe only if it is large
    lobe_min_um2: float = 9.0
    cytoplasm_um: float = 3.25
    white_gap_um: float = 2.0  # no red cell's centre lies this near to a nucleus

    # a clump of platelets: of 1189 labelled nuclei the five rules take 1, of 102 drawn clumps held for nuclei about 100
    clump_thick_um: float = 2.7  # radius of the largest disc within
    clump_grain: float = 0.05  # grain per um of that radius
    clump_even: float = 0.74  # median density over that of its densest tenth
    clump_stain: float = 80.0  # median stain above the red cells'
    clump_blue: float = 0.963  # median stain over median density
    clump_gap_um: float = 1.0  # least distance of its platelets' centres
    clump_floor_um: float = 0.6  # least thickness there
    clump_reach_um: float = 2.5  # two centres this near are one where the neck between them is no thinner
    clump_neck: float = 0.9  # than this share of the thinner (0.99 splits single labelled platelets)
    clump_share_um: float = 2.0  # radius of the widest platelet of a clump

    bump_um: float = 1.5  # radius of a disc that fits into a red cell and not into a platelet
    bump_fill: float = 0.5  # least share of its box
    platelet_rim_um: float = 0.5  # their rim is paler than a cell's border
    platelet_gap_um: float = 1.0  # nothing this near to a nucleus is a platelet
    platelet_min_um2: float = 2.0
    platelet_max_um2: float = 22.0
    platelet_max_um: float = 6.0

    def px(self, um: float) -> int:
        """Return a length in whole work pixels, at least one."""
        return max(1, round(um / self.work_mpp))

    def px2(self, um2: float) -> float:
        """Return an area in work pixels."""
        return um2 / self.work_mpp**2


@dataclass(frozen=True, slots=True)
class Region:
    """One cell in tile work pixels: the mask's window starts at x, y."""

    kind: int
    score: float
    x: int
    y: int
    mask: NDArray[np.bool_]


def disc(radius: int) -> Mask:
    """Return a round structuring element."""
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)), np.uint8)


def widened(mask: Mask, radius: int) -> Mask:
    """Return all pixels within radius of the mask."""
    return np.asarray(cv2.dilate(mask, disc(radius)), np.uint8)


def closed(mask: Mask, radius: int) -> Mask:
    """Return the mask with gaps narrower than 2 * radius closed."""
    return np.asarray(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, disc(radius)), np.uint8)


def fill_holes(mask: Mask, p: Params) -> Mask:
    """Return the mask with its pale centres filled.

    Law: a hole wider than pallor_um stays, so nothing far away decides.
    """
    n, found = cv2.connectedComponents(1 - mask, connectivity=4, ltype=cv2.CV_32S)
    labels = np.asarray(found, np.int32)
    x0, y0, x1, y1, area = extents(labels, n).T
    w, h = x1 - x0, y1 - y0
    widest = p.px(p.pallor_um)
    hole = (w <= widest) & (h <= widest) & ((area >= p.pallor_fill * w * h) | (area <= p.px2(p.gap_um2)))
    rows, cols = mask.shape
    hole &= (x0 > 0) & (y0 > 0) & (x1 < cols) & (y1 < rows)  # one cut by the tile's border is not known
    hole[0] = False
    out = mask.copy()
    fill_labels(out, labels, hole)
    return out
