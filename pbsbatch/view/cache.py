"""Keep what was made last, within a bound of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["Cache"]

T = TypeVar("T")


class Cache(Generic[T]):
    """A cache for threads. Law: the sizes of what is kept add up to no more than `most`; the least lately used go."""

    def __init__(self, most: int, size: Callable[[T], int]) -> None:
        self._most, self._size = most, size
        self._kept: OrderedDict[Hashable, T] = OrderedDict()
        self._lock = threading.Lock()
        self.held = 0

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what is kept under a key, or make and keep it. Two threads may make one thing at the same time."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        value = make()
        size = self._size(value)
        with self._lock:
            if key not in self._kept and size <= self._most:
                self._kept[key] = value
                self.held += size
                while self.held > self._most:
                    _, old = self._kept.popitem(last=False)
                    self.held -= self._size(old)
        return value
