"""Draw an oracle slide and hold a run's store against it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from pbsbatch import store
from pbsbatch.testing.oracle import colour


def draw_cells(width: int, height: int, cells: int, seed: int, radii: tuple[int, int] = (4, 48)) -> NDArray[np.int32]:
    """Draw discs over each other; a cell cut in two by another keeps its largest part, so every cell is one piece."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((height, width), np.int32)
    for number in range(1, cells + 1):
        centre = (int(rng.integers(0, width)), int(rng.integers(0, height)))
        cv2.ellipse(labels, centre, tuple(int(v) for v in rng.integers(*radii, 2)), 0, 0, 360, number, -1)
    for number in range(1, cells + 1):
        _keep_largest_part(labels, number)
    return labels


def _keep_largest_part(labels: NDArray[np.int32], number: int) -> None:
    rows, cols = np.nonzero(labels == number)
    if len(rows) == 0:
        return
    box = labels[rows.min() : rows.max() + 1, cols.min() : cols.max() + 1]
    _, parts, stats, _ = cv2.connectedComponentsWithStats((box == number).astype(np.uint8), connectivity=8)
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    box[(box == number) & (parts != largest)] = 0


def write_oracle_slide(path: Path, labels: NDArray[np.int32], mpp: float = 0.25) -> None:
    """Write a lossless tiled TIFF whose colours are the labels."""
    tifffile.imwrite(
        path, colour(labels), photometric="rgb", tile=(256, 256), compression="zlib",
        resolution=(1e4 / mpp, 1e4 / mpp), resolutionunit="CENTIMETER",
    )  # fmt: skip


def read_labels(path: Path) -> NDArray[np.int32]:
    """Return the level-0 labels of a store."""
    level = store.open(path).labels(0)
    return level.read(0, 0, level.width, level.height)
