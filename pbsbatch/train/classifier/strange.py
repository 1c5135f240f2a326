"""Tell how unlike all that it was taught on a cell is, by what the network saw in it.

Law: the Mahalanobis distance (Lee 2018) from the nearest type's mean, under one covariance of all types; no cell out
of the ordinary is needed to set it up. It knows nothing of blasts: it only says "different".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pbsbatch.models.taxonomy import TYPES

__all__ = ["Strangeness", "learn"]

F64 = NDArray[np.float64]

SHRINK = 1e-2
"""Share of the mean variance that is put on the covariance's diagonal: features that never vary are no evidence."""
TINY = 1e-12


@dataclass(frozen=True, slots=True)
class Strangeness:
    """The taught cells, as far as they matter here."""

    means: F64  # (T, F) of types, whitened
    whiten: F64  # (F, F)

    def of(self, features: F64) -> F64:
        """Return the distance of each cell (N, F)."""
        at = features @ self.whiten
        squares = (at**2).sum(1)[:, None] - 2 * at @ self.means.T + (self.means**2).sum(1)
        return np.asarray(np.sqrt(np.maximum(squares.min(1), 0.0)), np.float64)


def learn(features: F64, types: NDArray[np.int64]) -> Strangeness:
    """Return what taught cells (N, F) say about what is ordinary."""
    if features.ndim != 2 or len(features) != len(types) or len(types) < 2 or not np.isfinite(features).all():
        raise ValueError(f"learning needs finite features (N, F) of at least two cells, not {features.shape}")
    present = [t for t in range(len(TYPES)) if (types == t).any()]
    means = np.stack([features[types == t].mean(0) for t in present])
    rest = features - means[np.searchsorted(present, types)]
    covariance = rest.T @ rest / len(rest)
    covariance += (SHRINK * covariance.trace() / len(covariance) + TINY) * np.eye(len(covariance))
    values, vectors = np.linalg.eigh(covariance)
    whiten = vectors / np.sqrt(values)
    return Strangeness(means @ whiten, whiten)
