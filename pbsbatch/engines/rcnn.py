"""Run a two-stage detector: one network over the tile, then others over what its proposals cut from the maps.

Laws. Slots are run one at a time, so that one tile's maps are in memory for each lane and a slot's result is its own.
What stands between the networks is models/rcnn_stages.py, whatever runtime runs them. That a tile held more cells than
the model gives room for is said, once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pbsbatch.engines.base import checked
from pbsbatch.errors import EngineError
from pbsbatch.models.base import Raw
from pbsbatch.models.rcnn import RCNN_OUTPUTS
from pbsbatch.models.rcnn_facts import STRIDE_PX, RcnnFacts
from pbsbatch.models.rcnn_folder import MASK_BINS
from pbsbatch.models.rcnn_stages import Candidates, detections, levels_of, proposals
from pbsbatch_kernels.roi_align import roi_align_into

__all__ = ["F32", "First", "Parts", "Probed", "RcnnEngine", "chosen", "cut_boxes", "cut_into", "in_parts"]

F32 = NDArray[np.float32]
WHITE = 255
FINEST_STRIDE = 4
MASK_SIDE = 2 * MASK_BINS


@dataclass(frozen=True, slots=True)
class First:
    """What the first network says of a tile. maps is the runtime's own matter."""

    objectness: list[F32]  # (h, w, A) for each level
    deltas: list[F32]  # (h, w, 4 * A)
    maps: object


class Parts(Protocol):
    """The networks in one runtime. Laws: those of an engine; what is said of a box depends on that box alone."""

    name: str
    precision: str
    device: str
    notes: list[str]

    @property
    def lanes(self) -> int: ...

    def first(self, tile: NDArray[np.uint8]) -> First:
        """Look at a tile (H, W, 3) whose sides are multiples of STRIDE_PX."""
        ...

    def judged(self, first: First, boxes: F32) -> tuple[F32, F32]:
        """Return logits (N, 1 + classes) and deltas (N, 4 * (1 + classes)) of boxes."""
        ...

    def outlined(self, first: First, boxes: F32, kinds: NDArray[np.int64]) -> F32:
        """Return the chances (N, 28, 28) of each box's pixels to be of its cell, which is of that class."""
        ...

    def close(self) -> None: ...


