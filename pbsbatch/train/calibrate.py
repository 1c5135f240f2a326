"""Make scores mean something: of cells with score 0.7, seven in ten are right."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["platt"]

ROUNDS = 100
LEAST_SLOPE = 1e-3
EXPECTED = np.array([1.0, 0.0])
SPREAD = np.array([0.5, 2.0])
"""Where the line lies before anything is seen: a handful of wrong cells must not turn it over."""


def platt(logits: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[float, float]:
    """Return (a, b) so that sigmoid(a * logit + b) is the chance that a cell is right (Platt 1999).

    Law: the likeliest line, its targets drawn in from 0 and 1 by one case each, given that lines are near EXPECTED; a
    better logit stays a better score.
    """
    if logits.ndim != 1 or logits.shape != right.shape or not np.isfinite(logits).all():
        raise ValueError(f"calibration needs finite logits and as many marks, not {logits.shape} and {right.shape}")
    hits = int(right.sum())
    if hits == 0 or hits == len(right):
        raise ValueError("calibration needs right and wrong cells")
    wanted = np.where(right, (hits + 1) / (hits + 2), 1 / (len(right) - hits + 2))
    x = np.stack([logits, np.ones_like(logits)], 1)
    line = EXPECTED
    loss = _loss(x, wanted, line)
    for _ in range(ROUNDS):
        chance = 1 / (1 + np.exp(-(x @ line)))
        slope = x.T @ (chance - wanted) + (line - EXPECTED) / SPREAD**2
        bend = (x * (chance * (1 - chance))[:, None]).T @ x + np.diag(1 / SPREAD**2)
        step = np.linalg.solve(bend, slope)
        share = 1.0
        while _loss(x, wanted, line - share * step) > loss and share > 1e-6:
            share /= 2
        line = line - share * step
        before, loss = loss, _loss(x, wanted, line)
        if before - loss < 1e-9 * len(x):
            break
    return max(LEAST_SLOPE, float(line[0])), float(line[1])


def _loss(x: NDArray[np.float64], wanted: NDArray[np.float64], line: NDArray[np.float64]) -> float:
    z = x @ line
    return float((np.logaddexp(0, z) - wanted * z).sum() + (((line - EXPECTED) / SPREAD) ** 2).sum() / 2)
