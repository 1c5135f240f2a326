"""White cells: the nucleus as circles joined by threads, chromatin, cytoplasm and granules by type.

Everything is a function of the place within the cell (um from its centre) and the cell's key.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pbsbatch.synth.cells import Cell
from pbsbatch.synth.jit import kernel
from pbsbatch.synth.noise import hash2, normal, smooth, speckle, unit

__all__ = ["nucleus", "white_density"]

SEGMENTED, BAND, EOSINOPHIL, BASOPHIL, LYMPHOCYTE, MONOCYTE, IMMATURE, ERYTHROBLAST = 2, 3, 4, 5, 6, 7, 8, 9
_JOIN = 0.4


@kernel
def _chain(out: NDArray[np.float64], n: int, radius: float, step: float, bend: float, zigzag: float,
           thread: float, key: np.uint64) -> int:  # fmt: skip
    """Lay n circles along a bending walk about the origin; rows are x, y, radius, thread to the next."""
    x = y = mx = my = 0.0
    angle, turn = 6.2832 * unit(key, 40), 1.0 if unit(key, 41) < 0.5 else -1.0
    for k in range(n):
        out[k, 0], out[k, 1] = x, y
        out[k, 2], out[k, 3] = radius * (1.0 + 0.10 * normal(key, 42 + k)), thread
        mx, my = mx + x / n, my + y / n
        x, y = x + step * np.cos(angle), y + step * np.sin(angle)
        angle += turn * bend * (1.0 + 0.25 * normal(key, 52 + k))
        if unit(key, 62 + k) < zigzag:
            turn = -turn
    out[n - 1, 3] = 0.0
    for k in range(n):
        out[k, 0], out[k, 1] = out[k, 0] - mx, out[k, 1] - my
    return n


@kernel
def nucleus(c: Cell) -> NDArray[np.float64]:
    """Return the nucleus of a white cell as rows x, y, radius, thread (um)."""
    out = np.zeros((9, 4))
    r, key, t = c.r, c.key, c.type
    if t == SEGMENTED:
        n = 3 + int(unit(key, 30) * 2.4)
        _chain(out, n, 0.36 * r - 0.13 * (n - 3), 0.62 * r - 0.1 * (n - 3), 1.2, 0.35, 0.35, key)
    elif t == BAND:
        n = _chain(out, 8, 0.235 * r, 0.23 * r, 0.40, 0.0, 0.21 * r, key)
    elif t == EOSINOPHIL:
        n = _chain(out, 2 if unit(key, 30) < 0.8 else 3, 0.43 * r, 0.80 * r, 1.6, 0.0, 0.6, key)
    elif t == BASOPHIL:
        n = _chain(out, 3, 0.42 * r, 0.42 * r, 1.5, 0.3, 1.2, key)
    elif t == LYMPHOCYTE:
        n = _chain(out, 2, (0.80 - 0.09 * max(0.0, r - 5.0)) * r, 0.15 * r, 0.0, 0.0, 2.0, key)
    elif t == MONOCYTE:
        n = _chain(out, 5, 0.42 * r, 0.24 * r, 0.62, 0.0, 0.36 * r, key)
    elif t == IMMATURE:
        n = _chain(out, 3, 0.50 * r, 0.24 * r, 0.7, 0.0, 0.45 * r, key)
    else:
        n = _chain(out, 1, 0.60 * r, 0.0, 0.0, 0.0, 0.0, key)
    farthest = 1e-9
    for k in range(n):
        farthest = max(farthest, np.sqrt(out[k, 0] ** 2 + out[k, 1] ** 2) + out[k, 2])
    fit = min(1.0, 0.90 * r / farthest)
    off = max(0.0, 0.95 * r - fit * farthest) * (1.0 if t in (IMMATURE, LYMPHOCYTE) else 0.4) * unit(key, 31)
    angle = 6.2832 * unit(key, 32)
    for k in range(n):
        out[k, 0], out[k, 1] = fit * out[k, 0] + off * np.cos(angle), fit * out[k, 1] + off * np.sin(angle)
        out[k, 2], out[k, 3] = fit * out[k, 2], fit * out[k, 3]
    return out[:n].copy()


@kernel
def _union(a: float, b: float) -> float:
    """Return the smooth union of two signed distances."""
    h = max(_JOIN - abs(a - b), 0.0) / _JOIN
    return min(a, b) - 0.25 * _JOIN * h * h


@kernel
def _depth(lobes: NDArray[np.float64], x: float, y: float) -> float:
    """Return the signed distance from the nucleus, negative inside."""
    best = 1e9
    for k in range(lobes.shape[0]):
        ax, ay = x - lobes[k, 0], y - lobes[k, 1]
        best = _union(best, np.sqrt(ax * ax + ay * ay) - lobes[k, 2])
        if k + 1 < lobes.shape[0]:
            bx, by = lobes[k + 1, 0] - lobes[k, 0], lobes[k + 1, 1] - lobes[k, 1]
            s = (ax * bx + ay * by) / (bx * bx + by * by + 1e-9)
            s = max(0.0, min(1.0, s))
            ex, ey = ax - s * bx, ay - s * by
            best = _union(best, np.sqrt(ex * ex + ey * ey) - lobes[k, 3])
    return best


@kernel
def _step(t: float, width: float) -> float:
    """Fall smoothly from 1 to 0 as t passes 0."""
    s = max(0.0, min(1.0, 0.5 - 0.5 * t / width))
    return s * s * (3.0 - 2.0 * s)


@kernel
def _cytoplasm(t: int, key: np.uint64, x: float, y: float, away: float, blur: float, out: NDArray[np.float64]) -> None:
    """Set the amounts of cytoplasm and granules of type t at (x, y); blur dims what is finer than the focus."""
    fine = smooth(hash2(key, 1, 1), x * 2.3, y * 2.3) - 0.5
    coarse = smooth(hash2(key, 1, 2), x * 0.8, y * 0.8) - 0.5
    rim = _step(away + 0.5, 0.6)  # 1 inside, falling towards the membrane
    if t in (SEGMENTED, BAND):
        out[3] = 0.75 + 0.25 * coarse + 0.5 * fine * blur
        out[4] = 0.16 * blur * max(0.0, speckle(key, x * 2.6, y * 2.6, 0.6, 0.6))
    elif t == EOSINOPHIL:
        out[3] = 0.5
        grains = max(0.0, speckle(key, x * 1.75, y * 1.75, 0.7, 0.95))
        out[5] = 0.55 + blur * (0.5 * grains + 0.3 * fine) + 0.25 * coarse
    elif t == BASOPHIL:
        out[3], out[2] = 0.6, 0.35
        out[6] = 0.55 * max(0.0, speckle(key, x * 1.9, y * 1.9, 0.75, 0.7)) + 0.35 * max(0.0, 0.3 + coarse)
    elif t == LYMPHOCYTE:
        out[2] = 0.78 + 0.3 * coarse + 0.25 * (1.0 - rim)
    elif t == MONOCYTE:
        out[2], out[3] = 0.55 + 0.25 * coarse + 0.4 * fine * blur, 0.35
        hole = max(0.0, speckle(hash2(key, 4, 4), x * 0.45, y * 0.45, 0.28, 0.25))
        out[2] *= 1.0 - 0.7 * hole
        out[4] = 0.15 * blur * max(0.0, speckle(key, x * 2.2, y * 2.2, 0.5, 0.5))
    elif t == IMMATURE:
        out[2], out[3] = 0.55 + 0.3 * coarse + 0.3 * fine * blur, 0.3
        out[4] = 0.5 * blur * max(0.0, speckle(key, x * 2.1, y * 2.1, 0.55, 0.5))
    else:
        out[2], out[0] = 0.42 + 0.3 * coarse + 0.2 * (1.0 - rim), 0.55


@kernel
def white_density(c: Cell, x: float, y: float, away: float, soft: float, lobes: NDArray[np.float64],
                  out: NDArray[np.float64]) -> None:  # fmt: skip
    """Set out (materials) to what lies at (x, y) um from the centre; away is the distance to the membrane."""
    t, key = int(c.type), c.key
    blur = min(1.0, 0.3 / soft)
    out[:] = 0.0
    _cytoplasm(t, key, x, y, away, blur, out)
    ragged = smooth(hash2(key, 2, 1), x * 0.9, y * 0.9) - 0.5
    deep = _depth(lobes, x, y) + (0.5 if t in (MONOCYTE, SEGMENTED, BAND) else 0.3) * ragged
    inner = _step(deep, max(0.22, 0.8 * soft))
    if inner <= 0.0:
        return
    lump = smooth(hash2(key, 3, 1), x * 1.4, y * 1.4) - 0.5
    grain = smooth(hash2(key, 3, 2), x * 2.9, y * 2.9) - 0.5
    strength, rough = 0.95, 0.8
    if t == MONOCYTE:
        strength, rough = 0.78, 0.8
    elif t == BASOPHIL:
        strength, rough = 0.66, 0.5
    elif t == IMMATURE:
        strength, rough = 0.82, 0.8
    elif t == ERYTHROBLAST:
        strength, rough = 1.1, 0.7
    texture = rough * (0.7 * lump + 1.15 * blur * grain)
    dense = strength * (0.96 + texture + 0.25 * _step(abs(deep + 0.3), 0.4))
    keep = out[6]
    for m in range(out.size):
        out[m] *= 1.0 - 0.85 * inner
    out[1] = inner * dense
    if t == BASOPHIL:  # its granules lie over the nucleus too
        out[6] = keep
