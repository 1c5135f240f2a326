"""Cells as pictures in folders of their class or type: what a classifier learns from, and what a person looks through.

Laws. A crop is square, the cell's box in its middle, at level 0; beyond the slide it is white. Names of folders are
plain: what models and people call a cell leads nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pbsbatch.errors import UsageError
from pbsbatch.export.present import Present
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
    present, written = Present(slide), 0
    wanted = [i for i, name in enumerate(present.classes) if name in classes]
    opened = open_slide(path, id=slide.id, mpp=None)
    try:
        for rows in present.tables():
            for i in np.flatnonzero(np.isin(rows["class"], wanted)).tolist():
                sort = int(rows["type"][i])
                name = present.types[sort] if sort < len(present.types) else present.classes[int(rows["class"][i])]
                box = [float(rows[side][i]) for side in ("x0", "y0", "x1", "y1")]
                target = folder / _plain(name) / f"{slide.id}-{int(rows['id'][i])}.png"
                target.parent.mkdir(parents=True, exist_ok=True)
                _, file = cv2.imencode(".png", _crop(opened, box)[..., ::-1])
                target.write_bytes(file.tobytes())
                written += 1
                tick(1)
    finally:
        opened.close()
    return written


def _plain(name: str) -> str:
    """Return what the folder of a class or type is called."""
    return re.sub(r"[^\w.+ -]+", "_", name).strip(". ")[:100] or "_"


def _crop(slide: Slide, box: Sequence[float]) -> NDArray[np.uint8]:
    x0, y0, x1, y1 = box
    side = max(8, round(MARGIN * max(x1 - x0, y1 - y0)))
    return slide.read_scaled(1.0, round((x0 + x1 - side) / 2), round((y0 + y1 - side) / 2), side, side)
