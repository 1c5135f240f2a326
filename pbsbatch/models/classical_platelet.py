"""Platelets: stained things of 1 to 6 um that belong to no nucleus."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pbsbatch.models.classical_colour import Thresholds
from pbsbatch.models.classical_parts import PLATELET, Mask, Params, Region, widened
from pbsbatch_kernels.regions import measure, number_pieces

__all__ = ["bumps", "lone_platelet", "platelet_score", "platelets_upon_cells"]


def lone_platelet(
    labels: NDArray[np.int32], mine: int, box: tuple[int, int, int, int], area: int, density: float, dye: float,
    near: Mask | None, t: Thresholds, p: Params,
) -> Region | None:  # fmt: skip
    """Return a region as a platelet, or None: it is small, stained and has no nucleus near; density, dye: its means.

    Law: stained is more of a stain than red cells have or, where red cells stain unevenly, no less and their density:
    a piece that the slide's border cuts (density 0) may be a red cell's.
    """
    x0, y0, x1, y1 = box
    floor = t.red_stain if density >= t.red else (t.red_stain + t.pale) / 2
    fits = p.px2(p.platelet_min_um2) <= area <= p.px2(p.platelet_max_um2)
    if not fits or dye < floor or max(x1 - x0, y1 - y0) > p.px(p.platelet_max_um):
        return None
    own = labels[y0:y1, x0:x1] == mine
    if near is not None and near[y0:y1, x0:x1][own].any():
        return None
    x, y, wide = _with_rim(own, x0, y0, p.px(p.platelet_rim_um), labels.shape)
    return Region(PLATELET, platelet_score(dye, floor, area, p), x, y, wide)


def bumps(red: Mask, green: Mask, stain: Mask, mute: Mask, zone: Mask | None, t: Thresholds, p: Params) -> list[Region]:
    """Return the platelets that hang on red cells by a bridge.

    Law: what no disc of bump_um within the mask covers is a bump; it is a platelet if it is small, has no less stain
    than red cells and their density: an edge of a red cell is paler. mute: what the slide's border cuts; zone: where
    nuclei are, whose cytoplasm has no platelets.
    """
    radius = p.bump_um / p.work_mpp
    deep = (np.asarray(cv2.distanceTransform(red, cv2.DIST_L2, 5)) <= radius).astype(np.uint8)
    left = (red > 0) & (np.asarray(cv2.distanceTransform(deep, cv2.DIST_L2, 5)) > radius + 1)
    points = np.flatnonzero(left)
    labels = np.zeros(red.shape, np.int32)
    n = number_pieces(points, labels, 0, p.px(p.platelet_max_um), int(p.px2(p.platelet_min_um2)), False)
    reach = p.px(p.cytoplasm_um)
    out = []
    for i, f in enumerate(measure(labels, green, stain, n).tolist()):
        x0, y0, x1, y1, area, density, dye, _, _ = f
        if area > p.px2(p.platelet_max_um2) or density < area * t.red or dye < area * t.red_stain:
            continue
        own = labels[y0:y1, x0:x1] == i + 1
        if area < p.bump_fill * own.size or mute[y0:y1, x0:x1][own].any() or not _hangs(own, x0, y0, red, p):
            continue
        if zone is not None and zone[max(0, y0 - reach) : y1 + reach, max(0, x0 - reach) : x1 + reach].any():
            continue
        out.append(Region(PLATELET, platelet_score(dye / area, t.red_stain, area, p), x0, y0, own))
    return out


def _hangs(own: NDArray[np.bool_], x0: int, y0: int, red: Mask, p: Params) -> bool:
    """Say whether more of the mask lies against the piece: what stands alone is no bump."""
    x, y, wide = _with_rim(own, x0, y0, p.px(p.platelet_rim_um), red.shape)
    around = red[y : y + wide.shape[0], x : x + wide.shape[1]]
    return bool(around[wide].sum() > own.sum())


def platelets_upon_cells(
    stained: Mask, lone: list[Region], stain: Mask, near: Mask | None, t: Thresholds, p: Params
) -> list[Region]:
    """Return the small strong stains upon or against red cells; near: where white cells are.

    Law: a piece wider than platelet_max_um is none, so what is far away does not matter.
    """
    left = stained.copy()
    for r in lone:
        left[r.y : r.y + r.mask.shape[0], r.x : r.x + r.mask.shape[1]][r.mask] = 0
    if not left.any():
        return []
    points = np.flatnonzero(widened(left, p.px(p.platelet_rim_um)))
    labels = np.zeros(left.shape, np.int32)
    n = number_pieces(points, labels, 0, p.px(p.platelet_max_um), int(p.px2(p.platelet_min_um2)), True)
    out = []
    for i, f in enumerate(_pieces(labels, points, n, stain)):
        x0, y0, x1, y1, area, dye = f
        own = labels[y0:y1, x0:x1] == i + 1
        if area > p.px2(p.platelet_max_um2) or dye < t.pale or (near is not None and near[y0:y1, x0:x1][own].any()):
            continue
        out.append(Region(PLATELET, platelet_score(dye, t.pale, area, p), x0, y0, own))
    return out


def _pieces(
    labels: NDArray[np.int32], points: NDArray[np.int64], n: int, stain: Mask
) -> list[tuple[int, int, int, int, int, float]]:
    """Return x0, y0, x1, y1, area and mean stain of each piece; looks at the points alone."""
    owner = labels.ravel()[points]
    y, x = np.divmod(points, labels.shape[1])
    lo, hi = np.full((n + 1, 2), 2**31), np.full((n + 1, 2), -1)
    for axis, values in enumerate((x, y)):
        np.minimum.at(lo[:, axis], owner, values)
        np.maximum.at(hi[:, axis], owner, values)
    area = np.bincount(owner, minlength=n + 1)
    dye = np.bincount(owner, weights=stain.ravel()[points], minlength=n + 1) / np.maximum(area, 1)
    rows = np.column_stack([lo, hi + 1, area])[1:].tolist()
    return [(*row, mean) for row, mean in zip(rows, dye[1:].tolist(), strict=True)]


def _with_rim(
    own: NDArray[np.bool_], x: int, y: int, rim: int, shape: tuple[int, ...]
) -> tuple[int, int, NDArray[np.bool_]]:
    """Return the piece with its pale rim, cut to the tile: x, y, mask."""
    wide = widened(np.pad(own.astype(np.uint8), rim), rim) > 0
    top, left = max(0, rim - y), max(0, rim - x)
    bottom = max(0, y + own.shape[0] + rim - shape[0])
    right = max(0, x + own.shape[1] + rim - shape[1])
    rows, cols = wide.shape
    return x - rim + left, y - rim + top, wide[top : rows - bottom, left : cols - right]


def platelet_score(mean: float, floor: float, area: int, p: Params) -> float:
    """Return stain evidence times size fit around 6 um2, each 0..1."""
    size = area / p.px2(6.0)
    return float(round(min(1.0, 0.4 + (mean - floor) / 50) * min(size, 1 / size) ** 0.25, 6))
