"""Counter-based random numbers and smooth noise: a value is a function of its key alone.

Law: nothing here has state, so any pixel or cell can be made first, last or twice, on any thread.
"""

from __future__ import annotations

import math

import numpy as np

from pbsbatch.synth.jit import kernel

__all__ = ["hash2", "mix", "normal", "smooth", "speckle", "unit"]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_ROW = np.uint64(0xD1B54A32D192ED03)
_M1 = np.uint64(0xBF58476D1CE4E5B9)
_M2 = np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31 = np.uint64(27), np.uint64(30), np.uint64(31)
_S11, _S16, _S32, _S48 = np.uint64(11), np.uint64(16), np.uint64(32), np.uint64(48)
_LOW = np.uint64(0xFFFF)


@kernel
def mix(z: np.uint64) -> np.uint64:
    """Scramble 64 bits (the splitmix64 finaliser)."""
    z = (z ^ (z >> _S30)) * _M1
    z = (z ^ (z >> _S27)) * _M2
    return z ^ (z >> _S31)


@kernel
def hash2(key: np.uint64, a: int | np.int64, b: int | np.int64) -> np.uint64:
    """Return the key of item (a, b) under key; a and b may be negative."""
    return mix(mix(key + np.uint64(a) * _GOLDEN) + np.uint64(b) * _ROW + _GOLDEN)


@kernel
def unit(key: np.uint64, i: int) -> float:
    """Return draw number i under key, uniform in [0, 1)."""
    return np.float64(mix(key + np.uint64(i + 1) * _GOLDEN) >> _S11) * (1.0 / 9007199254740992.0)


@kernel
def normal(key: np.uint64, i: int) -> float:
    """Return draw number i under key: mean 0, sd 1, bell-shaped and bounded by 3.47."""
    z = mix(key + np.uint64(i + 1) * _ROW)
    total = (z & _LOW) + ((z >> _S16) & _LOW) + ((z >> _S32) & _LOW) + (z >> _S48)
    return (np.float64(total) * (1.0 / 65536.0) - 2.0) * 1.7320508075688772


@kernel
def _lattice(key: np.uint64, a: np.int64, b: np.int64) -> float:
    return np.float64(hash2(key, a, b) >> _S11) * (1.0 / 9007199254740992.0)


@kernel
def smooth(key: np.uint64, x: float, y: float) -> float:
    """Return value noise at (x, y), in [0, 1], with features one unit wide."""
    fx, fy = math.floor(x), math.floor(y)
    a, b = np.int64(fx), np.int64(fy)
    u, v = x - fx, y - fy
    u, v = u * u * (3.0 - 2.0 * u), v * v * (3.0 - 2.0 * v)
    top = _lattice(key, a, b) * (1.0 - u) + _lattice(key, a + 1, b) * u
    low = _lattice(key, a, b + 1) * (1.0 - u) + _lattice(key, a + 1, b + 1) * u
    return top * (1.0 - v) + low * v


@kernel
def speckle(key: np.uint64, x: float, y: float, size: float, share: float) -> float:
    """Return how deep (x, y) lies in a round grain, 0..1; a share of unit cells holds one grain of that radius."""
    a, b = np.int64(math.floor(x)), np.int64(math.floor(y))
    best = 0.0
    for j in range(b - 1, b + 2):
        for i in range(a - 1, a + 2):
            k = hash2(key, i, j)
            if unit(k, 0) >= share:
                continue
            dx, dy = x - i - unit(k, 1), y - j - unit(k, 2)
            reach = size * (0.65 + 0.7 * unit(k, 3))
            depth = 1.0 - (dx * dx + dy * dy) / (reach * reach)
            best = max(best, depth)
    return best
