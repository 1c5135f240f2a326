"""Make the kernels ready before the first tile, so that loading them does not count as its time."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pbsbatch_kernels.jit import folder_for, locked, tally

__all__ = ["WarmUp", "warm_up"]


@dataclass(frozen=True, slots=True)
class WarmUp:
    """What it took until the kernels of a run were ready in this process."""

    seconds: float
    loaded: int
    compiled: int
    kept: bool  # compiled code is on disk for the next process

    def __str__(self) -> str:
        if not self.compiled:
            return f"kernels ready in {self.seconds:.1f} s"
        often = "once per machine" if self.kept else "in every process: no folder of the user's own to keep them in"
        return f"kernels compiled in {self.seconds:.1f} s, {often}"


def warm_up() -> WarmUp:
    """Load every kernel that a run uses, or compile it.

    Law: a run behind it loads and compiles nothing more. One process of a machine compiles, the others wait for it.
    """
    start, (loaded, compiled) = time.perf_counter(), tally()
    folder = folder_for(Path(__file__))  # it imports every kernel: its folder stands for them all
    done = None if folder is None else folder / "warm"
    alone = contextlib.nullcontext() if folder is None or (folder / "warm").exists() else locked(folder / "warming")
    with alone:
        _images()
        _cells()
        _detector()
        _two_stages()
        _quality()
        _store()
    if done is not None:
        with contextlib.suppress(OSError):
            done.touch()
    now = tally()
    return WarmUp(time.perf_counter() - start, now[0] - loaded, now[1] - compiled, folder is not None)


def _images() -> None:
    from pbsbatch_kernels.colours import count_colours
    from pbsbatch_kernels.resample import area_taps, linear_taps, resample, shrink_whole

    starts, weights = np.zeros(2, np.int32), np.zeros((2, 2), np.int32)
    source, out = np.zeros((4, 4, 3), np.uint8), np.zeros((2, 2, 3), np.uint8)
    linear_taps(0.5, 1, 2, 0, starts, weights)
    area_taps(1.5, 0, 2, 0, starts, weights)
    resample(source, starts, weights, starts, weights, out)
    shrink_whole(source, 2, out)
    counts = np.zeros((256, 256), np.int64)
    count_colours(source, np.zeros(256, np.uint8), 100, counts, counts[:3].copy())


def _cells() -> None:
    from pbsbatch_kernels import peaks, regions

    mask, plane = np.ones((5, 5), np.uint8), np.ones((5, 5), np.int16)
    seeds, height = np.array([[2, 2]], np.int32), np.ones((5, 5), np.float32)
    peaks.votes(mask, mask, plane, plane, 1, 2)
    peaks.unmerged(height, peaks.local_maxima(height, 2, 0.5), 2, 0.5)
    labels = regions.connect(regions.power_labels(mask, seeds, np.ones(1, np.float32), 2), seeds, 2)
    regions.measure(labels, mask, mask, 1)
    regions.extents(labels, 2)
    regions.fill_labels(mask, labels, np.ones(2, np.bool_))
    regions.rim_radii(labels, seeds)
    regions.overlap_mask(labels, 1, (0, 0, 5, 5), 2, 2, 2)
    regions.number_pieces(np.arange(25), np.zeros((5, 5), np.int32), 0, 9, 1, False)


def _detector() -> None:
    from pbsbatch_kernels.nms import nms
    from pbsbatch_kernels.outlines import candidates, fill
    from pbsbatch_kernels.voting import vote

    scores, boxes = np.ones((1, 16, 16), np.float32), np.zeros((4, 16, 16), np.float32)
    seen = candidates(scores, boxes, np.zeros(1, np.float32), 4, 50.0)
    nms(seen.boxes, seen.logits, seen.classes, 0.5)  # many boxes: the grid
    nms(seen.boxes[:2], seen.logits[:2], seen.classes[:2], 0.5)  # few: all against all
    vote(scores, boxes, seen.places[:1], seen.classes[:1], 4, 50.0, 0.8)
    fill(seen.boxes[:1], np.zeros((1, 32), np.float32), 64, 64)


def _two_stages() -> None:
    from pbsbatch_kernels.roi_align import roi_align

    roi_align(np.zeros((4, 4, 8), np.float32), np.ones((1, 4), np.float32), 0.25, 2)


def _quality() -> None:
    from pbsbatch_kernels import quality
    from pbsbatch_kernels.neighbours import touching

    boxes, density = np.array([[10.0, 10.0, 30.0, 30.0]]), np.arange(256).astype(np.uint8)
    touching(boxes, np.zeros(1, np.uint8), 1.0, 0.8)
    bits, pixels = np.array([7], np.uint8), np.zeros((40, 40, 3), np.uint8)
    quality.block_sums(pixels, (0, 0), (0, 0, 40, 40), (40, 40), 64, boxes, bits, density, 0.1)


def _store() -> None:
    from pbsbatch_kernels import labels, masks, packing, seams

    window, scores, ids = np.array([[0, 0, 2, 2]]), np.ones(1, np.float32), np.ones(1, np.int32)
    boxes = np.array([[0, 0, 2, 2]], np.float32)
    windows, offsets, bits = packing.pack_scaled([np.ones((2, 2), np.bool_)], window, 1.0, 4, 4)
    masks.areas(bits, offsets, windows)
    labels.Painter(ids, windows, offsets[:1], bits).paint(np.zeros((4, 4), np.int32), 0, 0)
    seams.reconcile(boxes, scores, ids, np.zeros(1, np.int32), boxes, 3.0)
