"""A large slide on its way: the strips that nobody has yet, and how long they take. Pure.

Law: a strip is handed out once. What a tile takes is believed until one is measured.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

__all__ = ["Started"]


@dataclass(slots=True)
class Started:
    """A planned slide that is not published yet."""

    missing: deque[tuple[int, int]]  # strip, tiles
    tiles: int  # that were to do when it was planned
    believed: float  # worker seconds for all of them, before any is measured
    whole: bool  # nothing of it was on disk
    out: int = 0  # bundles in flight or to run again
    done: int = 0  # tiles
    seconds: float = 0.0

    @classmethod
    def of(cls, missing: Mapping[int, int], believed: float, *, whole: bool) -> Started:
        """Start with these strips and their tiles to do."""
        return cls(deque(sorted(missing.items())), sum(missing.values()), believed, whole)

    @property
    def tile_seconds(self) -> float:
        return self.seconds / self.done if self.done else self.believed / max(1, self.tiles)

    @property
    def computing(self) -> float:
        """Return the worker seconds of all tiles, done or not."""
        return self.seconds + self.tile_seconds * (self.tiles - self.done)

    @property
    def unclaimed(self) -> float:
        """Return the worker seconds of the strips that nobody has yet."""
        return sum(n for _, n in self.missing) * self.tile_seconds

    @property
    def complete(self) -> bool:
        """Say whether every strip is on disk."""
        return self.out == 0 and not self.missing

    def take(self, target: float, room: float, parts: int) -> tuple[tuple[int, ...], int]:
        """Hand out strips of about `target` seconds that end within `room`, and say how many tiles they have.

        By the size on disk alone a slide of few bytes and many cells would go to one worker as a whole: until a
        tile is measured, nobody is given more than one of so many parts.
        """
        taken: list[int] = []
        tiles = 0
        most = inf if self.done else self.tiles / parts
        while self.missing:
            strip, more = self.missing[0]
            seconds = (tiles + more) * self.tile_seconds
            if seconds > room or (taken and (seconds > target or tiles + more > most)):
                break
            self.missing.popleft()
            taken.append(strip)
            tiles += more
        self.out += bool(taken)
        return tuple(taken), tiles

    def processed(self, tiles: int, seconds: float) -> None:
        """Take note that strips of so many tiles are on disk."""
        self.out -= 1
        self.done += tiles
        self.seconds += seconds
