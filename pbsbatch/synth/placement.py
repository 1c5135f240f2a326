"""Put cells into one block of the um grid: scatter, then push overlapping neighbours apart.

Law: a block is a pure function of (seed, row, column) and the scene's rates. Its cells are relaxed among
the raw cells around it, always gathered in the same order; each cell belongs to the block that it was
scattered in and moves at most 6 um.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pbsbatch.synth.cells import CELL, DEBRIS, PLATELET, RBC, WBC, Cell, dress
from pbsbatch.synth.jit import kernel
from pbsbatch.synth.noise import hash2, normal, smooth, unit
from pbsbatch.synth.zones import DENSEST, FEATHER, GLASS, THICK, place

__all__ = ["BLOCK_UM", "SLOTS", "block"]

BLOCK_UM = 128.0
SLOTS = 1024
"""Cells that one block may hold, which makes ids (block, slot) unique."""
_BIN = 16.0
_STEPS = 8
_NEAR_UM = 40.0


@kernel
def _pick(shares: NDArray[np.float64], u: float) -> int:
    total = 0.0
    for i in range(shares.size):
        total += shares[i]
        if u < total:
            return i
    return shares.size - 1


@kernel
def _kind(rates: NDArray[np.float64], zone: int, key: np.uint64) -> int:
    """Draw RBC, WBC, platelet or debris; white cells gather at the feathered edge."""
    white = rates[3] * (2.0 if zone == FEATHER else 1.0)
    u = unit(key, 20) * (1.0 + white + rates[4] + rates[5])
    if u < white:
        return WBC
    if u < white + rates[4]:
        return PLATELET
    return DEBRIS if u < white + rates[4] + rates[5] else RBC


@kernel
def _add(cells: NDArray[np.void], n: int, x: float, y: float, kind: int, zone: int, key: np.uint64,
         rates: NDArray[np.float64], shares: NDArray[np.float64]) -> int:  # fmt: skip
    """Write cell n at (x, y) and return n + 1."""
    if kind == WBC:
        cell_type = 2 + _pick(shares, unit(key, 21))
    elif kind == PLATELET:
        cell_type = 10
    elif kind == DEBRIS:
        cell_type = 12
    else:
        cell_type = 1 if unit(key, 21) < rates[6] else 0
    dress(cells, n, kind, cell_type, key)
    c = cells[n]
    c.x, c.y, c.zone, c.group = x, y, zone, n
    c.close = 1 if zone == THICK or unit(key, 22) < rates[1] else 0
    if kind == RBC and zone == FEATHER:  # spread flat: larger, without pallor
        c.r, c.pallor = c.r * 1.05, c.pallor * 0.35
    if kind == RBC and zone == THICK:
        c.r, c.pallor = c.r * 0.95, c.pallor * 0.6
    focus = smooth(hash2(np.uint64(rates[8]), 5, 5), x / 900.0, y / 900.0)
    c.soft = rates[7] * (0.75 + 1.1 * focus * focus)
    return n + 1


@kernel
def _trail(cells: NDArray[np.void], n: int, head: int, rates: NDArray[np.float64], shares: NDArray[np.float64]) -> int:
    """Let red cells follow a red head as a roll of coins, or platelets gather about a platelet."""
    c = cells[head]
    u = unit(c.key, 23)
    if c.kind == RBC and u < rates[2]:
        more, step = 1 + int(unit(c.key, 24) * 4.0), (0.8 + 0.7 * unit(c.key, 26)) * c.r
    elif c.kind == PLATELET and u < 0.04:
        more, step = 2 + int(unit(c.key, 24) * 10.0), 2.1
    else:
        return n
    x, y, angle = c.x, c.y, 6.2832 * unit(c.key, 25)
    for k in range(more):
        if n >= SLOTS:
            break
        key = hash2(c.key, k, 77)
        angle += (0.25 if c.kind == RBC else 1.4) * normal(key, 27)
        x, y = x + step * np.cos(angle), y + step * np.sin(angle)
        if abs(x - c.x) + abs(y - c.y) > 14.0:
            break
        n = _add(cells, n, x, y, c.kind, c.zone, key, rates, shares)
        cells[n - 1].group = cells[head].group
        if c.kind == PLATELET:
            cells[n - 1].type, cells[head].type = 11, 11
    return n


@kernel
def _scatter(seed: np.uint64, row: int, col: int, size: NDArray[np.float64], whole: bool,
             rates: NDArray[np.float64], shares: NDArray[np.float64], cells: NDArray[np.void]) -> int:  # fmt: skip
    """Fill cells with the raw cells of one block and return how many there are."""
    block_key = hash2(seed, row, col)
    zone_key = hash2(seed, 1, 2)
    peak = rates[0] * 1e-6 * (DENSEST if whole else 1.0)
    peak *= (1.0 + rates[3] + rates[4] + rates[5]) / (1.0 + 2.0 * rates[2])
    across = max(1, int(np.ceil(BLOCK_UM * np.sqrt(peak / 0.93))))
    pitch = BLOCK_UM / across
    chance = peak * pitch * pitch
    n = 0
    for j in range(across):
        for i in range(across):
            key = hash2(block_key, i, j)
            x = col * BLOCK_UM + (i + unit(key, 16)) * pitch
            y = row * BLOCK_UM + (j + unit(key, 17)) * pitch
            zone, density = place(x, y, size[0], size[1], whole, zone_key)
            keep = chance * density / (DENSEST if whole else 1.0)
            if zone == GLASS:
                keep = 0.002
            if n >= SLOTS or unit(key, 18) >= keep:
                continue
            kind = DEBRIS if zone == GLASS else _kind(rates, zone, key)
            n = _add(cells, n, x, y, kind, zone, key, rates, shares)
            n = _trail(cells, n, n - 1, rates, shares)
    return n


@kernel
def _wanted(a: Cell, b: Cell) -> float:
    """Return how far apart two centres should be."""
    if DEBRIS in (a.kind, b.kind):
        return 0.0
    touch = a.r + b.r
    if WBC in (a.kind, b.kind):
        return touch * 1.02
    if a.kind != b.kind:
        return touch * 1.08
    if THICK in (a.zone, b.zone):
        return touch * 0.4
    return touch * (0.6 if a.close or b.close else 1.06)


@kernel
def _weight(kind: int, other: int) -> float:
    """Return which share of a push a cell takes: the lighter of two yields."""
    if kind == other:
        return 0.5
    if kind == WBC or other == PLATELET:
        return 0.05
    return 0.95


@kernel
def _bins(cells: NDArray[np.void], x: NDArray[np.float64], y: NDArray[np.float64], x0: float, y0: float,
          across: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:  # fmt: skip
    """Return cells sorted by bin: (start of each bin, order)."""
    n = cells.size
    which = np.empty(n, np.int64)
    start = np.zeros(across * across + 1, np.int64)
    for i in range(n):
        bx = min(across - 1, max(0, int((x[i] - x0) / _BIN)))
        by = min(across - 1, max(0, int((y[i] - y0) / _BIN)))
        which[i] = by * across + bx
        start[which[i] + 1] += 1
    start[:] = np.cumsum(start)
    fill = start.copy()
    order = np.empty(n, np.int64)
    for i in range(n):
        order[fill[which[i]]] = i
        fill[which[i]] += 1
    return start, order


@kernel
def _relax(cells: NDArray[np.void], x0: float, y0: float) -> None:
    """Push cells apart towards the distances they want; a roll of cells moves as one."""
    n, across = cells.size, int(3.0 * BLOCK_UM / _BIN) + 2
    hx, hy = cells["x"].copy(), cells["y"].copy()
    x, y = hx.copy(), hy.copy()
    for _ in range(_STEPS):
        start, order = _bins(cells, x, y, x0 - _BIN, y0 - _BIN, across)
        px, py = np.zeros(n), np.zeros(n)
        for by in range(across):
            for bx in range(across):
                for p in range(start[by * across + bx], start[by * across + bx + 1]):
                    i = order[p]
                    for ny in range(max(0, by - 1), min(across, by + 2)):
                        first = start[ny * across + max(0, bx - 1)]
                        for q in range(first, start[ny * across + min(across - 1, bx + 1) + 1]):
                            j = order[q]
                            if cells[i].group == cells[j].group:
                                continue
                            dx, dy = x[i] - x[j], y[i] - y[j]
                            want = _wanted(cells[i], cells[j])
                            d2 = dx * dx + dy * dy
                            if d2 < want * want:
                                d = np.sqrt(d2) + 1e-9
                                push = 0.8 * (want - d) / d * _weight(cells[i].kind, cells[j].kind)
                                px[cells[i].group] += dx * push
                                py[cells[i].group] += dy * push
        for i in range(n):
            g = cells[i].group
            sx, sy = max(-1.5, min(1.5, px[g])), max(-1.5, min(1.5, py[g]))
            x[i] = max(hx[i] - 4.2, min(hx[i] + 4.2, x[i] + sx))
            y[i] = max(hy[i] - 4.2, min(hy[i] + 4.2, y[i] + sy))
    for i in range(n):
        cells[i].x, cells[i].y = x[i], y[i]


@kernel
def _around(seed: np.uint64, row: int, col: int, size: NDArray[np.float64], whole: bool,
            rates: NDArray[np.float64], shares: NDArray[np.float64], cells: NDArray[np.void],
            one: NDArray[np.void]) -> tuple[int, int, int]:  # fmt: skip
    """Gather the raw cells of a block and those near it; return (how many, first and end of the block's own)."""
    x0, x1 = col * BLOCK_UM - _NEAR_UM, (col + 1) * BLOCK_UM + _NEAR_UM
    y0, y1 = row * BLOCK_UM - _NEAR_UM, (row + 1) * BLOCK_UM + _NEAR_UM
    moved = np.empty(SLOTS, np.int64)
    n = first = end = 0
    for j in range(row - 1, row + 2):
        for i in range(col - 1, col + 2):
            own = j == row and i == col
            k = _scatter(seed, j, i, size, whole, rates, shares, one)
            first = n if own else first
            for m in range(k):
                head = one[one[m].group]  # a roll is taken or left as a whole
                if own or (x0 <= head.x < x1 and y0 <= head.y < y1):
                    moved[m] = n
                    cells[n] = one[m]
                    cells[n].group = moved[one[m].group]
                    n += 1
            end = n if own else end
    return n, first, end


def block(seed: np.uint64, row: int, col: int, size: NDArray[np.float64], whole: bool,
          rates: NDArray[np.float64], shares: NDArray[np.float64]) -> NDArray[np.void]:  # fmt: skip
    """Return the cells of one block, relaxed, in the order they were scattered; ids are left 0."""
    cells, one = np.zeros(9 * SLOTS, CELL), np.zeros(SLOTS, CELL)
    n, first, end = _around(seed, row, col, size, whole, rates, shares, cells, one)
    _relax(cells[:n], (col - 1) * BLOCK_UM, (row - 1) * BLOCK_UM)
    return cells[first:end].copy()
