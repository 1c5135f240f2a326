"""Masks of drawn fields, pixel by pixel, and those that were found in them, as matching takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbsbatch.detections import Detections
from pbsbatch.synth import Scene
from pbsbatch_kernels import rle
from pbsbatch_kernels.matching import Found, Runs, Truth, found, truth
from pbsbatch_kernels.packing import pack_scaled

__all__ = ["found_masks", "true_masks"]


def true_masks(scenes: Sequence[Scene]) -> Truth:
    """Return what drawn fields show of each cell, pixel by pixel."""
    parts = []
    for scene in scenes:
        cells = scene.cells(0, 0, scene.width, scene.height)
        windows = np.concatenate([cells.boxes[:, :2], cells.boxes[:, 2:] - cells.boxes[:, :2]], axis=1)
        packed = pack_scaled([cells.mask(i) for i in range(len(cells))], windows, 1.0, scene.width, scene.height)
        parts.append((cells.classes, _runs(*packed, scene)))
    return truth(_images(parts), np.concatenate([k for k, _ in parts]), masks=_joined([r for _, r in parts]))


def found_masks(scenes: Sequence[Scene], cells: Sequence[Detections], kinds: NDArray[np.int64]) -> Found:
    """Return cells found in drawn fields; kinds says what each of a model's classes is."""
    parts = [
        (kinds[c.classes], _runs(c.windows, c.offsets, c.bits, s)) for s, c in zip(scenes, cells, strict=True)
    ]  # fmt: skip
    scores = np.concatenate([c.scores for c in cells]).astype(np.float64)
    return found(
        _images(parts), np.concatenate([k for k, _ in parts]), None, scores, masks=_joined([r for _, r in parts])
    )  # fmt: skip


def _runs(windows: NDArray[np.integer], offsets: NDArray[np.int64], bits: NDArray[np.uint8], scene: Scene) -> Runs:
    counts, starts = rle.encode(bits, offsets, windows, scene.height, scene.width)
    return Runs(counts, starts, np.tile(np.array([0, 0, scene.width, scene.height], np.int64), (len(windows), 1)))


def _joined(parts: Sequence[Runs]) -> Runs:
    ends = np.cumsum([0, *(len(p.counts) for p in parts)])
    offsets = [p.offsets[:-1] + end for p, end in zip(parts, ends[:-1], strict=True)]
    return Runs(
        np.concatenate([p.counts for p in parts]), np.concatenate([*offsets, ends[-1:]]),
        np.concatenate([p.windows for p in parts]),
    )  # fmt: skip


def _images(parts: Sequence[tuple[NDArray[Any], Runs]]) -> NDArray[np.int64]:
    return np.repeat(np.arange(len(parts)), [len(kinds) for kinds, _ in parts])
