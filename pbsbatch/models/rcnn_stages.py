"""The steps between the networks of a two-stage detector: anchors, proposals, detections.

Laws. They are torchvision's, number by number in float32: the same boxes stay, in the same order. Suppression goes by
level or class, never by offsets. Nothing here knows a runtime.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pbsbatch.models.rcnn_facts import RcnnFacts
from pbsbatch_kernels.nms import nms

__all__ = ["Candidates", "anchors_of", "detections", "levels_of", "proposals"]

F32 = NDArray[np.float32]
MOST_LOG_SIZE = np.float32(math.log(1000.0 / 16))
"""A side grows by no more: a wild number must not become infinite."""
BOX_WEIGHTS = np.array([10.0, 10.0, 5.0, 5.0], np.float32)
"""The second stage's changes are so many times as large as what they mean."""
LEAST_PROPOSAL_PX, LEAST_BOX_PX = 1e-3, 1e-2
CANONICAL_PX, CANONICAL_LEVEL, FINEST, COARSEST = 224, 4, 2, 5
"""A box of 224 px is cut from the map at stride 2 ** 4, one half as large from the next finer one."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """The cells of one tile, best first. crowded: there were more than the model's detections."""

    boxes: F32
    scores: F32
    kinds: NDArray[np.int64]  # in the network's order, background left out
    crowded: bool


def proposals(objectness: Sequence[F32], deltas: Sequence[F32], height: int, width: int, facts: RcnnFacts) -> F32:
    """Return the boxes (N, 4) that may hold a cell, the likeliest first.

    objectness (h, w, A) and deltas (h, w, 4 * A) are of one tile, a pair for each level.
    """
    chosen: list[tuple[F32, F32]] = []
    for level, (logits, moves) in enumerate(zip(objectness, deltas, strict=True)):
        flat = logits.reshape(-1)
        best = _first(flat, facts.pre_nms)
        anchors = anchors_of(facts.anchors[level], facts.ratios, logits.shape[:2], (height, width))
        chosen.append((_moved(anchors[best], moves.reshape(-1, 4)[best]), flat[best]))
    boxes = _clipped(np.concatenate([b for b, _ in chosen]), height, width)
    scores = _sigmoid(np.concatenate([s for _, s in chosen]))
    level_of = np.repeat(np.arange(len(chosen)), [len(s) for _, s in chosen])
    large = np.flatnonzero(_sides(boxes).min(1) >= LEAST_PROPOSAL_PX)
    boxes, scores, level_of = boxes[large], scores[large], level_of[large]
    return boxes[nms(boxes, scores, level_of, facts.rpn_nms_iou)[: facts.post_nms]]


def detections(boxes: F32, logits: F32, deltas: F32, height: int, width: int, facts: RcnnFacts) -> Candidates:
    """Return the cells among proposals (N, 4), from what the second stage says of each: logits (N, 1 + C), deltas.

    A box larger than the largest cell is none: halos would not hold it.
    """
    count = len(facts.network_classes)
    if logits.shape != (len(boxes), count + 1) or deltas.shape != (len(boxes), 4 * (count + 1)):
        raise ValueError(f"{len(boxes)} boxes of {count} classes, but {logits.shape} and {deltas.shape}")
    reported = np.array([k for k, name in enumerate(facts.network_classes) if name])
    chances = _softmax(logits)[:, 1 + reported]
    box, kind = np.nonzero(chances > np.array(facts.thresholds, np.float32))
    moves = deltas.reshape(len(boxes), count + 1, 4)[box, 1 + reported[kind]] / BOX_WEIGHTS
    found = _clipped(_moved(boxes[box], moves), height, width)
    sides, most = _sides(found), facts.max_cell_um / facts.work_mpp
    good = np.flatnonzero((sides.min(1) >= LEAST_BOX_PX) & (sides.max(1) <= most))
    found, scores, kind = found[good], chances[box, kind][good], kind[good]
    kept = nms(found, scores, kind, np.array(facts.nms_iou))
    if facts.cross_iou < 1:
        kept = kept[nms(found[kept], scores[kept], np.zeros(len(kept), np.uint8), facts.cross_iou)]
    crowded, kept = len(kept) > facts.detections, kept[: facts.detections]
    return Candidates(found[kept], scores[kept], reported[kind[kept]].astype(np.int64), crowded)


def levels_of(boxes: F32) -> NDArray[np.int64]:
    """Return which map each box is cut from, 0 the finest: the larger a box, the coarser."""
    sides = np.sqrt(_sides(boxes).prod(1))
    with np.errstate(divide="ignore"):  # a box without area goes to the finest
        level = np.floor(CANONICAL_LEVEL + np.log2(sides / np.float32(CANONICAL_PX)) + np.float32(1e-6))
    chosen: NDArray[np.int64] = np.clip(level, FINEST, COARSEST).astype(np.int64) - FINEST
    return chosen


@lru_cache(maxsize=64)
def anchors_of(
    sizes: tuple[float, ...], ratios: tuple[float, ...], grid: tuple[int, int], tile: tuple[int, int]
) -> F32:
    """Return a level's boxes (h * w * A, 4), place by place. They are shared: not to be written to."""
    root = np.sqrt(np.array(ratios, np.float32))
    side = np.array(sizes, np.float32)
    wide, tall = ((1 / root)[:, None] * side).ravel(), (root[:, None] * side).ravel()
    shapes = np.rint(np.stack([-wide, -tall, wide, tall], 1) / 2)
    y, x = np.meshgrid(*(np.arange(n) * (length // n) for n, length in zip(grid, tile, strict=True)), indexing="ij")
    places = np.stack([x, y, x, y], -1).reshape(-1, 1, 4).astype(np.float32)
    made: F32 = (places + shapes).reshape(-1, 4)
    made.flags.writeable = False
    return made


def _first(values: F32, count: int) -> NDArray[np.int64]:
    """Return the places of the largest values, largest first, of equal ones the first."""
    if count < len(values):  # most of a fine grid never matters: sorting all of it costs more than all the rest
        cut = np.partition(values, len(values) - count)[len(values) - count]
        places = np.flatnonzero(values >= cut)
    else:
        places = np.arange(len(values))
    order: NDArray[np.int64] = places[np.argsort(-values[places], kind="stable")][:count]
    return order


def _moved(boxes: F32, moves: F32) -> F32:
    """Return boxes moved by shares of their sides and resized by logarithms."""
    sides = boxes[:, 2:] - boxes[:, :2]
    middle = boxes[:, :2] + np.float32(0.5) * sides
    middle = moves[:, :2] * sides + middle
    half = np.float32(0.5) * np.exp(np.minimum(moves[:, 2:], MOST_LOG_SIZE)) * sides
    return np.concatenate([middle - half, middle + half], 1)


def _clipped(boxes: F32, height: int, width: int) -> F32:
    return np.clip(boxes, 0, np.array([width, height, width, height], np.float32))


def _sides(boxes: F32) -> F32:
    return boxes[:, 2:] - boxes[:, :2]


def _sigmoid(logits: F32) -> F32:
    """Return chances without overflow at either end."""
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1 / (1 + small), small / (1 + small)).astype(np.float32)


def _softmax(logits: F32) -> F32:
    raised = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(raised / raised.sum(1, keepdims=True), np.float32)
