"""Drawn white cells with their exact masks, for tests of weak masks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pbsbatch.synth import CLASSES, Scene

SIDE, FIELD, MPP = 200, (1200, 1000), 0.15


def cells(*seeds: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield picture and exact mask of every white cell far enough from its field's border."""
    for seed in seeds:
        scene = Scene(*FIELD, mpp=MPP, seed=seed, profile="field", white_per_1000=60)
        found = scene.cells(0, 0, *FIELD)
        for i in np.flatnonzero(found.classes == CLASSES.index("WBC")):
            x, y = ((found.boxes[i, :2] + found.boxes[i, 2:]) // 2 - SIDE // 2).tolist()
            if min(x, y) >= 0 and x + SIDE <= FIELD[0] and y + SIDE <= FIELD[1]:
                yield scene.render(x, y, SIDE, SIDE), scene.labels(x, y, SIDE, SIDE) == found.ids[i]
