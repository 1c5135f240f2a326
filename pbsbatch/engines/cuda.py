"""Run a network on a CUDA card: while one part of a batch computes, the next travels and the last comes back.

Every part has one fixed size per tile shape, the last one padded. Page-locked buffers belong to the runner, two of each
kind: a buffer is written again only when the copy out of it is known to be done.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pbsbatch.nets.detector import Served

__all__ = ["PART_PX", "CudaRunner"]

PART_PX = 4_000_000
"""A part holds as many tiles as fit into so many pixels, but one at least."""


@dataclass(slots=True)
class _Lane:
    """The buffers of one part in flight, and the events that say when they are free."""

    host: Tensor  # page-locked
    card: Tensor
    results: tuple[Tensor, ...]  # page-locked
    arrived: torch.cuda.Event
    returned: torch.cuda.Event


class CudaRunner:
    """Call with a batch, get the network's outputs. Not for two threads at once."""

    def __init__(self, net: Served, device: torch.device, dtype: torch.dtype) -> None:
        self.net, self.device = net.to(device=device, dtype=dtype), device
        self.inward = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.outward = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._part_px, self._halved = PART_PX, False
        self._lanes: dict[tuple[int, int], tuple[_Lane, _Lane]] = {}

    def halve(self, height: int, width: int) -> bool:
        """Run half as many tiles at once from now on. False where that was done before or one is all that runs."""
        before = self._part(height, width)
        if self._halved or before == 1:
            return False
        self._halved, self._part_px = True, before // 2 * height * width
        return True

    def __call__(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        """Return the float32 outputs of every slot; after an error no buffer is used again."""
        try:
            return self._run(pixels)
        except RuntimeError:
            with suppress(RuntimeError):  # memory that is given back is another's at once
                torch.cuda.synchronize(self.device)
            self._lanes.clear()
            raise

    def _run(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        lanes = self._for_shape(pixels.shape[1], pixels.shape[2])
        part = len(lanes[0].host)
        out = tuple(np.empty((len(pixels), *r.shape[1:]), np.float32) for r in lanes[0].results)
        starts = range(0, len(pixels), part)
        for nth, start in enumerate(starts):
            lane = lanes[nth % 2]
            if nth >= 2:
                _take(lane, out, starts[nth - 2])
            self._send(lane, pixels[start : start + part])
        for nth in range(max(0, len(starts) - 2), len(starts)):
            _take(lanes[nth % 2], out, starts[nth])
        return out

    def _send(self, lane: _Lane, pixels: NDArray[np.uint8]) -> None:
        """Queue one part: over, through the network, and back, each on its own stream."""
        lane.host[: len(pixels)].copy_(torch.from_numpy(pixels))
        main = torch.cuda.current_stream(self.device)
        with torch.cuda.stream(self.inward):
            lane.card.copy_(lane.host, non_blocking=True)
            lane.arrived.record(self.inward)
        main.wait_event(lane.arrived)
        results = [r.float().contiguous() for r in self.net(lane.card)]
        self.outward.wait_stream(main)
        with torch.cuda.stream(self.outward):
            for host, card in zip(lane.results, results, strict=True):
                host.copy_(card, non_blocking=True)
                card.record_stream(self.outward)
            lane.returned.record(self.outward)

    def _for_shape(self, height: int, width: int) -> tuple[_Lane, _Lane]:
        """Return the two lanes for a tile shape; those of another shape are given up."""
        key = (height, width)
        if key not in self._lanes:
            self._lanes.clear()
            part = self._part(height, width)
            card = torch.zeros((part, height, width, 3), dtype=torch.uint8, device=self.device)
            shapes = [tuple(r.shape) for r in self.net(card)]
            self._lanes[key] = (self._lane(card, shapes), self._lane(card.clone(), shapes))
            torch.cuda.synchronize(self.device)
        return self._lanes[key]

    def _part(self, height: int, width: int) -> int:
        return max(1, self._part_px // (height * width))

    def _lane(self, card: Tensor, shapes: list[tuple[int, ...]]) -> _Lane:
        return _Lane(
            host=torch.zeros(card.shape, dtype=torch.uint8, pin_memory=True),
            card=card,
            results=tuple(torch.empty(shape, dtype=torch.float32, pin_memory=True) for shape in shapes),
            arrived=torch.cuda.Event(),  # type: ignore[no-untyped-call]
            returned=torch.cuda.Event(),  # type: ignore[no-untyped-call]
        )


def _take(lane: _Lane, out: tuple[NDArray[np.float32], ...], start: int) -> None:
    """Wait for a part and copy its slots to their places; padding is left behind."""
    lane.returned.synchronize()
    for whole, host in zip(out, lane.results, strict=True):
        room = whole[start : start + len(host)]
        room[:] = host[: len(room)].numpy()
