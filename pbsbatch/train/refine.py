"""Find the borders of real cells of which only the box is known.

Every cell is looked at along its rays, as a picture of angle and distance in which a border is a path once
around. The path follows where density falls outwards, keeps near the ellipse of its box, and bends little; the
cheapest one is found exactly. A path rather than a threshold, for pale centres may open to the glass and
neighbours touch. Laws: a border never leaves the picture, nor its box by more than OVER_BOX; where a
neighbour's ellipse is nearer nothing counts as evidence; a cell that does not stand out from its
glass has no outline. The weights were chosen on drawn fields with boxes exact and loose, and looked at on real ones.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from pbsbatch.datasets.outlines import centre_and_half, directions, sample_plane
from pbsbatch.datasets.samples import PLATELET, RAYS, WHITE, Sample
from pbsbatch.train.expect import expected_outlines, free_reach, rivals, whole_boxes

__all__ = ["refined", "refined_outlines"]

Floats = NDArray[np.float32]

RADII = np.linspace(0.5, 1.35, 52, dtype=np.float32)
"""Where a border may lie along a ray, as a fraction of what is expected there."""
LAG = 3
"""Steps of RADII on either side of a border between which a fall of density is measured."""
EDGE_WEIGHT = 14.0
REGION_WEIGHT = 8.0
BORDER_LEVEL = 0.4
"""Share of a cell's density from which a pixel speaks for lying inside."""
LOOSENESS = 0.15
"""Standard deviation of a border about what is expected."""
BEND_WEIGHT = 20.0
MAX_STEP = 3
"""Steps of RADII by which a border may change from one ray to the next."""
CLAIM = 0.9
"""A point is a neighbour's when its distance from the neighbour's centre is so much of that from the cell's own."""
RIVAL_STEPS = 30.0
"""Steps across a red cell in which neighbours are told apart."""
OVER_BOX = 1.1
"""How far a border may lie outside its box, in halves of the box."""
MIN_SIDE_PX = 5.0
MIN_ASPECT = 0.2
"""What the picture's border leaves of a cell may be too thin to have an outline."""
DENSITY = (-100.0 * np.log((np.arange(256) + 1) / 256)).astype(np.float32)
"""Optical density of an 8-bit value, in hundredths."""
FAINT = 5.0
"""Density by which a cell must stand out from its glass."""
SMOOTH = np.array([1, 4, 6, 4, 1], np.float32) / 16
"""Weights of neighbouring rays: what is finer than a few rays is noise."""
RING = (RADII > 0.6) & (RADII < 0.92)
CORE = RADII < 0.65
AROUND = RADII > 1.08
"""Where the densities of a cell near its border, of a small cell, and of the glass around it are measured."""


def refined(sample: Sample) -> Sample:
    """Return the sample with an outline for every cell that had none."""
    known = np.isfinite(sample.outlines)
    if known.all():
        return sample
    found = refined_outlines(sample.image, sample.boxes, sample.classes, sample.red_cell_px)
    return replace(sample, outlines=np.where(known, sample.outlines, found))


def refined_outlines(image: NDArray[np.uint8], boxes: Floats, classes: NDArray[np.uint8], red_cell_px: float) -> Floats:
    """Return the outlines (N, RAYS) of the cells within boxes; NaN where a cell cannot be told from its glass."""
    _check(image, boxes, classes, red_cell_px)
    if not len(boxes):
        return np.zeros((0, RAYS), np.float32)
    height, width = image.shape[:2]
    centre, half = centre_and_half(boxes)
    whole = whole_boxes(boxes, classes, (width, height), red_cell_px)
    expected = expected_outlines(boxes, whole)
    reach = expected[..., None] * RADII
    points = centre[:, None, None] + reach[..., None] * (half[:, None] * directions())[:, :, None]
    ours = ~rivals(points, whole, classes == PLATELET, (width, height), CLAIM, max(1, int(red_cell_px / RIVAL_STEPS)))
    green, whole_colour = _planes(image, red_cell_px)
    seen = sample_plane(green, points, cv2.BORDER_REPLICATE)
    white = classes == WHITE
    seen[white] = sample_plane(whole_colour, points[white], cv2.BORDER_REPLICATE)
    limit = free_reach(boxes, (width, height))
    level, glass = _levels(seen, ours, classes)
    cost = _cost(seen, ours, level, glass) * (expected < 0.98 * limit)[..., None]
    limit = np.minimum(limit, OVER_BOX / np.abs(directions()).max(1))
    outline = np.minimum(_smooth(RADII[_cheapest_round(cost)]) * expected, limit)
    sliver = half.min(1) < np.maximum(MIN_SIDE_PX / 2, MIN_ASPECT * half.max(1))
    outline[sliver | (level - glass < FAINT)] = np.nan
    return np.asarray(outline, np.float32)


