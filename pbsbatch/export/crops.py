"""Cells as pictures in folders of their class or type: what a classifier learns from, and what a person looks through.

Law: a crop is square, the cell's box in its middle, at level 0; beyond the slide it is white.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pbsbatch.errors import UsageError
from pbsbatch.export.cells import ROWS
from pbsbatch.results import Run, RunSlide, originals
from pbsbatch.slides import open_slide
from pbsbatch.slides.base import Slide

__all__ = ["write_crops"]

MARGIN = 1.3
"""Side of a crop in the longer sides of the cell's box."""


def write_crops(
    run: Run, slides: Sequence[RunSlide], folder: Path, classes: Sequence[str], tick: Callable[[int], None]
) -> int:
    """Write FOLDER/<class or type>/<slide>-<cell>.png for every cell of these classes; return how many."""
    found = originals(run)
    missing = [s.name for s in slides if s.id not in found]
    if missing:
        raise UsageError(f"{len(missing)} slides are not where they were, first {missing[0]}", path=run.path)
    return sum(_of_slide(slide, found[slide.id], folder, classes, tick) for slide in slides)


def _of_slide(slide: RunSlide, path: Path, folder: Path, classes: Sequence[str], tick: Callable[[int], None]) -> int:
    store, written = slide.store, 0
    wanted = [i for i, name in enumerate(store.classes) if name in classes]
    opened = open_slide(path, id=slide.id, mpp=None)
    try:
        for first in range(0, store.info.cells, ROWS):
            rows = store.rows(first, min(first + ROWS, store.info.cells))
            for i in np.flatnonzero(np.isin(rows["class"], wanted)).tolist():
                sort = int(rows["type"][i])
                name = store.types[sort] if sort < len(store.types) else store.classes[int(rows["class"][i])]
                box = [float(rows[side][i]) for side in ("x0", "y0", "x1", "y1")]
                target = folder / name / f"{slide.id}-{int(rows['id'][i])}.png"
                target.parent.mkdir(parents=True, exist_ok=True)
                _, file = cv2.imencode(".png", _crop(opened, box)[..., ::-1])
                target.write_bytes(file.tobytes())
                written += 1
                tick(1)
    finally:
        opened.close()
    return written


def _crop(slide: Slide, box: Sequence[float]) -> NDArray[np.uint8]:
    x0, y0, x1, y1 = box
    side = max(8, round(MARGIN * max(x1 - x0, y1 - y0)))
    return slide.read_scaled(1.0, round((x0 + x1 - side) / 2), round((y0 + y1 - side) / 2), side, side)
