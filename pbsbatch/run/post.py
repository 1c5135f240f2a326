"""What a worker tells its driver, several events in one message where they come fast.

A small field tells of three events, and Dask's way from a worker over its scheduler to the driver takes longer than
all that the driver does with them. Law: events arrive in the order in which they were sent; while they come slower
than SECONDS_HELD none waits, and none waits beyond the next that comes later than that, or the end of the task. A
worker that dies takes those that wait with it, as those on their way: their slides are found published when the bundle
runs again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from pbsbatch.run.events import Event

__all__ = ["SECONDS_HELD", "Post"]

SECONDS_HELD = 0.2
"""A person who looks on does not see so little; sixteen slides that are published at once make one message."""


class Post:
    """Sends events; called from all threads of a task."""

    def __init__(
        self, send: Callable[[list[Event]], None], held: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._send, self._held, self._clock = send, held, clock
        self._waiting: list[Event] = []
        self._sent = float("-inf")
        self._lock = threading.Lock()

    def send(self, event: Event) -> None:
        """Send an event with those that wait, or let it wait where something was sent a moment ago."""
        with self._lock:
            self._waiting.append(event)
            if self._clock() - self._sent >= self._held:
                self._go()

    def flush(self) -> None:
        """Send what waits."""
        with self._lock:
            if self._waiting:
                self._go()

    def _go(self) -> None:
        events, self._waiting, self._sent = self._waiting, [], self._clock()
        self._send(events)
