"""What kinds of nucleated cells and platelets there are, on two levels, and what a classifier's chances say of them.

```
neutrophil             segmented_neutrophil, band_neutrophil
eosinophil
basophil
lymphocyte
monocyte
immature_granulocyte   promyelocyte, myelocyte, metamyelocyte
erythroblast
platelet
```

Laws. A type is the sum of its kinds: what is told apart badly below (bands) is not lost above. A cell is named by
its type only where the classifier is sure of it and the cell is like those it was taught on; every other one is
"unsure", and one unlike all it was taught on is "abnormal_suspect" besides: no blast, lymphoblast or smudge cell was
among them, so that nothing is claimed of those but that they are different.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ABNORMAL",
    "CALLED",
    "ERYTHROBLAST",
    "IN_DIFFERENTIAL",
    "KINDS",
    "KINDS_OF",
    "SIBLINGS",
    "TYPES",
    "UNSURE",
    "Named",
    "chances_of",
    "kinds_of",
    "labels",
    "name_cells",
    "of_types",
]

KINDS_OF: dict[str, tuple[str, ...]] = {
    "neutrophil": ("segmented_neutrophil", "band_neutrophil"),
    "eosinophil": ("eosinophil",),
    "basophil": ("basophil",),
    "lymphocyte": ("lymphocyte",),
    "monocyte": ("monocyte",),
    "immature_granulocyte": ("promyelocyte", "myelocyte", "metamyelocyte"),
    "erythroblast": ("erythroblast",),
    "platelet": ("platelet",),
}
"""The kinds of each type; a type without finer kinds is its own."""
TYPES = tuple(KINDS_OF)
KINDS = tuple(kind for kinds in KINDS_OF.values() for kind in kinds)
"""What a classifier has one logit for, in this order."""
IN_DIFFERENTIAL = TYPES[:6]
"""Of which percentages are given; erythroblasts and platelets are counted elsewhere."""
ERYTHROBLAST = "erythroblast"
"""A nucleated red cell, which is no white cell."""
UNSURE, ABNORMAL = "unsure", "abnormal_suspect"
CALLED = (*TYPES, UNSURE, ABNORMAL)
"""What a cell may be listed as; a store's `type` is an index into it."""

_TYPE_OF_KIND = np.repeat(np.arange(len(TYPES)), [len(k) for k in KINDS_OF.values()])
SIBLINGS: NDArray[np.bool_] = _TYPE_OF_KIND[:, None] == _TYPE_OF_KIND[None]
"""Which kinds are of one type."""


@dataclass(frozen=True, slots=True)
class Named:
    """Cells as they are reported."""

    types: NDArray[np.int64]  # the likeliest type's index in TYPES, also of unsure cells
    kinds: NDArray[np.int64]  # the likeliest kind of that type, in KINDS
    chances: NDArray[np.float64]  # of the type
    unsure: NDArray[np.bool_]
    abnormal: NDArray[np.bool_]  # unlike what was taught; always unsure too


def kinds_of(label: str) -> tuple[int, ...]:
    """Return the indices in KINDS that a label may stand for: one of a kind, all of a type."""
    if label in KINDS_OF:
        return tuple(KINDS.index(kind) for kind in KINDS_OF[label])
    if label in KINDS:
        return (KINDS.index(label),)
    raise ValueError(f"no type or kind of cell is called {label!r}; there are {', '.join((*TYPES, *KINDS))}")


def chances_of(logits: NDArray[np.floating[Any]], temperature: float = 1.0) -> NDArray[np.float64]:
    """Return the chances of kinds (N, 11) from their logits."""
    z = logits.astype(np.float64) / temperature
    e = np.exp(z - z.max(1, keepdims=True))
    return np.asarray(e / e.sum(1, keepdims=True), np.float64)


def of_types(chances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the chances of types (N, 8) from those of kinds (N, 11)."""
    if chances.ndim != 2 or chances.shape[1] != len(KINDS) or not np.isfinite(chances).all():
        raise ValueError(f"chances must be finite, (N, {len(KINDS)}), not {chances.shape}")
    first = np.flatnonzero(np.diff(_TYPE_OF_KIND, prepend=-1))
    return np.add.reduceat(chances, first, axis=1)


def name_cells(
    chances: NDArray[np.float64], strangeness: NDArray[np.float64], *, sure_from: float, strange_from: float
) -> Named:
    """Return what cells are, from the chances of their kinds (N, 11) and how unlike the taught cells each one is."""
    types = of_types(chances)
    if strangeness.shape != (len(types),) or not np.isfinite(strangeness).all():
        raise ValueError(f"strangeness must be one finite number for each cell, not {strangeness.shape}")
    best = types.argmax(1)
    within = np.where(_TYPE_OF_KIND[None] == best[:, None], chances, -1.0)
    chance = types[np.arange(len(types)), best]
    abnormal = strangeness > strange_from
    return Named(best, within.argmax(1), chance, abnormal | (chance < sure_from), abnormal)


def labels(named: Named) -> Sequence[str]:
    """Return the word that each cell is listed by."""
    words = np.where(named.unsure, UNSURE, np.array(TYPES)[named.types])
    return [str(word) for word in np.where(named.abnormal, ABNORMAL, words)]
