"""What to do next, as pure decisions: events in, instructions out, no I/O and no Dask.

A slide goes waiting -> preparing -> (strips in flight) -> committing -> done, or to done from anywhere
when it fails. Started slides are finished before new ones begin; new ones begin largest first, so
that no giant is left for the end of the night.

When a worker dies, every instruction it held is suspect. Suspects run again one by one with nothing
beside them: the innocent finish, and what kills a worker a second time is given up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

__all__ = ["Commit", "Instruction", "Prepare", "Process", "RunState", "bundles"]

BUNDLE_TILES = 16
"""Tiles that a bundle holds at least where a slide has them: some 10 s of work, lost at most to a dead worker."""


@dataclass(frozen=True, slots=True)
class Prepare:
    """Open, key, calibrate and plan a slide; do all of it if it is one strip."""

    slide_id: str


@dataclass(frozen=True, slots=True)
class Process:
    """Compute some strips of a prepared slide."""

    slide_id: str
    strips: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Commit:
    """Settle and publish a slide whose strips are all there."""

    slide_id: str


Instruction = Prepare | Process | Commit


def bundles(strip_tiles: Mapping[int, int], least: int = BUNDLE_TILES) -> list[tuple[int, ...]]:
    """Group strips in order until each group has at least `least` tiles; blank strips ride along."""
    groups: list[tuple[int, ...]] = []
    group: list[int] = []
    tiles = 0
    for strip in sorted(strip_tiles):
        group.append(strip)
        tiles += strip_tiles[strip]
        if tiles >= least:
            groups.append(tuple(group))
            group, tiles = [], 0
    return [*groups, tuple(group)] if group else groups


@dataclass(slots=True)
class RunState:
    """The slides of a run and what is in flight.

    Laws: next() never returns the same instruction twice, but for suspects; with nothing in flight it
    returns something or the run is finished.
    """

    waiting: deque[str]
    ready: deque[Instruction] = field(default_factory=deque)
    left: dict[str, int] = field(default_factory=dict)  # bundles of a prepared slide that are not done
    dead: set[str] = field(default_factory=set)  # failed while bundles were in flight: their results are dropped
    suspects: deque[Instruction] = field(default_factory=deque)
    tried_alone: set[Instruction] = field(default_factory=set)
    in_flight: int = 0
    stopping: bool = False

    @classmethod
    def of(cls, sizes: Mapping[str, int]) -> RunState:
        """Start with every slide waiting, largest first, ties by id."""
        return cls(deque(sorted(sizes, key=lambda name: (-sizes[name], name))))

    @property
    def finished(self) -> bool:
        """Say whether nothing is in flight and nothing is left to start."""
        return self.in_flight == 0 and (self.stopping or not (self.ready or self.waiting or self.suspects))

    def next(self, capacity: int) -> Iterator[Instruction]:
        """Yield what to start now, at most up to `capacity` instructions in flight."""
        if self.suspects and not self.stopping:
            yield from self._next_suspect()
            if self.in_flight:
                return
        while self.in_flight < capacity and not self.stopping:
            if self.ready:
                instruction = self.ready.popleft()
                if instruction.slide_id in self.dead:
                    continue
            elif self.waiting:
                instruction = Prepare(self.waiting.popleft())
            else:
                return
            self.in_flight += 1
            yield instruction

    def _next_suspect(self) -> Iterator[Instruction]:
        while self.suspects and self.in_flight == 0:
            instruction = self.suspects.popleft()
            if instruction.slide_id not in self.dead:
                self.tried_alone.add(instruction)
                self.in_flight += 1
                yield instruction

    def worker_died(self, instruction: Instruction) -> bool:
        """Take note that an instruction's worker died. True: it will run again, alone; False: it did, give it up."""
        if instruction in self.tried_alone:
            return False
        self.in_flight -= 1
        self.suspects.append(instruction)
        return True

    def prepared(self, slide_id: str, groups: Iterable[tuple[int, ...]]) -> None:
        """Take note that a slide is planned and these bundles of strips are missing."""
        self.in_flight -= 1
        missing = list(groups)
        self.left[slide_id] = len(missing)
        if missing:
            self.ready.extend(Process(slide_id, group) for group in missing)
        else:
            self.ready.appendleft(Commit(slide_id))

    def processed(self, slide_id: str) -> None:
        """Take note that one bundle is appended; the last one makes the slide ready to commit."""
        self.in_flight -= 1
        if slide_id in self.dead:
            return
        self.left[slide_id] -= 1
        if self.left[slide_id] == 0:
            self.ready.appendleft(Commit(slide_id))

    def done(self, slide_id: str) -> None:
        """Take note that a slide needs nothing more."""
        self.in_flight -= 1
        self.left.pop(slide_id, None)

    def failed(self, slide_id: str) -> bool:
        """Take note that an instruction failed; its slide is given up. True the first time."""
        self.in_flight -= 1
        first = slide_id not in self.dead
        self.dead.add(slide_id)
        self.left.pop(slide_id, None)
        return first

    def stop(self) -> None:
        """Start nothing more; what is in flight may finish."""
        self.stopping = True