class RcnnEngine:
    """An Engine of a two-stage model, over its parts."""

    def __init__(self, parts: Parts, facts: RcnnFacts) -> None:
        self.parts, self.facts = parts, facts
        self.name, self.precision, self.device = parts.name, parts.precision, parts.device
        self.notes = parts.notes
        self._told = False

    @property
    def lanes(self) -> int:
        return self.parts.lanes

    def __call__(self, pixels: NDArray[np.uint8]) -> Raw:
        """Return the rows of each tile of a batch (B, H, W, 3); see RCNN_OUTPUTS."""
        pixels = checked(pixels)
        count, rows = len(pixels), self.facts.detections
        raw = {
            "scores": np.zeros((count, rows), np.float32), "boxes": np.zeros((count, rows, 4), np.float32),
            "kinds": np.zeros((count, rows), np.float32), "count": np.zeros((count, 1), np.float32),
        }  # fmt: skip
        assert tuple(raw) == RCNN_OUTPUTS
        if self.facts.masks:
            raw["masks"] = np.zeros((count, rows, MASK_SIDE, MASK_SIDE), np.float32)
        for slot, tile in enumerate(pixels):
            first, cells = self._seen(tile)
            n = len(cells.scores)
            raw["scores"][slot, :n], raw["boxes"][slot, :n] = cells.scores, cells.boxes
            raw["kinds"][slot, :n], raw["count"][slot] = cells.kinds, n
            if self.facts.masks and n:
                raw["masks"][slot, :n] = self.parts.outlined(first, cells.boxes, cells.kinds)
        return raw

    def warm_up(self, height: int, width: int) -> None:
        """Run a tile of that shape once."""
        self(np.full((1, height, width, 3), WHITE, np.uint8))

    def close(self) -> None:
        """Let go of the networks; a closed engine refuses to run."""
        self.parts.close()

    def _seen(self, tile: NDArray[np.uint8]) -> tuple[First, Candidates]:
        """Return a tile's maps and its cells."""
        height, width = tile.shape[:2]
        first = self.parts.first(padded(tile))
        if not all(np.isfinite(values).all() for values in (*first.objectness, *first.deltas)):
            raise EngineError(f"the network {self.facts.name} gives numbers that are not finite")
        tall, wide = (-(-n // STRIDE_PX) * STRIDE_PX for n in (height, width))
        boxes = proposals(first.objectness, first.deltas, tall, wide, self.facts)
        logits, deltas = self.parts.judged(first, boxes)
        cells = detections(boxes, logits, deltas, height, width, self.facts)
        if cells.crowded and not self._told:
            self._told = True
            self.notes.append(
                f"a tile held more than the {self.facts.detections} cells that the model {self.facts.name} has room "
                f"for: the least sure ones are lost. Raise detections in its settings and export it again"
            )
        return first, cells


class Probed:
    """An engine as the parity gate can look at it: fixed boxes in place of its proposals, so that no choice between
    nearly equal scores turns a rounding into another result.
    """

    def __init__(self, engine: RcnnEngine) -> None:
        self.engine = engine
        self.name, self.precision, self.device = engine.name, engine.precision, engine.device
        self.notes, self.lanes = engine.notes, engine.lanes

    def __call__(self, pixels: NDArray[np.uint8]) -> Raw:
        seen = [dict(self._probe(padded(tile))) for tile in checked(pixels)]
        return {name: np.stack([one[name] for one in seen]) for name in seen[0]}

    def _probe(self, tile: NDArray[np.uint8]) -> Iterator[tuple[str, F32]]:
        parts, facts = self.engine.parts, self.engine.facts
        first = parts.first(tile)
        for level, (logits, deltas) in enumerate(zip(first.objectness, first.deltas, strict=True)):
            yield f"objectness{level}", logits
            yield f"deltas{level}", deltas
        boxes = _probes(*tile.shape[:2])
        yield from zip(("logits", "moves"), parts.judged(first, boxes), strict=True)
        if facts.masks:
            kinds = np.arange(len(boxes)) % len(facts.network_classes)
            yield "masks", parts.outlined(first, boxes, kinds)

    def warm_up(self, height: int, width: int) -> None:
        self.engine.warm_up(height, width)

    def close(self) -> None:
        self.engine.close()


def padded(tile: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a tile with glass to its right and below it, up to multiples of STRIDE_PX."""
    height, width = tile.shape[:2]
    right, down = -width % STRIDE_PX, -height % STRIDE_PX
    if not right and not down:
        return tile
    return np.pad(tile, ((0, down), (0, right), (0, 0)), constant_values=WHITE)


def in_parts(boxes: F32, at_once: int, run: Callable[[slice], tuple[F32, ...]]) -> tuple[F32, ...]:
    """Return what `run` says of slices of boxes, joined; it is called for no boxes too, to tell the shapes."""
    parts = [run(slice(start, start + at_once)) for start in range(0, max(1, len(boxes)), at_once)]
    return tuple(np.concatenate(one) for one in zip(*parts, strict=True))


def cut_boxes(first: First, boxes: F32, bins: int) -> F32:
    """Return what the boxes show on maps (rows, columns, channels), each on the map for its size."""
    assert isinstance(first.maps, list)
    out = np.empty((len(boxes), bins, bins, first.maps[0].shape[2]), np.float32)
    cut_into(first, boxes, out)
    return out


def cut_into(first: First, boxes: F32, out: F32) -> None:
    """Cut boxes into the first rows of `out` (rows, bins, bins, channels)."""
    assert isinstance(first.maps, list)
    levels = levels_of(boxes)
    for level, features in enumerate(first.maps):
        here = np.flatnonzero(levels == level)
        if len(here):
            roi_align_into(features, boxes[here], 1 / (FINEST_STRIDE << level), out, here)


def chosen(logits: F32, kinds: NDArray[np.int64]) -> F32:
    """Return each box's mask (N, M, M) of its own class from logits (N, 1 + classes, M, M), as chances."""
    own = logits[np.arange(len(kinds)), 1 + kinds]
    return np.asarray(1 / (1 + np.exp(-np.clip(own, -80, 80))), np.float32)


def _probes(height: int, width: int) -> F32:
    """Return boxes of several sizes all over a tile, some across its border."""
    places = [(x, y) for y in np.linspace(0, height, 5) for x in np.linspace(0, width, 5)]
    sides = [12.0 * 1.6 ** (i % 8) for i in range(len(places))]
    return np.array([(x - s / 2, y - s / 3, x + s / 2, y + s / 3) for (x, y), s in zip(places, sides, strict=True)],
        np.float32)  # fmt: skip
