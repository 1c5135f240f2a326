"""When does a run stop before everything is done? A person, the deadline, workers that die or are gone.

Law: the first reason to stop is the one that is told. A first signal lets what is in flight end, a second does not.
"""

from __future__ import annotations

import contextlib
import queue
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import inf
from types import FrameType

__all__ = ["Stopping", "stop_signals"]

SECONDS_WITHOUT_WORKERS = 300.0
"""A cluster that has had no worker for so long will not get one."""
SECONDS_OVER_DEADLINE = 60.0
"""What was predicted to end in time and did not, gets so long; then it is left behind, to be resumed."""


@dataclass(slots=True)
class Stopping:
    """Why a run stops early, and whether what is in flight is still waited for."""

    deadline: datetime | None = None
    requests: queue.SimpleQueue[str] = field(default_factory=queue.SimpleQueue)
    reason: str | None = None
    interrupted: bool = False  # by a person or the system
    worked: float = field(default_factory=time.perf_counter)  # when there was a worker last

    def time_left(self) -> float:
        """Return the seconds until the deadline."""
        return inf if self.deadline is None else self.deadline.timestamp() - datetime.now(UTC).timestamp()

    def stop(self, reason: str) -> None:
        """Take note of a reason to start nothing more."""
        self.reason = self.reason or reason

    def may_wait(self, *, workers: int, in_flight: int) -> bool:
        """Look for reasons to stop; False where not even what is in flight is to be waited for."""
        while not self.requests.empty():
            reason = self.requests.get()
            if self.interrupted:
                return False
            self.interrupted = True
            self.stop(reason)
        now = time.perf_counter()
        if workers:
            self.worked = now
        elif now - self.worked > SECONDS_WITHOUT_WORKERS:
            self.stop("the cluster has no workers any more")
            return False
        if in_flight and self.time_left() < -SECONDS_OVER_DEADLINE:
            self.stop("the deadline: what was in flight took longer than predicted")
            return False
        return True


@contextlib.contextmanager
def stop_signals(requests: queue.SimpleQueue[str]) -> Iterator[None]:
    """Turn SIGINT, SIGTERM and SIGHUP into stop requests while the run lasts."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, _: FrameType | None) -> None:
        requests.put(f"interrupted by {signal.Signals(number).name}")

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, ask) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
