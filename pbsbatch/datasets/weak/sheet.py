"""Draw what a method did, step by step, as one picture: a row for each picture, a column for each step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pbsbatch.datasets.weak.steps import Steps

__all__ = ["draw_sheet"]

Image = NDArray[np.uint8]

TILE, GAP, HEAD = 160, 4, 24
INK, PAPER, LINE = (40, 40, 40), 255, (0, 170, 60)
TRUE = (20, 20, 20)
COLOURS = np.random.default_rng(3).integers(70, 250, (256, 3)).astype(np.uint8)
COLOURS[0] = 0


def draw_sheet(rows: Sequence[tuple[str, Steps, NDArray[np.integer] | None]]) -> Image:
    """Return the sheet of pictures: their names, what came of them, and the truth where it is known, drawn in black."""
    columns = max(len(steps.stages) for _, steps, _ in rows) + 1
    sheet = np.full((HEAD + len(rows) * (TILE + HEAD), columns * (TILE + GAP), 3), PAPER, np.uint8)
    widest = max((steps.stages for _, steps, _ in rows), key=len)
    for column, (name, _) in enumerate(widest):
        _write(sheet, name, column * (TILE + GAP), 16)
    _write(sheet, "outline", (columns - 1) * (TILE + GAP), 16)
    for row, (name, steps, truth) in enumerate(rows):
        top = HEAD + row * (TILE + HEAD)
        tiles = [_tile(plane) for _, plane in steps.stages]
        places = [*range(len(tiles)), columns - 1]
        for column, tile in zip(places, [*tiles, _outlined(steps, truth)], strict=True):
            left = column * (TILE + GAP)
            sheet[top : top + TILE, left : left + TILE] = tile
        _write(sheet, name, 0, top + TILE + 15)
    return sheet


def _write(sheet: Image, text: str, x: int, y: int) -> None:
    plain = text.encode("ascii", "replace").decode()[:120]
    cv2.putText(sheet, plain, (x + 2, y), cv2.FONT_HERSHEY_SIMPLEX, 0.42, INK, 1, cv2.LINE_AA)


def _tile(plane: NDArray[Any]) -> Image:
    """Return a step as a square of RGB: labels in colours, planes from their lowest to their highest."""
    if plane.ndim == 3:
        return _fitted(np.asarray(plane, np.uint8), cv2.INTER_AREA)
    if plane.dtype == np.int32:
        return _fitted(COLOURS[plane % 255 + (plane > 254)], cv2.INTER_NEAREST)
    low, high = min(0.0, float(plane.min())), float(plane.max())
    grey = ((plane.astype(np.float32) - low) * (255 / max(1e-6, high - low))).astype(np.uint8)
    return _fitted(np.repeat(grey[..., None], 3, axis=2), cv2.INTER_NEAREST)


def _outlined(steps: Steps, truth: NDArray[np.integer] | None) -> Image:
    image = steps.stages[0][1]
    high, wide = steps.labels.shape
    zoom = TILE / max(high, wide)
    shown = cv2.resize(image, (max(1, round(wide * zoom)), max(1, round(high * zoom))), interpolation=cv2.INTER_AREA)
    shown = np.ascontiguousarray(shown)
    for labels, colour, thick in ((truth, TRUE, 1), (steps.labels, LINE, 2)):
        for number in [] if labels is None else [n for n in np.unique(labels) if n]:
            mask = cv2.resize((labels == number).astype(np.uint8), shown.shape[1::-1], interpolation=cv2.INTER_NEAREST)
            lines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(shown, lines, -1, colour, thick)
    return _fitted(np.asarray(shown, np.uint8), cv2.INTER_AREA)


def _fitted(image: Image, how: int) -> Image:
    """Return a picture in the middle of a tile."""
    high, wide = image.shape[:2]
    zoom = TILE / max(high, wide)
    size = (max(1, round(wide * zoom)), max(1, round(high * zoom)))
    scaled = image if size == (wide, high) else cv2.resize(image, size, interpolation=how)
    tile = np.full((TILE, TILE, 3), PAPER, np.uint8)
    y, x = (TILE - size[1]) // 2, (TILE - size[0]) // 2
    tile[y : y + size[1], x : x + size[0]] = scaled
    return tile
