"""Clumps of platelets: told from nuclei by their grain, and shared among their platelets by thickness."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pbsbatch.models.classical_colour import Thresholds
from pbsbatch.models.classical_parts import PLATELET, Mask, Params, Region, disc, widened
from pbsbatch.models.classical_platelet import platelet_score
from pbsbatch_kernels.peaks import local_maxima, unmerged
from pbsbatch_kernels.regions import connect, measure, number_pieces, power_labels

__all__ = ["Clumps", "find_clumps", "is_clump", "split_clumps"]


@dataclass(frozen=True, slots=True)
class Clumps:
    """The stained pixels of a tile's clumps, and the centres (y, x) of their platelets."""

    mask: Mask
    seeds: NDArray[np.int32]


_FINE, _COARSE = 3, 9
"""Widths in px between which grain is measured: 0.75 um takes the sensor's noise away, 2.25 um is a platelet."""

_MARGIN = _COARSE // 2 + 1
_CORE_PX = 20
"""Pixels of a nucleus' core, at least, for a median that means something."""


def is_clump(own: NDArray[np.bool_], x0: int, y0: int, green: Mask, stain: Mask, t: Thresholds, p: Params) -> bool:
    """Say whether a stained thing is a clump of platelets and no nucleus; own: its tight mask, at x0, y0.

    Law: a clump is thin, grainy for its thickness, uneven, paler than a nucleus and less blue; all of it is asked.
    Looks at pixels within _MARGIN of the thing alone.
    """
    thick = float(cv2.distanceTransform(np.pad(own.astype(np.uint8), 1), cv2.DIST_L2, 5).max()) * p.work_mpp
    if thick >= p.clump_thick_um:
        return False
    window = np.s_[y0 : y0 + own.shape[0], x0 : x0 + own.shape[1]]
    dense = green[window][own].astype(np.float64) - t.glass
    dye = float(np.median(stain[window][own])) - t.red_stain
    middle = float(np.median(dense))
    even = middle / max(float(np.percentile(dense, 90)), 1.0)
    if dye >= p.clump_stain or even >= p.clump_even or dye >= p.clump_blue * middle:
        return False
    return _grain(own, x0, y0, green, t) > p.clump_grain * thick


def _grain(own: NDArray[np.bool_], x0: int, y0: int, green: Mask, t: Thresholds) -> float:
    """Return how far density differs from that around it, in the core of the thing, as a share of its density."""
    h, w = own.shape
    left, top = max(0, x0 - _MARGIN), max(0, y0 - _MARGIN)
    window = green[top : y0 + h + _MARGIN, left : x0 + w + _MARGIN]
    rough = cv2.absdiff(cv2.blur(window, (_FINE, _FINE)), cv2.blur(window, (_COARSE, _COARSE)))
    inside = np.s_[y0 - top : y0 - top + h, x0 - left : x0 - left + w]
    core = _core(own)
    density = float(np.median(window[inside][core])) - t.glass
    return float(np.median(np.asarray(rough)[inside][core])) / max(density, 1.0)


def _core(own: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the thing without its rim, whose fall is no grain, or all of it where little would be left."""
    padded = np.pad(own.astype(np.uint8), 3)
    for rim in (3, 2):
        core = np.asarray(cv2.erode(padded, disc(rim)), np.bool_)[3:-3, 3:-3]
        if core.sum() >= _CORE_PX:
            return core
    return own


def find_clumps(stained: Mask, nuclei: NDArray[np.bool_] | None, p: Params) -> Clumps | None:
    """Return what is stained, no nucleus, and more than one platelet; None where there is no such thing.

    Law: a piece is a clump if it is wider than a platelet can be or has two peaks of thickness.
    """
    left = stained if nuclei is None else stained & np.logical_not(nuclei)
    points = np.flatnonzero(left)
    if not len(points):
        return None
    depth = np.asarray(cv2.distanceTransform(left, cv2.DIST_L2, 5), np.float32)
    seeds = local_maxima(depth, p.px(p.clump_gap_um), p.clump_floor_um / p.work_mpp)
    seeds = seeds[unmerged(depth, seeds, p.px(p.clump_reach_um), p.clump_neck)]
    labels = np.zeros(left.shape, np.int32)
    n = number_pieces(points, labels, 0, p.px(p.platelet_max_um), 1, True)
    peaks = np.bincount(labels[seeds[:, 0], seeds[:, 1]], minlength=n + 1)
    many = peaks >= 2
    many[0] = True  # what is wider than a platelet has no number
    owner = labels.ravel()[points]
    mask = np.zeros_like(left)
    mask.ravel()[points[many[owner]]] = 1
    seeds = seeds[mask[seeds[:, 0], seeds[:, 1]] > 0]
    return Clumps(mask, seeds) if len(seeds) else None


def split_clumps(clumps: Clumps, body: Mask, stain: Mask, near: Mask | None, t: Thresholds, p: Params) -> list[Region]:
    """Return the platelets of clumps, each with its part of the stained pixels and of the pale rim around them.

    Law: a pixel goes to the nearest peak within clump_share_um; near: where white cells are, there is no platelet.
    """
    mask, seeds = clumps.mask, clumps.seeds
    reach = p.px(p.clump_share_um)
    rim = widened(mask, p.px(p.platelet_rim_um)) & body | mask
    labels = connect(power_labels(rim, seeds, np.zeros(len(seeds), np.float32), reach), seeds, reach)
    out = []
    for i, f in enumerate(measure(labels, mask, stain, len(seeds)).tolist()):
        x0, y0, x1, y1, area, _, dye, _, _ = f
        if not p.px2(p.platelet_min_um2) <= area <= p.px2(p.platelet_max_um2) or dye / area < t.pale:
            continue
        own = labels[y0:y1, x0:x1] == i + 1
        if near is not None and near[y0:y1, x0:x1][own].any():
            continue
        out.append(Region(PLATELET, platelet_score(dye / area, t.pale, area, p), x0, y0, own))
    return out
