"""What to do next, as pure decisions: events in, instructions out, no I/O, no clock and no Dask.

A slide that was published before is looked at (Look) and kept, or waits like the others. A small one goes
waiting -> in a bundle of slides (Prepare) -> done; a large one is planned there, computed by strips
(Process) and published (Commit). Started slides are finished before new ones
begin; new ones begin largest first, so that no giant is left for the end of the night. A bundle is some
30-60 s of work by the measured pace, less when little is left: all workers end together.

With a deadline slides begin in the user's order, those that can be complete in time before those that
cannot, and nothing starts that cannot end in time. Strips of a slide that will not be complete are no
loss: the next run goes on there.

When a worker dies, what it held runs again (run/blame.py).
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf

from pbsbatch.run.blame import Blame
from pbsbatch.run.instructions import Commit, Instruction, Look, Prepare, Process
from pbsbatch.run.pace import Pace

__all__ = ["IN_FLIGHT_PER_WORKER", "RunState"]

IN_FLIGHT_PER_WORKER = 2
"""One at work and one waiting at the worker, so that none is idle between two tasks."""
BUNDLE_SECONDS = 45.0
"""Work of one bundle: a round trip costs milliseconds, a dead worker costs half of it."""
FIRST_SECONDS = 5.0
"""Work of a bundle, by belief, before anything is measured."""
LEAST_SECONDS = 1.0
MOST_SLIDES = 500
LOOK_SECONDS = 0.02
"""To see whether a published slide may be kept: some small files are read."""
CAUTION = 16
"""Before anything is measured a bundle takes at most so small a part of the time until the deadline, by belief."""
SAFETY = 1.25
"""What must fit before the deadline, as a multiple of what it is predicted to take."""
PREPARE_SECONDS = 5.0
"""Most that it takes to open, survey and plan a large slide."""


@dataclass(slots=True)
class _Started:
    """A planned slide: the strips that nobody has yet, and what is known of its speed."""

    missing: deque[tuple[int, int]]  # strip, tiles
    tiles: int  # that were to do when it was planned
    believed: float  # worker seconds for all of them, before any is measured
    whole: bool  # nothing of it was on disk
    out: int = 0  # bundles in flight or to run again
    done: int = 0  # tiles
    seconds: float = 0.0

    @property
    def tile_seconds(self) -> float:
        return self.seconds / self.done if self.done else self.believed / max(1, self.tiles)

    @property
    def computing(self) -> float:
        """Return the worker seconds of all tiles, done or not."""
        return self.seconds + self.tile_seconds * (self.tiles - self.done)


@dataclass(slots=True)
class RunState:
    """The slides of a run and what is in flight.

    Laws: next() never returns the same instruction twice, but for those whose worker died; with nothing in
    flight it returns something, or a slide is held, or the run is finished; what it returns is predicted to end
    in time.
    """

    sizes: Mapping[str, int]
    rank: Mapping[str, int]  # the order in which slides begin
    waiting: list[str]
    stored: list[str] = field(default_factory=list)  # published by an earlier run; not looked at yet
    pace: Pace = field(default_factory=Pace)
    blame: Blame = field(default_factory=Blame)
    started: dict[str, _Started] = field(default_factory=dict)
    commits: deque[str] = field(default_factory=deque)
    again: deque[Instruction] = field(default_factory=deque)
    in_flight: dict[Instruction, float] = field(default_factory=dict)  # -> predicted seconds
    ended: set[str] = field(default_factory=set)
    stopping: bool = False
    out_of_time: bool = False
    waiting_bytes: int = 0
    held: set[str] = field(default_factory=set)  # wait for their copies (run/staging.py): they may not begin yet
    may_grow: bool = False  # workers may join at any time, and are to find something to do

    @classmethod
    def of(
        cls, sizes: Mapping[str, int], *, stored: Collection[str] = (), begun: Collection[str] = (),
        in_order: bool = False, may_grow: bool = False,
    ) -> RunState:  # fmt: skip
        """Start with nothing done. The order is largest first; if in_order, begun slides and then as given."""
        names = sorted(sizes, key=lambda name: (-sizes[name], name))
        if in_order:
            names = sorted(sizes, key=lambda name: name not in begun)
        waiting = [name for name in names if name not in stored]
        return cls(
            dict(sizes), {name: rank for rank, name in enumerate(names)}, waiting,
            [name for name in names if name in stored], waiting_bytes=sum(sizes[name] for name in waiting),
            may_grow=may_grow,
        )  # fmt: skip

    @property
    def finished(self) -> bool:
        """Say whether nothing is in flight and nothing is left to start, or nothing that ends in time."""
        return not self.in_flight and (self.stopping or self.out_of_time or not self.left)

    @property
    def left(self) -> bool:
        """Say whether anything is left to start."""
        return bool(self.stored or self.waiting or self.started or self.again or self.blame.alone)

    @property
    def running(self) -> int:
        """Return how many slides are at work: planned ones, and those of the bundles in flight."""
        bundles = (i.slides for i in self.in_flight if isinstance(i, Prepare))
        return len(self.started) + sum(s not in self.ended for slides in bundles for s in slides)

    def remaining(self) -> float:
        """Return the predicted worker seconds until everything is done; what is in flight is half done on average."""
        looks = len(self.stored) * LOOK_SECONDS
        waiting = self.pace.slides(len(self.waiting), self.waiting_bytes)
        started = sum(self._rest(slide) for slide in self.started)
        again = sum(self._predict(i) for i in (*self.again, *self.blame.alone))
        prepared = (
            self.pace.slides(1, self.sizes[s]) for i in self.in_flight if isinstance(i, Prepare) for s in i.slides
        )
        giants = sum(seconds for seconds in prepared if seconds > BUNDLE_SECONDS)
        return looks + waiting + started + again + giants + sum(self.in_flight.values()) / 2

    def _rest(self, slide_id: str) -> float:
        """Return the worker seconds that a started slide needs beside what is in flight of it."""
        one = self.started[slide_id]
        return sum(n for _, n in one.missing) * one.tile_seconds + self._commit_seconds(slide_id)

    def _commit_seconds(self, slide_id: str) -> float:
        return self.pace.commit_share * self.started[slide_id].computing

    def _predict(self, instruction: Instruction) -> float:
        """Return the seconds of an instruction, as far as its slides still need it; a giant is only planned by it."""
        match instruction:
            case Look(slides):
                return len(slides) * LOOK_SECONDS
            case Prepare(slides):
                seconds = (self.pace.slides(1, self.sizes[s]) for s in slides if s not in self.ended)
                return sum(s if s <= BUNDLE_SECONDS else PREPARE_SECONDS for s in seconds)
            case _ if instruction.slide_id not in self.started:
                return 0.0
            case Process(slide_id, _, tiles):
                return tiles * self.started[slide_id].tile_seconds
            case Commit(slide_id):
                return self._commit_seconds(slide_id)

    # ---- what to start

    def next(self, workers: int, time_left: float = inf) -> Iterator[Instruction]:
        """Yield what to start now with so many workers and so many seconds until the deadline."""
        if self.stopping or workers == 0:
            return
        if self.blame.alone:
            if not self.in_flight:
                yield from self._begin(self.blame.next_alone(self._live))
            if self.in_flight or self.blame.alone:
                return
        self.out_of_time = False
        while len(self.in_flight) < workers * IN_FLIGHT_PER_WORKER:
            ahead = max(self.in_flight.values()) if len(self.in_flight) >= workers else 0.0
            chosen = self._choose(workers, (time_left - ahead) / SAFETY)
            if chosen is None:
                self.out_of_time = time_left < inf and self.left and not self._awaited(time_left / SAFETY)
                return
            yield from self._begin(chosen)

    def _begin(self, instruction: Instruction | None) -> Iterator[Instruction]:
        if instruction is not None:
            self.in_flight[instruction] = self._predict(instruction)
            yield instruction

    def _choose(self, workers: int, room: float) -> Instruction | None:
        """Return the next instruction that ends within `room` seconds, None if there is none."""
        budget = workers * room - sum(self.in_flight.values()) / 2
        target = self._target(workers, room)
        complete, budget = self._completing(budget)
        parts = self._parts(workers)
        return (
            self._look(room) or self._commit(room) or self._again(room) or self._strips(complete, target, room, parts)
            or self._slides(target, room, budget)
            or self._strips([s for s in self.started if s not in complete], target, room, parts)
            or self._giant(room)
        )  # fmt: skip

    def _target(self, workers: int, room: float) -> float:
        """Return how many seconds a bundle should take: less near the end, so that all workers end together."""
        measured = self.pace.measured or any(one.done for one in self.started.values())
        room = room if measured else room / CAUTION
        if workers == 1 and not self.may_grow:
            return min(room, BUNDLE_SECONDS)
        most = BUNDLE_SECONDS if measured else FIRST_SECONDS
        return min(room, max(LEAST_SECONDS, min(most, self.remaining() / self._parts(workers))))

    def _parts(self, workers: int) -> int:
        """Return into how many bundles at least what is left is cut: as much waits here as is in flight."""
        return 1 if workers == 1 and not self.may_grow else 2 * IN_FLIGHT_PER_WORKER * workers

    def _completing(self, budget: float) -> tuple[list[str], float]:
        """Return the started slides that can be complete within a budget of worker seconds, and what is left of it."""
        complete = []
        for slide_id in self.started:
            rest = self._rest(slide_id)
            if rest <= budget:
                complete.append(slide_id)
                budget -= rest
        return complete, budget

    def _look(self, room: float) -> Look | None:
        if not self.stored or room < min(MOST_SLIDES, len(self.stored)) * LOOK_SECONDS:
            return None
        taken, self.stored = self.stored[:MOST_SLIDES], self.stored[MOST_SLIDES:]
        return Look(tuple(taken))

    def _commit(self, room: float) -> Commit | None:
        for slide_id in self.commits:
            if self._commit_seconds(slide_id) <= room:
                self.commits.remove(slide_id)
                return Commit(slide_id)
        return None

    def _again(self, room: float) -> Instruction | None:
        """Return what must run again and ends in time."""
        for _ in range(len(self.again)):
            instruction = self._live(self.again.popleft())
            if instruction is None:
                continue
            if self._predict(instruction) <= room:
                return instruction
            self.again.append(instruction)
        return None

    def _live(self, instruction: Instruction) -> Instruction | None:
        """Return an instruction without the slides that need nothing more; None if nothing is left of it."""
        if isinstance(instruction, Look | Prepare):
            rest = tuple(s for s in instruction.slides if s not in self.ended)
            return self.blame.renamed(instruction, replace(instruction, slides=rest)) if rest else None
        return None if instruction.slide_id in self.ended else instruction

    def _strips(self, slides: Iterable[str], target: float, room: float, parts: int) -> Process | None:
        for slide_id in slides:
            one = self.started[slide_id]
            taken: list[int] = []
            tiles = 0
            # by the size on disk alone a slide of few bytes and many cells would go to one worker as a whole
            most = inf if one.done else one.tiles / parts
            while one.missing and (
                not taken
                or ((tiles + one.missing[0][1]) * one.tile_seconds <= target and tiles + one.missing[0][1] <= most)
            ):
                if (tiles + one.missing[0][1]) * one.tile_seconds > room:
                    break
                strip, count = one.missing.popleft()
                taken.append(strip)
                tiles += count
            if taken:
                one.out += 1
                return Process(slide_id, tuple(taken), tiles)
        return None

    def _slides(self, target: float, room: float, budget: float) -> Prepare | None:
        """Take waiting slides that can be complete in time, in order, until they make a bundle."""
        taken: list[int] = []
        total = 0.0
        for place, slide_id in enumerate(self.waiting):
            if slide_id in self.held:
                continue
            seconds = self.pace.slides(1, self.sizes[slide_id])
            parallel = seconds > BUNDLE_SECONDS  # so large that it is cut into strips, for all workers
            if seconds > budget - total or (not parallel and total + seconds > room):
                continue
            if taken and total + seconds > target:
                break
            taken.append(place)
            total += seconds
            if total >= target or len(taken) == MOST_SLIDES:
                break
        return self._take(taken)

    def _giant(self, room: float) -> Prepare | None:
        """Begin a slide that cannot be complete in time, but whose strips are kept for the next run."""
        if room < PREPARE_SECONDS:
            return None
        for place, slide_id in enumerate(self.waiting):
            if slide_id not in self.held and self.pace.slides(1, self.sizes[slide_id]) > BUNDLE_SECONDS:
                return self._take([place])
        return None

    def _awaited(self, room: float) -> bool:
        """Say whether a held slide could still begin within `room` seconds."""
        waiting = (self.pace.slides(1, self.sizes[s]) for s in self.waiting if s in self.held)
        return any(
            min(seconds, PREPARE_SECONDS if seconds > BUNDLE_SECONDS else seconds) <= room for seconds in waiting
        )

    def _take(self, places: Sequence[int]) -> Prepare | None:
        if not places:
            return None
        slides = tuple(self.waiting[place] for place in places)
        for place in reversed(places):
            del self.waiting[place]
        self.waiting_bytes -= sum(self.sizes[s] for s in slides)
        return Prepare(slides)

    # ---- what became of it

    def looked(self, instruction: Look, to_do: Iterable[str]) -> None:
        """Take note that slides were looked at, and which of them must be done again."""
        self._ran(instruction)
        for slide_id in to_do:
            insort(self.waiting, slide_id, key=self.rank.__getitem__)
            self.waiting_bytes += self.sizes[slide_id]

    def planned(self, slide_id: str, missing: Mapping[int, int], *, share: float = 1.0) -> None:
        """Take note that a large slide is planned, which strips with how many tiles are missing, and their share."""
        if slide_id in self.ended:
            return
        believed = share * self.pace.slides(1, self.sizes[slide_id])
        tiles = sum(missing.values())
        self.started[slide_id] = _Started(deque(sorted(missing.items())), tiles, believed, whole=share == 1.0)
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
        one.out -= 1
        one.done += instruction.tiles
        one.seconds += seconds
        if one.out == 0 and not one.missing:
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
        live = self._live(instruction)
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
