"""White cells by their nuclei: lobes gathered by mass, cytoplasm grown to a bounded width."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pbsbatch.models.classical_clump import is_clump
from pbsbatch.models.classical_colour import Thresholds
from pbsbatch.models.classical_parts import WHITE, Mask, Params, Region, closed, disc, widened
from pbsbatch_kernels.peaks import local_maxima, unmerged
from pbsbatch_kernels.regions import measure, power_labels

__all__ = ["Nuclei", "find_nuclei", "grow_whites"]


@dataclass(frozen=True, slots=True)
class Nuclei:
    """The nuclei of a tile: 1 + index per pixel, their extents x0, y0, x1, y1, and the hulls drawn as one mask."""

    labels: NDArray[np.int32]
    extents: NDArray[np.int64]
    zone: Mask

    def __len__(self) -> int:
        return len(self.extents)


def find_nuclei(stained: Mask, green: Mask, stain: Mask, mute: Mask, t: Thresholds, p: Params) -> Nuclei | None:
    """Return the nuclei, or None where there is none.

    Law: stained pixels belong to the nearest peak of their mass, blurred over a nucleus' width, so that the lobes of
    one nucleus have one peak; exact integers throughout.
    """
    if not stained.any():
        return None
    k = p.px(p.mass_um) | 1
    once = _box_sum(stained, k)
    if float(once.max()) < p.nucleus_share * k * k:  # no blur of these sums could be higher
        return None
    height = _box_sum(once, k).astype(np.float32)
    seeds = local_maxima(height, p.px(p.nucleus_gap_um), p.nucleus_share * k**4)
    seeds = seeds[unmerged(height, seeds, p.px(p.nucleus_reach_um), p.nucleus_merge)]
    if not len(seeds):
        return None
    labels = power_labels(stained, seeds, np.zeros(len(seeds), np.float32), p.px(p.nucleus_reach_um))
    points = np.flatnonzero(stained)
    owner = labels.ravel()[points]
    keep = np.bincount(owner, minlength=len(seeds) + 1) >= p.px2(p.nucleus_min_um2)
    keep[0] = False
    n = int(keep.sum())
    if not n:
        return None
    labels.ravel()[points] = np.where(keep, np.cumsum(keep), 0).astype(np.int32)[owner]
    _release_pieces(labels, measure(labels, stained, stained, n)[:, :4], p)
    boxes = _without_clumps(labels, measure(labels, stained, stained, n)[:, :4], green, stain, mute, t, p)
    if not len(boxes):
        return None
    return Nuclei(labels, boxes, _hulls(labels, boxes))


def _box_sum(values: NDArray[np.uint8] | NDArray[np.int32], k: int) -> NDArray[np.int32]:
    out = cv2.boxFilter(values, cv2.CV_32S, (k, k), normalize=False, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(out, np.int32)


def _release_pieces(labels: NDArray[np.int32], extents: NDArray[np.int64], p: Params) -> None:
    """Take from each nucleus, in place, the pieces that lie apart from it and are smaller than a lobe: platelets."""
    join = p.px(p.lobe_gap_um / 2)
    for i, (x0, y0, x1, y1) in enumerate(extents.tolist()):
        own = np.pad((labels[y0:y1, x0:x1] == i + 1).astype(np.uint8), join)
        _, parts = cv2.connectedComponents(widened(own, join), connectivity=4)
        area = np.bincount(parts[own > 0])
        small = area < p.px2(p.lobe_min_um2)
        small[int(np.argmax(area))] = False
        if small[1:].any():
            apart = (small[parts] & (own > 0))[join:-join, join:-join]
            labels[y0:y1, x0:x1][apart] = 0


def _without_clumps(
    labels: NDArray[np.int32],
    extents: NDArray[np.int64],
    green: Mask,
    stain: Mask,
    mute: Mask,
    t: Thresholds,
    p: Params,
) -> NDArray[np.int64]:
    """Take the clumps of platelets from the labels, in place, and return the extents of the nuclei left.

    Law: what the slide's border cuts (mute) stays: its thickness is not known."""
    kept = []
    for i, (x0, y0, x1, y1) in enumerate(extents.tolist()):
        window = labels[y0:y1, x0:x1]
        own = window == i + 1
        if not mute[y0:y1, x0:x1][own].any() and is_clump(own, x0, y0, green, stain, t, p):
            window[own] = 0
            continue
        kept.append(i)
        window[own] = len(kept)
    return extents[kept]


