"""How far a run is: what waits, what is begun, in flight, ended. Events change it, purely: no I/O, no clock, no Dask.

A slide that was published before is looked at (Look) and kept, or waits like the others. A small one goes
waiting -> in a bundle of slides (Prepare) -> done; a large one is planned there, computed by strips
(Process) and published (Commit). What starts next is decided in run/choice.py, by what run/forecast.py
expects. When a worker dies, what it held runs again (run/blame.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from pbsbatch.run.blame import Blame
from pbsbatch.run.instructions import Commit, Instruction, Look, Prepare, Process
from pbsbatch.run.pace import Pace
from pbsbatch.run.started import Started
from pbsbatch.run.waiting import Waiting, in_which_order

__all__ = ["RunState"]


@dataclass(slots=True)
class RunState:
    """The slides of a run and what is in flight. Law: a slide ends once, and one that ended needs nothing more."""

    sizes: Mapping[str, int]
    waiting: Waiting
    stored: list[str] = field(default_factory=list)  # published by an earlier run; not looked at yet
    pace: Pace = field(default_factory=Pace)
    blame: Blame = field(default_factory=Blame)
    started: dict[str, Started] = field(default_factory=dict)
    commits: deque[str] = field(default_factory=deque)
    again: deque[Instruction] = field(default_factory=deque)
    in_flight: dict[Instruction, float] = field(default_factory=dict)  # -> predicted seconds
    ended: set[str] = field(default_factory=set)
    stopping: bool = False
    out_of_time: bool = False
    may_grow: bool = False  # workers may join at any time, and are to find something to do

    @classmethod
    def of(
        cls, sizes: Mapping[str, int], *, stored: Collection[str] = (), begun: Collection[str] = (),
        in_order: bool = False, may_grow: bool = False,
    ) -> RunState:  # fmt: skip
        """Start with nothing done. The order is largest first; if in_order, begun slides and then as given."""
        names, pace = in_which_order(sizes, begun, as_given=in_order), Pace()
        rank = {name: place for place, name in enumerate(names)}
        waiting = Waiting(sizes, rank, pace, [name for name in names if name not in stored])
        return cls(dict(sizes), waiting, [name for name in names if name in stored], pace, may_grow=may_grow)

    @property
    def finished(self) -> bool:
        """Say whether nothing is in flight and nothing is left to start, or nothing that ends in time."""
        return not self.in_flight and (self.stopping or self.out_of_time or not self.left)

    @property
    def left(self) -> bool:
        """Say whether anything is left to start."""
        return bool(self.stored or self.waiting.names or self.started or self.again or self.blame.alone)

    @property
    def running(self) -> int:
        """Return how many slides are at work: planned ones, and those of the bundles in flight."""
        bundles = (i.slides for i in self.in_flight if isinstance(i, Prepare))
        return len(self.started) + sum(s not in self.ended for slides in bundles for s in slides)

    def live(self, instruction: Instruction) -> Instruction | None:
        """Return an instruction without the slides that need nothing more; None if nothing is left of it."""
        if isinstance(instruction, Look | Prepare):
            rest = tuple(s for s in instruction.slides if s not in self.ended)
            return self.blame.renamed(instruction, replace(instruction, slides=rest)) if rest else None
        return None if instruction.slide_id in self.ended else instruction

    def looked(self, instruction: Look, to_do: Iterable[str]) -> None:
        """Take note that slides were looked at, and which of them must be done again."""
        self._ran(instruction)
        for slide_id in to_do:
            self.waiting.put(slide_id)

    def planned(self, slide_id: str, missing: Mapping[int, int], *, share: float = 1.0) -> None:
        """Take note that a large slide is planned, which strips with how many tiles are missing, and their share."""
        if slide_id in self.ended:
            return
        believed = share * self.waiting.seconds_of(slide_id)
        self.started[slide_id] = Started.of(missing, believed, whole=share == 1.0)
        if not missing:
            self.commits.append(slide_id)

    def prepared(self, instruction: Prepare, *, count: int, size: int, seconds: float) -> None:
        """Take note that a bundle of slides ended; so many of them, of so many bytes, were computed whole in it."""
        self._ran(instruction)
        self.pace.learn(count, size, seconds)

    def processed(self, instruction: Process, seconds: float) -> None:
        """Take note that strips are appended; the last ones make the slide ready to commit."""
        self._ran(instruction)
        one = self.started.get(instruction.slide_id)
        if one is None:
            return
        one.processed(instruction.tiles, seconds)
        if one.complete:
            self.commits.append(instruction.slide_id)

    def committed(self, instruction: Commit, seconds: float) -> None:
        """Take note that a planned slide is published."""
        self._ran(instruction)
        one = self.started.get(instruction.slide_id)
        if one is not None and one.done:
            self.pace.learn_commit(one.seconds, seconds)
            if one.whole:
                self.pace.learn(1, self.sizes[instruction.slide_id], one.seconds + seconds)
        self.slide_ended(instruction.slide_id)

    def _ran(self, instruction: Instruction) -> None:
        del self.in_flight[instruction]
        self.blame.cleared(instruction)

    def slide_ended(self, slide_id: str) -> bool:
        """Take note that a slide is done or given up. True the first time."""
        first = slide_id not in self.ended
        self.ended.add(slide_id)
        self.started.pop(slide_id, None)
        if slide_id in self.commits:
            self.commits.remove(slide_id)
        return first

    def lost(self, instruction: Instruction) -> str | None:
        """Take note that an instruction's worker died. Return the slide to give up, None while it is tried again."""
        return self._blamed(instruction, crash=True)

    def raised(self, instruction: Instruction) -> str | None:
        """Take note that an instruction failed as a whole. Return the slide to give up, None if others are with it."""
        return self._blamed(instruction, crash=False)

    def _blamed(self, instruction: Instruction, *, crash: bool) -> str | None:
        del self.in_flight[instruction]
        live = self.live(instruction)
        if live is None:
            return None
        verdict = self.blame.judge(live, crash=crash)
        self.again.extend(verdict.again)
        return verdict.guilty

    def abandoned(self, instruction: Instruction) -> None:
        """Take note that an instruction ended without a result because the run stops."""
        del self.in_flight[instruction]

    def stop(self) -> None:
        """Start nothing more; what is in flight may finish."""
        self.stopping = True
