"""The threads of a stream and the bounded queues between them.

Laws. The first error in any thread stops all of them and is raised once, where the crew was called together. Whoever
leaves early leaves no thread behind.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Generic, TypeVar

__all__ = ["Crew", "Pipe", "Stopped"]

T = TypeVar("T")


class Stopped(Exception):
    """The stream ends before its time."""


class Crew:
    """Threads that start, stop and fail together."""

    def __init__(self) -> None:
        self.changed = threading.Condition()  # one for all pipes: they change some hundred times a second
        self.stopped = False
        self._error: BaseException | None = None
        self._threads: list[threading.Thread] = []

    def pipe(self, size: int, producers: int = 1) -> Pipe[T]:
        """Return a queue of at most `size` items that ends once so many producers have closed it."""
        return Pipe(self, size, producers)

    def start(self, name: str, work: Callable[[], None]) -> None:
        """Run work on a thread of its own."""
        thread = threading.Thread(target=self._run, args=(work,), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Stopped:
            pass
        except BaseException as error:  # noqa: BLE001  # whatever it is, it belongs to who called the crew together
            self.stop(error)

    def stop(self, error: BaseException | None = None) -> None:
        """Wake every thread that waits, so that it ends; keep the first error."""
        with self.changed:
            self._error = self._error or (error if not self.stopped else None)
            self.stopped = True
            self.changed.notify_all()

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.stop()
        for thread in self._threads:
            thread.join()
        if self._error is not None and (kind is None or isinstance(error, Stopped)):
            raise self._error


class Pipe(Generic[T]):
    """A bounded queue between two stages. Law: after stop() whoever puts or gets meets Stopped."""

    def __init__(self, crew: Crew, size: int, producers: int) -> None:
        self._crew, self._size, self._producers = crew, size, producers
        self._items: deque[T] = deque()

    def put(self, item: T) -> None:
        """Add an item; wait while the queue is full."""
        crew = self._crew
        with crew.changed:
            crew.changed.wait_for(lambda: crew.stopped or len(self._items) < self._size)
            if crew.stopped:
                raise Stopped
            self._items.append(item)
            crew.changed.notify_all()

    def close(self) -> None:
        """Say that one producer will put nothing more."""
        with self._crew.changed:
            self._producers -= 1
            self._crew.changed.notify_all()

    def __iter__(self) -> Iterator[T]:
        """Yield items as they come, until every producer has closed and nothing is left."""
        crew = self._crew
        while True:
            with crew.changed:
                crew.changed.wait_for(lambda: crew.stopped or self._items or self._producers == 0)
                if crew.stopped:
                    raise Stopped
                if not self._items:
                    return
                item = self._items.popleft()
                crew.changed.notify_all()
            yield item
