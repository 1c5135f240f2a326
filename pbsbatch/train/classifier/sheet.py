"""A contact sheet of augmentations for the eye: a row for each switch and for all of them, cells as they were first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pbsbatch.disk import output_errors, write_atomic
from pbsbatch.train.classifier.augment_study import apply

__all__ = ["contact_sheet", "write_sheet"]

Image = NDArray[np.uint8]

SHOWN_PX, GAP, NAME_PX, COLUMNS = 96, 4, 190, 10


def contact_sheet(vector: Sequence[str], crops: Image, seed: int) -> Image:
    """Return the sheet of crops (N, S, S, 3); few crops are shown again and again, each time another way."""
    shown = crops[np.arange(COLUMNS) % len(crops)]
    rows = [("as they are", shown), *((name, apply([name], shown, seed)) for name in vector)]
    if len(vector) > 1:
        rows.append(("all of them", apply(vector, shown, seed)))
    return np.vstack([_row(name, pixels) for name, pixels in rows])


def write_sheet(path: Path, vector: Sequence[str], crops: Image, seed: int) -> None:
    """Write the sheet as a PNG."""
    _, data = cv2.imencode(".png", np.ascontiguousarray(contact_sheet(vector, crops, seed)[..., ::-1]))
    with output_errors(path):
        write_atomic(path, [data.tobytes()])


def _row(name: str, crops: Image) -> Image:
    row = np.full((SHOWN_PX + GAP, NAME_PX + COLUMNS * (SHOWN_PX + GAP), 3), 255, np.uint8)
    cv2.putText(row, name, (GAP, SHOWN_PX // 2 + 5), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (40, 40, 40), 1, cv2.LINE_AA)
    for i, crop in enumerate(crops):
        left = NAME_PX + i * (SHOWN_PX + GAP)
        row[:SHOWN_PX, left : left + SHOWN_PX] = cv2.resize(crop, (SHOWN_PX, SHOWN_PX), interpolation=cv2.INTER_AREA)
    return row