def _hulls(labels: NDArray[np.int32], extents: NDArray[np.int64]) -> Mask:
    """Return the convex hulls of all nuclei: what lies between lobes is no red cell."""
    zone = np.zeros(labels.shape, np.uint8)
    for i, (x0, y0, x1, y1) in enumerate(extents.tolist()):
        ys, xs = np.nonzero(labels[y0:y1, x0:x1] == i + 1)
        points = np.stack([xs + x0, ys + y0], 1).astype(np.int32)
        cv2.fillConvexPoly(zone, cv2.convexHull(points), 1)
    return zone


def grow_whites(
    nuclei: Nuclei, body: Mask, stain: Mask, reds: Mask, t: Thresholds, p: Params
) -> tuple[list[Region], Mask]:
    """Return the white cells with their cytoplasm, and the pixels they take.

    Law: cytoplasm is what hangs together with the nucleus, lies within cytoplasm_um of its hull, is no glass and in no
    red cell's disc. Two nuclei share what lies between them by the nearer hull in index order.
    """
    reach = p.px(p.cytoplasm_um)
    rows, cols = body.shape
    taken = np.zeros(body.shape, np.uint8)
    out = []
    for i, (x0, y0, x1, y1) in enumerate(nuclei.extents.tolist()):
        left, top, right, bottom = max(0, x0 - reach), max(0, y0 - reach), min(cols, x1 + reach), min(rows, y1 + reach)
        window = np.s_[top:bottom, left:right]
        labels = nuclei.labels[window]
        nucleus = (labels == i + 1).astype(np.uint8)
        free = body[window] & (1 - reds[window]) & ((labels == 0) | (labels == i + 1)) & (taken[window] == 0)
        mine = _one_white(nucleus, free.astype(np.uint8), reach)
        taken[window][mine] = 1
        ys, xs = np.nonzero(mine)
        tight = mine[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
        score = _score(nucleus, stain[window], t, p)
        out.append(Region(WHITE, score, left + int(xs.min()), top + int(ys.min()), tight))
    return out, taken


def _one_white(nucleus: Mask, free: Mask, reach: int) -> NDArray[np.bool_]:
    points = cv2.findNonZero(nucleus)
    hull = np.zeros(nucleus.shape, np.uint8)
    cv2.fillConvexPoly(hull, cv2.convexHull(points), 1)
    around = widened(hull, reach) & free
    around = np.asarray(cv2.morphologyEx(around, cv2.MORPH_OPEN, disc(3)), np.uint8)
    whole = closed(np.pad(around | nucleus | (hull & free), 3), 3)[3:-3, 3:-3]
    _, parts = cv2.connectedComponents(whole, connectivity=4)
    own = np.bincount(parts[nucleus > 0])
    return np.asarray(parts == int(np.argmax(own)), np.bool_)


def _score(nucleus: Mask, stain: Mask, t: Thresholds, p: Params) -> float:
    """Return size evidence times stain evidence: 30 um2 of nucleus, stained twice as far as asked, score about 0.9."""
    area = float(nucleus.sum()) / p.px2(30.0)
    strength = (float(stain[nucleus > 0].mean()) - t.red_stain) / max(t.stain - t.red_stain, 1.0)
    return round(min(1.0, 0.3 + 0.6 * area) * min(1.0, 0.4 + 0.3 * strength), 6)
