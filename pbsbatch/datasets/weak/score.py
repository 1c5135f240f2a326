"""Weak masks beside exact ones.

Law: each piece is held against the true cell that it shares most pixels with; a picture in which nothing was found,
though there is a cell, scores 0.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pbsbatch.datasets.pictures import Picture
from pbsbatch.datasets.readers.labels import ENDINGS, numbers_of
from pbsbatch.datasets.readers.problems import RecordError

__all__ = ["overlap", "read_truth"]


def overlap(labels: NDArray[np.integer], truth: NDArray[np.integer]) -> float:
    """Return the mean intersection over union of the pieces; NaN where there is neither a piece nor a true cell."""
    pieces = [int(n) for n in np.unique(labels) if n]
    if not pieces:
        return 0.0 if truth.any() else float("nan")
    known, at = np.unique(truth, return_inverse=True)
    areas = np.bincount(at.ravel(), minlength=len(known))
    scores = []
    for piece in pieces:
        mine = labels == piece
        shared = np.bincount(at.reshape(truth.shape)[mine], minlength=len(known))
        shared[known == 0] = 0
        best = int(shared.argmax())
        scores.append(shared[best] / max(1, int(mine.sum()) + int(areas[best]) - int(shared[best])))
    return float(np.mean(scores))


def read_truth(folder: Path, picture: Picture, size: tuple[int, int]) -> NDArray[np.integer]:
    """Return the true label image of a picture: of its name, in the folder or in its class's."""
    for below in (folder / picture.kind, folder):
        for ending in (*ENDINGS, *(f".labels{e}" for e in ENDINGS)):
            path = below / f"{picture.path.stem}{ending}"
            if path.is_file():
                return numbers_of(path, size)
    raise RecordError(f"has no truth in {folder.name}", f"Put {picture.path.stem}.png there, or leave out --truth")
