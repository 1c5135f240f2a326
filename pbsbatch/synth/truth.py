"""Truth as one COCO file, written cell by cell.

Law: boxes, areas and segmentations are those of the whole cell, also where another cell covers it, cut only
by the slide's edge; label images show the uppermost cell. Labels are dense, 1..N per slide in the order of
(y0, x0); annotation ids are dense over the file. Memory does not grow with the number of cells but for four
bytes each, which turn ids into labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbsbatch.synth.cells import CLASSES, DEBRIS, TYPES
from pbsbatch.synth.coco import CocoWriter
from pbsbatch.synth.scene import Scene, SceneCells
from pbsbatch.synth.zones import ZONES

__all__ = ["TruthWriter", "ordered", "scene_from"]

_BAND_PX = 1024
_KIND_OF_TYPE = (0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, DEBRIS)


def ordered(scene: Scene) -> Iterator[SceneCells]:
    """Yield a scene's cells in the order of (y0, x0, id), a band at a time."""
    for y in range(0, scene.height, _BAND_PX):
        cells = scene.cells(0, y, scene.width, min(_BAND_PX, scene.height - y))
        top = cells.boxes[:, 1]
        cells = cells.take((top >= y) & (top < y + _BAND_PX))
        yield cells.take(np.lexsort((cells.ids, cells.boxes[:, 0], cells.boxes[:, 1])))


def scene_from(image: dict[str, Any]) -> Scene:
    """Return the scene that an entry of `images` was drawn from."""
    fields = dict(image["scene"])
    fields["differential"] = tuple(fields["differential"])
    return Scene(**fields)


def _categories() -> list[dict[str, Any]]:
    return [
        {
            "id": i + 1,
            "name": name,
            "supercategory": "cell",
            "types": [t for t, kind in zip(TYPES, _KIND_OF_TYPE, strict=True) if kind == i],
        }
        for i, name in enumerate(CLASSES)
    ]


class TruthWriter(CocoWriter):
    """A truth file being written, to be used as a context. It appears under its name when it is complete."""

    def __init__(self, path: Path, *, outlines: bool = True) -> None:
        super().__init__(path, "drawn by pbsbatch data synth; boxes and outlines are of whole cells", _categories())
        self._outlines = outlines

    def add(self, scene: Scene, file_name: str, advance: Callable[[int, int], None] | None = None) -> NDArray[np.int32]:
        """Write one slide's cells; return the scene's ids in the order of their labels, for an IdMap."""
        image_id = len(self.images) + 1
        known: list[NDArray[np.int32]] = []
        label = 0
        bands = -(-scene.height // _BAND_PX)
        for done, cells in enumerate(ordered(scene), 1):
            for i in range(len(cells)):
                label += 1
                self.annotate(self._annotation(cells, i, image_id, label))
            known.append(cells.ids)
            if advance:
                advance(done, bands)
        self.images.append(
            {
                "id": image_id,
                "file_name": file_name,
                "width": scene.width,
                "height": scene.height,
                "mpp": scene.mpp,
                "monolayer_mm2": round(scene.monolayer_mm2(), 6),
                "n_cells": label,
                "scene": asdict(scene),
            }
        )
        return np.concatenate(known)

    def _annotation(self, cells: SceneCells, i: int, image_id: int, label: int) -> dict[str, Any]:
        x0, y0, x1, y1 = cells.boxes[i].tolist()
        return {
            "image_id": image_id, "category_id": int(cells.classes[i]) + 1,
            "bbox": [x0, y0, x1 - x0, y1 - y0], "area": int(cells.areas[i]), "iscrowd": 0,
            "segmentation": cells.polygons(i) if self._outlines else [],
            "type": TYPES[cells.types[i]], "zone": ZONES[cells.zones[i]], "label": label,
            "diameter_um": round(float(cells.diameter_um[i]), 3),
        }  # fmt: skip
