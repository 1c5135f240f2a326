"""How well outlines fit: IoU and Dice of the masks of hits.

Law: masks are read image by image and only those of hits; a hit whose mask is not known on both sides does not count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pbsbatch.datasets.readers.problems import RecordError
from pbsbatch.datasets.readers.segmentation import mask_of
from pbsbatch.store import StoredSlide

if TYPE_CHECKING:
    from pbsbatch.evaluate.together import Compared
    from pbsbatch.evaluate.verdicts import Verdicts

__all__ = ["MaskFit", "Masks", "Window", "mask_fits", "masks_of_labels", "masks_of_segmentations", "overlap"]

WHOLE_PX = 1 << 25
"""Labels of so many pixels are read at once; of a larger slide, cell by cell."""


@dataclass(frozen=True, slots=True)
class Window:
    """A mask and the pixel of the image at which it begins."""

    x: int
    y: int
    mask: NDArray[np.bool_]


Masks = Callable[[NDArray[np.int64]], Iterator["Window | None"]]
"""Gives the masks of the chosen cells of an image, None where one is not known."""


@dataclass(frozen=True, slots=True)
class MaskFit:
    """How well the masks of one class fit, as means over its hits."""

    name: str
    cells: int
    iou: float
    dice: float


def masks_of_labels(store: StoredSlide, ids: NDArray[np.int32], boxes: NDArray[np.float64]) -> Masks:
    """Give masks out of a run's label image. A cell that others hide wholly has an empty one."""

    def read(rows: NDArray[np.int64]) -> Iterator[Window | None]:
        labels = store.labels()
        limit = (labels.width, labels.height)
        small = labels.width * labels.height <= WHOLE_PX
        whole = labels.read(0, 0, *limit) if small and len(rows) else None
        for row in rows.tolist():
            x0, y0 = (int(np.clip(np.floor(boxes[row, k]) - 2, 0, limit[k])) for k in (0, 1))
            x1, y1 = (int(np.clip(np.ceil(boxes[row, 2 + k]) + 2, 0, limit[k])) for k in (0, 1))
            part = labels.read(x0, y0, x1 - x0, y1 - y0) if whole is None else whole[y0:y1, x0:x1]
            yield Window(x0, y0, part == ids[row])

    return read


def masks_of_segmentations(
    drawn: Sequence[Any], boxes: NDArray[np.float64], size: tuple[int, int] | None
) -> Masks | None:
    """Give masks out of COCO's segmentations; None where nothing is drawn. A drawing that cannot be read is none."""
    if size is None or not any(drawn):
        return None

    def read(rows: NDArray[np.int64]) -> Iterator[Window | None]:
        for row in rows.tolist():
            box = boxes[row].tolist()
            try:
                mask, (x, y) = mask_of(drawn[row], (box[0], box[1], box[2], box[3]), size, f"annotation {row}")
            except (RecordError, TypeError):
                yield None
                continue
            yield Window(x, y, mask)

    return read


def overlap(a: Window, b: Window) -> tuple[float, float]:
    """Return the IoU and the Dice coefficient of two masks; two empty ones fit by 0."""
    x, y = max(a.x, b.x), max(a.y, b.y)
    x1 = min(a.x + a.mask.shape[1], b.x + b.mask.shape[1])
    y1 = min(a.y + a.mask.shape[0], b.y + b.mask.shape[0])
    both = 0
    if x1 > x and y1 > y:
        both = int(
            (a.mask[y - a.y : y1 - a.y, x - a.x : x1 - a.x] & b.mask[y - b.y : y1 - b.y, x - b.x : x1 - b.x]).sum()
        )
    total = int(a.mask.sum()) + int(b.mask.sum())
    return (both / (total - both), 2 * both / total) if total else (0.0, 0.0)


def mask_fits(both: Compared, seen: Verdicts) -> tuple[MaskFit, ...]:
    """Return the fit of each class's masks, of classes that have any hit with two masks."""
    sums = np.zeros((len(both.classes), 3))
    hit_images = both.true.images[seen.hits[:, 1]]
    for image, (true, found) in enumerate(both.pairs):
        if true.masks is None or found.masks is None:
            continue
        hits = seen.hits[hit_images == image]
        trues, founds = both.true_rows[hits[:, 1]], both.found_rows[hits[:, 0]]
        for k, a, b in zip(both.true.classes[hits[:, 1]], true.masks(trues), found.masks(founds), strict=True):
            if a is not None and b is not None:
                sums[k] += (1, *overlap(a, b))
    return tuple(
        MaskFit(name, int(n), iou / n, dice / n)
        for name, (n, iou, dice) in zip(both.classes, sums.tolist(), strict=True) if n
    )  # fmt: skip
