"""Measure the busy seconds of each stage of a stream.

Law: they are processor time of the thread that works. A network computes on threads of its runtime: what this process
burned in all, less what its other stages burned, is the network's. An engine that computes on a device is busy for as
long as it is called.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType

from pbsbatch.pipeline.base import OF_LANES, Timings

__all__ = ["Clock"]


class Clock:
    """Adds to a Timings from many threads, within one stream."""

    def __init__(self, timings: Timings, *, device: bool) -> None:
        self.timings, self.device = timings, device
        self._lock = threading.Lock()
        self._ours = 0.0

    def stage(self, name: str) -> _Stage:
        """Return what measures a block of one stage."""
        return _Stage(self, name)

    def add(self, name: str, seconds: float) -> None:
        """Add to one stage."""
        with self._lock:
            setattr(self.timings, name, getattr(self.timings, name) + seconds)

    def leave(self) -> None:
        """Take note that one of the stream's threads ends."""
        with self._lock:
            self._ours += time.thread_time()

    def __enter__(self) -> Clock:
        self._start = time.process_time(), time.thread_time()
        return self

    def __exit__(self, *_: object) -> None:
        process, thread = self._start
        if not self.device:
            ours = self._ours + time.thread_time() - thread
            self.add("infer", max(0.0, time.process_time() - process - ours))


class _Stage:
    def __init__(self, clock: Clock, name: str) -> None:
        self.clock, self.name = clock, name
        self.now = time.perf_counter if name in OF_LANES or (clock.device and name == "infer") else time.thread_time

    def __enter__(self) -> None:
        self.start = self.now()

    def __exit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        self.clock.add(self.name, self.now() - self.start)
