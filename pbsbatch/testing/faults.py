"""Fake engines that break what runs them: crash, hang or eat memory on slides that are marked. For tests alone.

A slide is marked by its colours (see MARKS): an engine sees pixels and nothing else.
"""

from __future__ import annotations

import ctypes
import time

import numpy as np
from numpy.typing import NDArray

from pbsbatch.engines.base import Engine
from pbsbatch.models.base import Model, Raw
from pbsbatch.testing.oracle import FakeOracleEngine

__all__ = [
    "MARKS",
    "FaultyEngine",
    "SlowEngine",
    "load_faulty_engine",
    "load_plain_engine",
    "load_slow_engine",
]

MARKS = {"segfault": 0x070707, "hang": 0x080808, "memory": 0x090909, "raise": 0x0A0A0A, "memory-error": 0x0B0B0B}
"""Numbers of cells that stand for a fault: a slide that shows one is broken in that way."""


class FaultyEngine(FakeOracleEngine):
    """An oracle that meets its end on marked slides, in the ways in which real libraries do."""

    def __call__(self, pixels: NDArray[np.uint8]) -> Raw:
        """Look for a mark; without one be an oracle."""
        numbers = pixels[..., 0].astype(np.uint32) << 16 | pixels[..., 1].astype(np.uint32) << 8 | pixels[..., 2]
        for fault, number in MARKS.items():
            if (numbers == number).any():
                _meet(fault)
        return super().__call__(pixels)


def _meet(fault: str) -> None:
    match fault:
        case "segfault":
            ctypes.string_at(0)  # read the null pointer
        case "hang":
            ctypes.PyDLL(None).sleep(3600)  # as a library that holds the interpreter's lock
        case "memory":
            _eat()
        case "memory-error":
            raise MemoryError
        case _:
            raise RuntimeError("nobody foresaw this")


def _eat() -> None:
    """Touch memory until the system has none left for this process."""
    eaten = []
    while True:
        eaten.append(np.ones(1 << 22, np.uint8))
        time.sleep(0.001)


class SlowEngine(FakeOracleEngine):
    """An oracle that burns half a second of processor time on every tile."""

    def __call__(self, pixels: NDArray[np.uint8]) -> Raw:
        """Burn, then be an oracle."""
        until = time.thread_time() + 0.5 * len(pixels)
        while time.thread_time() < until:
            pass
        return super().__call__(pixels)


def load_slow_engine(model: Model, asked: str) -> Engine:
    """Stand in for engines.load."""
    return SlowEngine()


def load_faulty_engine(model: Model, asked: str) -> Engine:
    """Stand in for engines.load."""
    return FaultyEngine()


def load_plain_engine(model: Model, asked: str) -> Engine:
    """Stand in for engines.load: nothing is wrong with this one."""
    return FakeOracleEngine()
