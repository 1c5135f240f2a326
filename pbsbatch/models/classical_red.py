"""Red cells: centres by the votes of border pixels, borders between overlapping cells by the chords of their discs."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pbsbatch.models.classical_colour import Thresholds
from pbsbatch.models.classical_parts import RED, Mask, Params, Region, closed, fill_holes, widened
from pbsbatch.models.classical_platelet import lone_platelet
from pbsbatch_kernels.peaks import local_maxima, unmerged, votes
from pbsbatch_kernels.regions import connect, measure, number_pieces, overlap_mask, power_labels, rim_radii

__all__ = ["RedLabels", "cell_body", "red_labels", "red_regions", "red_seeds", "seed_discs"]


def cell_body(green: Mask, t: Thresholds, p: Params) -> Mask:
    """Return what is no glass, with pale centres filled."""
    soft = np.asarray(cv2.GaussianBlur(green, (3, 3), 0), np.uint8)
    dense = (soft > t.cell).astype(np.uint8)
    return fill_holes(closed(dense, p.px(p.closing_um)), p)


def red_seeds(red: Mask, mute: Mask, zone: Mask | None, p: Params) -> NDArray[np.int32]:
    """Return the centres (y, x) of red cells. zone: where nuclei lie; no red cell has its centre there."""
    height = _centre_votes(red, mute, p)
    seeds = local_maxima(height, p.px(p.seed_gap_um), p.vote_floor)
    bare = red[seeds[:, 0], seeds[:, 1]] == 0
    seeds = seeds[~bare | (height[seeds[:, 0], seeds[:, 1]] >= p.vote_floor_bare)]
    if zone is not None:
        seeds = seeds[widened(zone, p.px(p.white_gap_um))[seeds[:, 0], seeds[:, 1]] == 0]
    seeds = seeds[unmerged(height, seeds, p.px(p.merge_reach_um), p.merge_ratio)]
    depth = np.asarray(cv2.distanceTransform(red, cv2.DIST_L2, 5), np.float32)
    own: NDArray[np.int32] = seeds[unmerged(depth, seeds, p.px(p.neck_reach_um), p.neck_ratio)]
    return own


def _centre_votes(red: Mask, mute: Mask, p: Params) -> NDArray[np.float32]:
    """Return the votes for centres, blurred with exact integers."""
    soft = cv2.GaussianBlur(red * np.uint8(255), (7, 7), 0)
    gx, gy = (np.asarray(cv2.Sobel(soft, cv2.CV_16S, dx, 1 - dx), np.int16) for dx in (1, 0))
    tally = votes(red, mute, gx, gy, p.px(p.vote_near_um), p.px(p.vote_far_um))
    k = (p.vote_blur, p.vote_blur)
    for _ in range(2):
        blurred = cv2.boxFilter(tally, cv2.CV_32S, k, normalize=False, borderType=cv2.BORDER_CONSTANT)
        tally = np.asarray(blurred, np.int32)
    return tally.astype(np.float32)


def seed_discs(shape: tuple[int, ...], seeds: NDArray[np.int32], radius: int) -> Mask:
    """Return a disc drawn around each seed."""
    out = np.zeros(shape, np.uint8)
    for y, x in seeds.tolist():
        cv2.circle(out, (x, y), radius, 1, -1)
    return out


@dataclass(frozen=True, slots=True)
class RedLabels:
    """Whose each pixel is: labels 1 .. len(seeds) belong to seeds, those up to n to pieces without a centre."""

    labels: NDArray[np.int32]
    seeds: NDArray[np.int32]
    n: int


def red_labels(red: Mask, seeds: NDArray[np.int32], taken: Mask | None, p: Params) -> RedLabels:
    """Share the mask among the seeds; what no seed took is numbered as pieces. taken: pixels of white cells."""
    reach = p.px(p.red_reach_um)
    radii = np.full(len(seeds), p.px(p.red_radius_um), np.float32)
    labels = connect(power_labels(red, seeds, radii, reach), seeds, reach)
    left = (labels == 0) & (red > 0)
    if taken is not None:
        labels[taken > 0] = 0
        left &= taken == 0
    least = int(p.px2(min(p.cut_min_um2, p.platelet_min_um2)))
    n = number_pieces(np.flatnonzero(left), labels, len(seeds), p.px(p.cut_max_um), least, False)
    return RedLabels(labels, seeds, n)


def red_regions(
    found: RedLabels, green: Mask, stain: Mask, mute: Mask, near: Mask | None, t: Thresholds, p: Params
) -> list[Region]:
    """Return red cells, and the platelets among the pieces that stand alone.

    Law: a cell cut by the slide's border (mute marks what is beside it) may be small, another may not; a platelet is
    small, stained, and not near a nucleus.
    """
    labels, seeds = found.labels, found.seeds
    cut = np.zeros(found.n + 1, np.bool_)
    cut[labels[mute > 0]] = True
    rims = rim_radii(labels, seeds)
    out: list[Region] = []
    for i, f in enumerate(measure(labels, green, stain, found.n).tolist()):
        x0, y0, x1, y1, area, density, dye, edge, shared = f
        if not area:
            continue
        box = (x0, y0, x1, y1)
        lone = (
            None
            if shared
            else lone_platelet(labels, i + 1, box, area, 0.0 if cut[i + 1] else density / area, dye / area, near, t, p)
        )
        if lone is not None:
            out.append(lone)
            continue
        if area < p.px2(p.cut_min_um2 if cut[i + 1] else p.red_min_um2):
            continue
        if i < len(seeds) and shared > p.overlap_share * edge and rims[i, 1] >= 8:
            r = min(int(rims[i, 0] + 0.5), p.px(p.vote_far_um))
            x0, y0, mask = overlap_mask(labels, i + 1, box, int(seeds[i, 0]), int(seeds[i, 1]), r)
        else:
            mask = labels[y0:y1, x0:x1] == i + 1
        out.append(Region(RED, _score(area, density / area, edge, shared, t, p), x0, y0, mask))
    return out


def _score(area: int, density: float, edge: int, shared: int, t: Thresholds, p: Params) -> float:
    """Return size fit times roundness times contrast times how free the border is, each 0..1."""
    size = area / p.px2(np.pi * 3.6**2)
    fit = min(size, 1 / size) ** 0.5
    roundness = min(1.0, 2 * (np.pi * area) ** 0.5 / max(edge, 1))
    contrast = min(1.0, max(0.0, (density - t.glass) / max(t.red - t.glass, 1.0)))
    return float(round(fit * roundness * contrast * (1 - 0.3 * shared / max(edge, 1)), 6))
