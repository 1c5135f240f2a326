"""What to copy to the stage next and what to take off it, as pure decisions: no I/O, no clock, no threads.

A slide waits, is copied, lies staged until it needs nothing more, and is taken off; one that is larger than the
whole stage, or cannot be copied, is read in place. Slides are copied in the order in which they begin, and none
overtakes another for being small: the large one would never find room.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

__all__ = ["Shelf"]


@dataclass(slots=True)
class Shelf:
    """The stage's room. Law: what is copied, staged or being taken off never takes more than `bound` bytes."""

    bound: int
    sizes: Mapping[str, int]
    rank: Mapping[str, int]
    waiting: list[tuple[int, str]] = field(default_factory=list)  # a heap
    copying: str | None = None
    staged: set[str] = field(default_factory=set)
    leaving: set[str] = field(default_factory=set)  # to be taken off; they take room until they are
    over: set[str] = field(default_factory=set)  # need nothing more

    @property
    def used(self) -> int:
        """Return the bytes that are taken."""
        there = self.staged | self.leaving | ({self.copying} if self.copying is not None else set())
        return sum(self.sizes[slide] for slide in there)

    def offer(self, slides: Iterable[str]) -> list[str]:
        """Take slides that will begin some time; return those that are too large and so are read in place."""
        too_large = []
        for slide in slides:
            if self.sizes[slide] > self.bound:
                too_large.append(slide)
            else:
                heapq.heappush(self.waiting, (self.rank[slide], slide))
        return too_large

    def next(self) -> str | None:
        """Return the slide to copy now, None while there is none or no room for it."""
        while self.waiting and self.waiting[0][1] in self.over:
            heapq.heappop(self.waiting)
        if self.copying is not None or not self.waiting or self.used + self.sizes[self.waiting[0][1]] > self.bound:
            return None
        self.copying = heapq.heappop(self.waiting)[1]
        return self.copying

    def copied(self, *, whole: bool) -> str:
        """Take note that the copy ended; what is not whole, or no longer needed, is taken off again."""
        assert self.copying is not None
        slide, self.copying = self.copying, None
        (self.staged if whole and slide not in self.over else self.leaving).add(slide)
        return slide

    def done(self, slide: str) -> None:
        """Take note that a slide needs nothing more."""
        self.over.add(slide)
        if slide in self.staged:
            self.staged.remove(slide)
            self.leaving.add(slide)

    def left(self, slide: str) -> None:
        """Take note that a slide is off the stage."""
        self.leaving.remove(slide)
