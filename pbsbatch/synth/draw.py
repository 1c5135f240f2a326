"""Draw cells as optical density and develop density to pixels.

Law: a pixel sums the densities of its cells in the order given, and everything is computed from absolute
slide coordinates, so a pixel's value does not depend on the region it is drawn in.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pbsbatch.synth.cells import DEBRIS, RBC, WBC, Cell, edge, reach
from pbsbatch.synth.jit import kernel
from pbsbatch.synth.noise import hash2, mix, smooth, speckle
from pbsbatch.synth.outline import _span
from pbsbatch.synth.white import nucleus, white_density

__all__ = ["EXP", "GRID", "develop", "draw"]

GRID = 64
"""Illumination is known on every GRID-th level-0 pixel and linear in between."""
_OVERLAP = 0.42
_EXP_STEP, _EXP_LOW = 1024.0, 0.25
EXP = np.exp(_EXP_LOW - np.arange(5120, dtype=np.float64) / _EXP_STEP).astype(np.float32)
"""exp(-density) in steps finer than a grey level, from a slightly negative density on."""


@kernel
def _ramp(t: float, width: float) -> float:
    """Fall smoothly from 1 to 0 as t passes 0, over -width..width."""
    if t <= -width:
        return 1.0
    if t >= width:
        return 0.0
    s = 0.5 - 0.5 * t / width
    return s * s * (3.0 - 2.0 * s)


@kernel
def _stack(under: float, over: float) -> np.float32:
    """Return the density of one red cell on another: they flatten where they overlap, so less than the sum."""
    if over <= 0.0 or under <= 0.0:
        return np.float32(under + over)
    return np.float32(max(under, over) + _OVERLAP * min(under, over))


@kernel
def _red(c: Cell, mpp: float, x: int, y: int, od: NDArray[np.float32], density: NDArray[np.float64]) -> None:
    """Add a red cell: a plateau with a smooth pallor, a slightly darker rim and a faint bright halo."""
    h, w = od.shape[:2]
    soft = max(c.soft, 0.6 * mpp)
    half = reach(c) + 2.2 * soft
    d0 = c.tone * (density[0, 0] * (1.0 - 0.15 * c.tint) + 0.22 * c.tint * density[2, 0])
    d1 = c.tone * (density[0, 1] * (1.0 - 0.15 * c.tint) + 0.22 * c.tint * density[2, 1])
    d2 = c.tone * (density[0, 2] * (1.0 - 0.15 * c.tint) + 0.10 * c.tint * density[2, 2])
    hollow = 1.0 / (c.hollow * c.hollow * c.r * c.r)
    depth = c.pallor * (1.0 - 0.6 * c.tint)
    lean, slant = max(-0.4, min(0.4, 4.0 * c.a2)), max(-0.4, min(0.4, -4.0 * c.b2))
    ya, yb = _span(c.y, half, mpp, y, y + h)
    for yy in range(ya, yb):
        dy = (yy + 0.5) * mpp - c.y
        rest = half * half - dy * dy
        if rest <= 0.0:
            continue
        xa, xb = _span(c.x, np.sqrt(rest), mpp, x, x + w)
        for xx in range(xa, xb):
            dx = (xx + 0.5) * mpp - c.x
            rho = np.sqrt(dx * dx + dy * dy) + 1e-9
            away = rho - edge(c, dx, dy, rho)
            if away >= 2.2 * soft:
                continue
            body = _ramp(away, soft)
            rim = 0.80 + 0.20 * rho / c.r + 0.08 * _ramp(abs(away + 1.1 * soft), soft)
            qx, qy = dx - c.px, dy - c.py
            q = (qx * qx * (1.0 - lean) + qy * qy * (1.0 + lean) + 2.0 * slant * qx * qy) * hollow
            dip = 0.0
            if q < 1.0:
                dip = min(1.0, (1.0 - q) * (1.0 + 0.9 * c.flat * c.flat))
                dip = dip * dip * (3.0 - 2.0 * dip)
            value = body * rim * (1.0 - depth * dip) - 0.07 * _ramp(abs(away - 1.2 * soft), soft)
            pixel = od[yy - y, xx - x]
            pixel[0] = _stack(pixel[0], value * d0)
            pixel[1] = _stack(pixel[1], value * d1)
            pixel[2] = _stack(pixel[2], value * d2)


@kernel
def _small(c: Cell, mpp: float, x: int, y: int, od: NDArray[np.float32], density: NDArray[np.float64]) -> None:
    """Add a platelet (purple grains in a pale body) or debris (a dark speck of dust or stain)."""
    h, w = od.shape[:2]
    soft = max(0.9 * c.soft, 0.6 * mpp)
    half = reach(c) + 1.2 * soft
    ya, yb = _span(c.y, half, mpp, y, y + h)
    xa, xb = _span(c.x, half, mpp, x, x + w)
    for yy in range(ya, yb):
        dy = (yy + 0.5) * mpp - c.y
        for xx in range(xa, xb):
            dx = (xx + 0.5) * mpp - c.x
            rho = np.sqrt(dx * dx + dy * dy) + 1e-9
            away = rho - edge(c, dx, dy, rho)
            body = _ramp(away, soft)
            if body <= 0.0:
                continue
            if c.kind == DEBRIS:
                for k in range(3):
                    od[yy - y, xx - x, k] += np.float32(0.8 * body * c.tone * density[6, k])
                continue
            grain = max(0.0, speckle(c.key, dx * 2.2 + 50.0, dy * 2.2 + 50.0, 0.8, 0.75))
            core = max(0.0, 1.0 - rho / c.r)
            a, b = body * (0.45 + 0.4 * core), body * grain * (0.35 + 0.5 * core)
            for k in range(3):
                od[yy - y, xx - x, k] += np.float32(c.tone * (a * density[7, k] + b * density[4, k]))


@kernel
def _white(c: Cell, mpp: float, x: int, y: int, od: NDArray[np.float32], density: NDArray[np.float64]) -> None:
    """Add a white cell."""
    h, w = od.shape[:2]
    soft = max(c.soft, 0.6 * mpp)
    half = reach(c) + 1.2 * soft
    lobes = nucleus(c)
    amount = np.zeros(density.shape[0])
    ya, yb = _span(c.y, half, mpp, y, y + h)
    xa, xb = _span(c.x, half, mpp, x, x + w)
    for yy in range(ya, yb):
        dy = (yy + 0.5) * mpp - c.y
        for xx in range(xa, xb):
            dx = (xx + 0.5) * mpp - c.x
            rho = np.sqrt(dx * dx + dy * dy) + 1e-9
            away = rho - edge(c, dx, dy, rho)
            body = _ramp(away, soft)
            if body <= 0.0:
                continue
            white_density(c, dx, dy, away, soft, lobes, amount)
            for k in range(3):
                total = 0.0
                for m in range(density.shape[0]):
                    total += amount[m] * density[m, k]
                od[yy - y, xx - x, k] += np.float32(body * c.tone * total)


@kernel
def draw(cells: NDArray[np.void], mpp: float, x: int, y: int, od: NDArray[np.float32],
         density: NDArray[np.float64]) -> None:  # fmt: skip
    """Add the densities of the cells to the region at (x, y) level-0 px."""
    for i in range(cells.size):
        kind = cells[i].kind
        if kind == RBC:
            _red(cells[i], mpp, x, y, od, density)
        elif kind == WBC:
            _white(cells[i], mpp, x, y, od, density)
        else:
            _small(cells[i], mpp, x, y, od, density)


@kernel
def light(key: np.uint64, gx: int, gy: int, nx: int, ny: int, centre: NDArray[np.float64], size: float,
          background: NDArray[np.float64]) -> NDArray[np.float32]:  # fmt: skip
    """Return the background on the grid points (gx.., gy..): a falling off from the centre and a slow mottle."""
    out = np.empty((ny, nx, 3), np.float32)
    for j in range(ny):
        for i in range(nx):
            px, py = np.float64((gx + i) * GRID), np.float64((gy + j) * GRID)
            ux, uy = (px - centre[0]) / size, (py - centre[1]) / size
            shade = 1.0 - centre[2] * min(1.0, ux * ux + uy * uy)
            shade += 0.03 * (smooth(key, px / 2300.0, py / 2300.0) - 0.5)
            for k in range(3):
                tint = 0.012 * (smooth(hash2(key, k, 3), px / 1700.0, py / 1700.0) - 0.5)
                out[j, i, k] = background[k] * (shade + tint)
    return out


@kernel
def develop(od: NDArray[np.float32], x: int, y: int, lamp: NDArray[np.float32], gx: int, gy: int,
            exp: NDArray[np.float32], noise: float, key: np.uint64, out: NDArray[np.uint8]) -> None:  # fmt: skip
    """Turn density into pixels: light * exp(-density) + sensor noise."""
    h, w = od.shape[:2]
    for j in range(h):
        row = mix(key + np.uint64(y + j) * np.uint64(0x9E3779B97F4A7C15))
        b = (y + j) // GRID - gy
        v = np.float32((y + j) % GRID) * np.float32(1.0 / GRID)
        for i in range(w):
            a = (x + i) // GRID - gx
            u = np.float32((x + i) % GRID) * np.float32(1.0 / GRID)
            z = mix(row + np.uint64(x + i) * np.uint64(0xD1B54A32D192ED03))
            for k in range(3):
                top = lamp[b, a, k] + (lamp[b, a + 1, k] - lamp[b, a, k]) * u
                low = lamp[b + 1, a, k] + (lamp[b + 1, a + 1, k] - lamp[b + 1, a, k]) * u
                level = int(od[j, i, k] * np.float32(1024.0) + np.float32(256.5))
                level = min(exp.size - 1, max(0, level))
                s = np.int64((z & np.uint64(1023)) + ((z >> np.uint64(10)) & np.uint64(1023))) - 1023
                z = z >> np.uint64(21)
                shot = np.float32(noise * s * (2.4495 / 1024.0)) + np.float32(0.5)
                value = (top + (low - top) * v) * exp[level] + shot
                out[j, i, k] = np.uint8(min(np.float32(255.0), max(np.float32(0.0), value)))
