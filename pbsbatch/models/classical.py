"""The classical detector of the literature as a model that needs no weights: thresholds, distances, chords."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field

import cv2
import numpy as np

from pbsbatch.models.base import Calibration, Found, ModelSpec, Raw, Survey
from pbsbatch.models.classical_clump import find_clumps, split_clumps
from pbsbatch.models.classical_colour import COLOUR_RULES, STAIN_ZERO, Thresholds, thresholds
from pbsbatch.models.classical_parts import PLATELET, Mask, Params, Region, widened
from pbsbatch.models.classical_platelet import bumps, platelets_upon_cells
from pbsbatch.models.classical_red import cell_body, red_labels, red_regions, red_seeds, seed_discs
from pbsbatch.models.classical_white import find_nuclei, grow_whites

__all__ = ["CLASSES", "RESULTS_VERSION", "ClassicalModel", "classical_spec"]

RESULTS_VERSION = 2
"""Raise it with every change that can change a result: it is part of the resume key."""

WHITE_GLASS = 4.0
"""Density of glass up to which it cannot be told from the white outside a slide."""

CLASSES = ("RBC", "WBC", "Platelet")


def classical_spec(params: Params) -> ModelSpec:
    """Return the spec for these parameters; the digest holds all that decides the results."""
    told = json.dumps({"results": RESULTS_VERSION, **COLOUR_RULES, **asdict(params)}, sort_keys=True)
    return ModelSpec(
        name="classical", version=f"1.{RESULTS_VERSION}", digest=hashlib.sha256(told.encode()).hexdigest(),
        classes=CLASSES, work_mpp=params.work_mpp, max_cell_um=params.max_cell_um, context_px=params.context_px,
        engine="opencv",
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class ClassicalModel:
    """Find cells by colour and shape. Law: a result depends on pixels within context_px of its cell alone."""

    spec: ModelSpec = field(default_factory=lambda: classical_spec(Params()))
    params: Params = field(default_factory=Params)

    def calibrate(self, seen: Survey) -> Calibration:
        """Learn glass, red and stain colours from the windows of the survey."""
        return thresholds(seen.joint).as_calibration()

    def decode(self, raw: Raw, slot: int, calibration: Calibration) -> Found:
        """Turn one slot's colour planes into cells."""
        green = np.ascontiguousarray(raw["green"][slot], np.uint8)
        stain = np.ascontiguousarray(raw["stain"][slot], np.uint8)
        return _found(detect(green, stain, Thresholds.of(calibration), self.params))


def detect(green: Mask, stain: Mask, t: Thresholds, p: Params) -> list[Region]:
    """Return the cells of one tile's colour planes: nuclei and clumps first, then red cells, then platelets."""
    stained = np.asarray(cv2.medianBlur(((stain > t.stain) & (green > t.cell)).astype(np.uint8), 3), np.uint8)
    body = cell_body(green, t, p)
    mute = beside_fill(green, stain, t)
    nuclei = find_nuclei(stained, green, stain, mute, t, p)
    zone = None if nuclei is None else nuclei.zone
    clumps = find_clumps(stained, None if nuclei is None else nuclei.labels > 0, p)
    red = body
    for other in (zone, None if clumps is None else clumps.mask):
        red = red if other is None else red & (1 - widened(other, 2))
    hung = bumps(red, green, stain, mute, zone, t, p)
    red = _without(red, hung)
    seeds = red_seeds(red, mute, zone, p)
    whites: list[Region] = []
    taken = near = None
    if nuclei is not None:
        discs = seed_discs(red.shape, seeds, p.px(p.red_radius_um))
        whites, taken = grow_whites(nuclei, body, stain, discs, t, p)
        near = widened(taken, p.px(p.platelet_gap_um))
    reds = red_regions(red_labels(red, seeds, taken, p), green, stain, mute, near, t, p)
    parts = [] if clumps is None else split_clumps(clumps, body, stain, near, t, p)
    left = _without(stained if clumps is None else stained & (1 - clumps.mask), hung)
    lone = [r for r in reds if r.kind == PLATELET]
    return [*reds, *whites, *hung, *parts, *platelets_upon_cells(left, lone, stain, near, t, p)]


def _without(mask: Mask, regions: list[Region]) -> Mask:
    """Return the mask without the regions' pixels."""
    out = mask.copy() if regions else mask
    for r in regions:
        out[r.y : r.y + r.mask.shape[0], r.x : r.x + r.mask.shape[1]][r.mask] = 0
    return out


def beside_fill(green: Mask, stain: Mask, t: Thresholds) -> Mask:
    """Return the pixels beside what lies outside the slide: a straight cut there tells nothing of a cell's centre.

    Outside is filled with pure white; on a slide whose glass is itself white nothing is marked.
    """
    if t.glass <= WHITE_GLASS:
        return np.zeros(green.shape, np.uint8)
    fill = ((green == 0) & (stain == STAIN_ZERO)).astype(np.uint8)
    return widened(fill, 3) if fill.any() else fill


def _found(regions: list[Region]) -> Found:
    regions = sorted(regions, key=lambda r: (r.y, r.x, r.kind))
    n = len(regions)
    windows = np.array([(r.x, r.y, r.mask.shape[1], r.mask.shape[0]) for r in regions], np.int32).reshape(n, 4)
    boxes = windows.astype(np.float32)
    boxes[:, 2:] += boxes[:, :2]
    return Found(
        boxes=boxes,
        scores=np.array([r.score for r in regions], np.float32),
        classes=np.array([r.kind for r in regions], np.uint8),
        windows=windows,
        masks=tuple(r.mask for r in regions),
    )