def _check(image: NDArray[np.uint8], boxes: Floats, classes: NDArray[np.uint8], red_cell_px: float) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"the image must be uint8 (H, W, 3), not {image.dtype} {image.shape}")
    if boxes.shape != (len(classes), 4) or boxes.dtype != np.float32 or classes.dtype != np.uint8:
        raise ValueError(f"need float32 boxes (N, 4) and N classes, not {boxes.dtype} {boxes.shape} and {len(classes)}")
    if not np.isfinite(boxes).all() or (boxes[:, 2:] <= boxes[:, :2]).any():
        raise ValueError("every box needs finite corners and an area")
    if len(classes) and int(classes.max()) > PLATELET:
        raise ValueError(f"classes are 0..{PLATELET}, not {int(classes.max())}")
    if not 0 < red_cell_px < np.inf:
        raise ValueError(f"the diameter of a red cell must be positive, not {red_cell_px}")


def _planes(image: NDArray[np.uint8], red_cell_px: float) -> tuple[Floats, Floats]:
    """Return the density of green and of all colours in hundredths, with noise finer than a border taken out."""
    dense = np.asarray(cv2.LUT(image, DENSITY), np.float32)
    planes = np.ascontiguousarray(dense[..., 1]), cv2.transform(dense, np.ones((1, 3), np.float32))
    green, whole = (cv2.GaussianBlur(plane, (0, 0), 0.4 + 0.012 * red_cell_px) for plane in planes)
    return np.asarray(green, np.float32), np.asarray(whole, np.float32)


def _levels(seen: Floats, ours: NDArray[np.bool_], classes: NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """Return the density (N,) of each cell near its border and of the glass around it.

    A white cell's is that of its cytoplasm: what is denser is nucleus, and its border is not the cell's.
    """
    n = len(seen)
    ring, core = seen[:, :, RING].reshape(n, -1), seen[:, :, CORE].reshape(n, -1)
    shares = np.percentile(ring, 60, 1), np.percentile(ring, 30, 1), np.percentile(core, 35, 1)
    level = np.choose(classes, shares)
    outer = np.where(ours, seen, np.nan)[:, :, AROUND].reshape(n, -1)
    free = np.isfinite(outer).mean(1) > 0.1
    field = float(np.percentile(seen[:, :, AROUND], 5))
    glass = np.full(n, field)
    glass[free] = np.nanpercentile(outer[free], 15, axis=1)
    return level.astype(np.float32), glass.astype(np.float32)


def _cost(seen: Floats, ours: NDArray[np.bool_], level: Floats, glass: Floats) -> Floats:
    """Return what it costs each ray (N, RAYS) to have its border at each of RADII."""
    contrast = np.maximum(level - glass, 1.0)[:, None, None]
    filled = np.clip((seen - glass[:, None, None]) / contrast, 0.0, 1.2)
    padded = np.pad(filled, ((0, 0), (0, 0), (LAG, LAG)), mode="edge")
    fall = np.clip(padded[..., : -2 * LAG] - padded[..., 2 * LAG :], 0.0, 1.0) * ours
    filled = np.where(ours, np.minimum(filled, 1.0), 0.0)
    beyond = np.where(RADII < 0.7, 0.0, BORDER_LEVEL - filled)
    region = np.cumsum(beyond, axis=2, dtype=np.float32) * (RADII[1] - RADII[0])
    keep = ((RADII - 1.0) / LOOSENESS) ** 2 / 2
    return np.asarray(keep - EDGE_WEIGHT * fall + REGION_WEIGHT * region, np.float32)


def _cheapest_round(cost: Floats) -> NDArray[np.int64]:
    """Return the cheapest path (N, RAYS) once around; of two laps the second, which begins where the first ended."""
    n, rays, steps = cost.shape
    total = np.zeros((n, steps), np.float32)
    back = np.zeros((2 * rays, n, steps), np.int64)
    shifts = np.arange(-MAX_STEP, MAX_STEP + 1)
    toll = (BEND_WEIGHT * ((RADII[1] - RADII[0]) * shifts) ** 2).astype(np.float32)
    source = np.arange(steps)[None] + shifts[:, None]
    for lap in range(2 * rays):
        padded = np.pad(total, ((0, 0), (MAX_STEP, MAX_STEP)), constant_values=np.inf)
        offers = np.stack([padded[:, i : i + steps] + t for i, t in enumerate(toll)])
        best = offers.argmin(0)
        total = np.take_along_axis(offers, best[None], 0)[0] + cost[:, lap % rays]
        back[lap] = source[best, np.arange(steps)]
    path = np.empty((n, 2 * rays), np.int64)
    at = total.argmin(1)
    for lap in range(2 * rays - 1, -1, -1):
        path[:, lap] = at
        at = back[lap, np.arange(n), at]
    return path[:, rays // 2 : rays // 2 + rays][:, np.arange(rays) - rays // 2]


def _smooth(ratio: Floats) -> Floats:
    """Return outlines with what is finer than a few rays taken out."""
    out = sum(weight * np.roll(ratio, i - 2, axis=1) for i, weight in enumerate(SMOOTH))
    return np.asarray(out, np.float32)
