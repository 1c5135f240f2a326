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
        flat = (zone == MONOLAYER) & (_lacks_pallor(r, zone) | _is_sparse(r, zone))
    zone[flat | ((zone == MONOLAYER) & _at_border(blocks, zone))] = FEATHER
    zone[blocks["failed"] > 0] = UNSEEN
    return zone


def _at_border(blocks: BlockRows, zone: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Say which blocks lie beside an empty one, or one that was not looked at: part of them may be bare glass."""
    if not len(blocks):
        return np.zeros(0, np.bool_)
    col, row = (blocks.at - blocks.at.min(axis=0)).T + 1
    empty = np.ones((int(row.max()) + 2, int(col.max()) + 2), np.bool_)
    empty[row, col] = zone == EMPTY
    empty[[0, -1]] = empty[:, [0, -1]] = False  # beyond the blocks is nothing that could be known
    beside: NDArray[np.bool_] = empty[row - 1, col] | empty[row + 1, col] | empty[row, col - 1] | empty[row, col + 1]
    return beside


def _crowded(r: Readings) -> NDArray[np.bool_]:
    """Say where cells lie over each other nearly as if thrown at random, beyond what the count of cells can tell.

    Overlaps come at a rate, the logarithm of the share without: by it a crowd is told from a few at any density.
    """
    limit = 1 - (1 - r.chance) ** rules.CROWDED
    crowded: NDArray[np.bool_] = r.overlap - limit > np.sqrt(limit * (1 - limit) / np.maximum(r.judged, 1))
    return crowded & (r.judged >= rules.LEAST_JUDGED)


def _lacks_pallor(r: Readings, zone: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Say where cells are flat for this slide: another patient's may have less pallor everywhere."""
    known = (zone == MONOLAYER) & np.isfinite(r.pallor)
    if not known.any():
        return np.zeros(len(zone), np.bool_)
    usual = float(np.quantile(r.pallor[known], 0.75))
    lacks: NDArray[np.bool_] = (r.pallor < rules.FLAT * usual) & (usual > rules.PALE)
    return lacks


def _is_sparse(r: Readings, zone: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Say where cells are few for this slide, beyond the chance of counting: the end of the smear, and its border."""
    known = zone == MONOLAYER
    if not known.any():
        return np.zeros(len(zone), np.bool_)
    limit = rules.SPARSE * np.median(r.filled[known])
    sparse: NDArray[np.bool_] = r.filled * (1 + 1 / np.sqrt(np.maximum(r.red, 1))) < limit
    return sparse


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
