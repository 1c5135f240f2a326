"""Masks of drawn fields against themselves fit wholly; shifted ones fit as far as pixels say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.studies.drawn_masks import found_masks, true_masks
from pbsbatch.detections import OWNED, Detections, untyped
from pbsbatch.evaluate import evaluate
from pbsbatch.synth import CLASSES, Scene
from pbsbatch_kernels.packing import pack_scaled

SCENES = [Scene(160, 120, 0.25, seed) for seed in (1, 2)]


def perfect(scene: Scene) -> Detections:
    cells = scene.cells(0, 0, scene.width, scene.height)
    n, windows = len(cells), np.concatenate([cells.boxes[:, :2], cells.boxes[:, 2:] - cells.boxes[:, :2]], 1)
    masks = [cells.mask(i) for i in range(n)]
    windows, offsets, bits = pack_scaled(masks, windows, 1.0, scene.width, scene.height)
    return Detections(
        cells.boxes.astype(np.float32), np.linspace(0.9, 0.5, n).astype(np.float32), cells.classes.astype(np.uint8),
        np.zeros(n, np.int32), np.full(n, OWNED, np.uint8), windows, offsets, bits, **untyped(n),
    )  # fmt: skip


def test_masks_fit_themselves_and_less_when_moved() -> None:
    found = [perfect(scene) for scene in SCENES]
    kinds = np.arange(len(CLASSES))
    whole = evaluate(true_masks(SCENES), found_masks(SCENES, found, kinds), CLASSES, measure="masks")
    assert whole.ap50 == whole.ap() == pytest.approx(1.0)
    moved = [replace(c, windows=c.windows + np.array([4, 0, 0, 0], np.int32)) for c in found]
    less = evaluate(true_masks(SCENES), found_masks(SCENES, moved, kinds), CLASSES, measure="masks")
    assert less.ap() < 0.8 < whole.ap()
