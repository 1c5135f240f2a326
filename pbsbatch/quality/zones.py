"""Where a smear is a monolayer, thick, feathered, out of focus or empty: judged block by block. Pure.

Density alone does not tell: anaemia is sparse. A monolayer is where red cells keep apart: however many there are,
fewer lie over each other than if they had been thrown at random. In the thick part they lie as they fell; at the
feathered end they are spread flat, without pallor, and few for this slide.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pbsbatch import rules
from pbsbatch.store import SUMS, BlockRows

__all__ = ["BLURRED", "EMPTY", "FEATHER", "MONOLAYER", "THICK", "UNSEEN", "ZONES", "Readings", "readings", "zones_of"]

ZONES = ("empty", "thick", "monolayer", "feather", "blurred", "unseen")
EMPTY, THICK, MONOLAYER, FEATHER, BLURRED, UNSEEN = range(len(ZONES))

Figures = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Readings:
    """What is read off each block, from itself and the blocks around it; not a number where nothing was measured."""

    red: Figures  # red cells of the block alone
    filled: Figures  # share of the block's own area that its red cells would take side by side
    overlap: Figures  # share of red cells that overlap another
    chance: Figures  # the share that would, had as many been thrown at random
    judged: Figures  # how many red cells these two are taken from
    pallor: Figures  # share of the rim's density that the centre lacks, the mean of whole cells
    edge_px: Figures  # width of rims, work px


def readings(blocks: BlockRows) -> Readings:
    """Return the readings of whole blocks."""
    own = dict(zip(SUMS, blocks.sums.astype(np.float64).T, strict=True))
    near = dict(zip(SUMS, _around(blocks).T, strict=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        diameter = near["diameter"] / near["sized"] / 100
        density, around = (s["red"] / (s["samples"] * rules.SAMPLE_PX**2) for s in (own, near))
        return Readings(
            red=own["red"], filled=density * np.pi * diameter**2 / 4, overlap=near["overlapping"] / near["red"],
            chance=1 - np.exp(-around * np.pi * (rules.OVER * diameter) ** 2), judged=near["red"],
            pallor=near["pallor"] / near["whole"] / 1000, edge_px=1000 * near["edges"] / near["slope"],
        )  # fmt: skip


def zones_of(blocks: BlockRows) -> NDArray[np.uint8]:
    """Return the zone of each block of a slide, as an index into ZONES."""
    r = readings(blocks)
    zone = np.full(len(blocks), MONOLAYER, np.uint8)
    with np.errstate(invalid="ignore"):
        zone[_crowded(r)] = THICK
        zone[r.edge_px > rules.EDGE_PX] = BLURRED
        zone[~(r.filled >= rules.LEAST_FILLED)] = EMPTY
        mono = zone == MONOLAYER
        flat = mono & (_lacks_pallor(r, mono) | _is_sparse(r, mono))
        # cells stuck together where there are fewer than in the monolayer: no thick part, but its other end
        zone[flat | ((zone == THICK) & (r.filled < _usual(r, mono)))] = FEATHER
    beside = _beside(blocks, zone)
    zone[(zone == MONOLAYER) & (beside[:, ::2] == EMPTY).any(axis=1)] = FEATHER  # part of it may be bare glass
    zone[blocks["failed"] > 0] = UNSEEN
    return _without_strays(blocks, zone)


def _without_strays(blocks: BlockRows, zone: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return zones in which a monolayer's block in the midst of another zone belongs to that zone: it was chance."""
    beside = _beside(blocks, zone)
    votes = np.stack([(beside == k).sum(axis=1) for k in (THICK, FEATHER, BLURRED)])
    stray = (zone == MONOLAYER) & ((beside == MONOLAYER).sum(axis=1) < rules.COMPANY * votes.sum(axis=0))
    return np.where(stray, np.array([THICK, FEATHER, BLURRED], np.uint8)[votes.argmax(axis=0)], zone)


def _beside(blocks: BlockRows, zone: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the zones (N, 8) of the blocks around each one, those with a common side at even places.

    What was not to be looked at is empty; beyond the outermost blocks is nothing that could be known, len(ZONES).
    """
    if not len(blocks):
        return np.zeros((0, 8), np.uint8)
    col, row = (blocks.at - blocks.at.min(axis=0)).T + 1
    grid = np.full((int(row.max()) + 2, int(col.max()) + 2), EMPTY, np.uint8)
    grid[[0, -1]] = grid[:, [0, -1]] = len(ZONES)
    grid[row, col] = zone
    around = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))
    return np.stack([grid[row + i, col + k] for i, k in around], axis=1)


def _crowded(r: Readings) -> NDArray[np.bool_]:
    """Say where cells lie over each other nearly as if thrown at random, beyond what the count of cells can tell.

    Overlaps come at a rate, the logarithm of the share without: by it a crowd is told from a few at any density.
    """
    limit = 1 - (1 - r.chance) ** rules.CROWDED
    crowded: NDArray[np.bool_] = r.overlap - limit > np.sqrt(limit * (1 - limit) / np.maximum(r.judged, 1))
    return crowded & (r.judged >= rules.LEAST_JUDGED)


def _lacks_pallor(r: Readings, mono: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Say where cells are flat for this slide: another patient's may have less pallor everywhere."""
    known = mono & np.isfinite(r.pallor)
    usual = float(np.quantile(r.pallor[known], 0.75)) if known.any() else 0.0
    lacks: NDArray[np.bool_] = (r.pallor < rules.FLAT * usual) & (usual > rules.PALE)
    return lacks


def _is_sparse(r: Readings, mono: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Say where cells are few for this slide, beyond the chance of counting: the end of the smear, and its border."""
    most = r.filled * (1 + 1 / np.sqrt(np.maximum(r.red, 1)))
    sparse: NDArray[np.bool_] = most < rules.SPARSE * _usual(r, mono)
    return sparse


def _usual(r: Readings, mono: NDArray[np.bool_]) -> float:
    """Return how much of the monolayer its red cells fill; 0 where there is none."""
    return float(np.median(r.filled[mono])) if mono.any() else 0.0


def _around(blocks: BlockRows) -> NDArray[np.float64]:
    """Return each block's sums with those around it: the eight beside it, and where these hold few cells two rings."""
    if not len(blocks):
        return np.zeros((0, len(SUMS)))
    col, row = (blocks.at - blocks.at.min(axis=0)).T + 2
    grid = np.zeros((int(row.max()) + 3, int(col.max()) + 3, len(SUMS)))
    grid[row, col] = blocks.sums
    sums, red = np.zeros((len(blocks), len(SUMS))), SUMS.index("red")
    for reach in (1, 2):
        few = sums[:, red] < rules.JUDGED_CELLS
        near = range(-reach, reach + 1)
        sums[few] = np.sum([grid[row[few] + i, col[few] + k] for i in near for k in near], axis=0)
    return sums
