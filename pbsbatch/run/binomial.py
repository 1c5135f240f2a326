"""Exact limits of a share that was counted: Clopper-Pearson, without a statistics library."""

from __future__ import annotations

import math
from collections.abc import Callable

__all__ = ["clopper_pearson"]

STEPS = 60
"""Halvings of 0..1: more than a float holds."""


def clopper_pearson(k: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Return the limits between which the true share lies, k having been counted among n.

    Law: the lower limit is the share at which k or more come up with half of 1 - level, the upper one that at which k
    or fewer do (Rümke 1985 gives the same table for differentials).
    """
    if not 0 <= k <= n or n < 1:
        raise ValueError(f"{k} among {n} is no count")
    rest = (1 - level) / 2
    low = 0.0 if k == 0 else _solve(lambda p: _at_least(k, n, p) - rest)
    high = 1.0 if k == n else _solve(lambda p: rest - _at_least(n - k, n, 1 - p))
    return low, high


def _at_least(k: int, n: int, p: float) -> float:
    """Return the chance that k or more of n come up, each with chance p."""
    if p <= 0 or p >= 1:
        return float(p >= 1 or k == 0)
    # from the largest term outwards until terms no longer count: n may be a million
    log_p, log_q = math.log(p), math.log1p(-p)
    ways = math.lgamma(n + 1) + n * log_q
    start = max(k, min(n, int((n + 1) * p)))
    first = math.exp(ways - math.lgamma(start + 1) - math.lgamma(n - start + 1) + start * (log_p - log_q))
    odds, total = p / (1 - p), first
    term = first
    for i in range(start, n):
        term *= odds * (n - i) / (i + 1)
        total += term
        if term < total * 1e-17:
            break
    term = first
    for i in range(start, k, -1):
        term *= i / (n - i + 1) / odds
        total += term
        if term < total * 1e-17:
            break
    return min(1.0, total)


def _solve(rising: Callable[[float], float]) -> float:
    """Return where a function that rises over 0..1 passes zero."""
    low, high = 0.0, 1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if rising(middle) > 0 else (middle, high)
    return (low + high) / 2
