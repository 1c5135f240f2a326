"""What to start next? Instructions out of a RunState, as pure decisions.

Started slides are finished before new ones begin. A bundle is some 30-60 s of work by the measured pace, less when
little is left: all workers end together. With a deadline nothing starts that cannot end in time. Strips of a slide
that will not be complete are no loss: the next run goes on there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import inf

from pbsbatch.run.forecast import LOOK_SECONDS, commit_seconds, predict, remaining, rest
from pbsbatch.run.instructions import Commit, Instruction, Look, Process
from pbsbatch.run.state import RunState
from pbsbatch.run.waiting import BUNDLE_SECONDS, MOST_SLIDES

__all__ = ["IN_FLIGHT_PER_WORKER", "LEAST_SECONDS", "start_next"]

IN_FLIGHT_PER_WORKER = 2
"""One at work and one waiting at the worker, so that none is idle between two tasks."""
FIRST_SECONDS = 5.0
"""Work of a bundle, by belief, before anything is measured."""
LEAST_SECONDS = 1.0
CAUTION = 16
"""Before anything is measured a bundle takes at most so small a part of the time until the deadline, by belief."""
SAFETY = 1.25
"""What must fit before the deadline, as a multiple of what it is predicted to take."""


def start_next(state: RunState, workers: int, time_left: float = inf) -> Iterator[Instruction]:
    """Yield what to start now with so many workers and so many seconds until the deadline; it is in flight then.

    Laws: the same instruction never comes twice, but for those whose worker died; with nothing in flight something
    comes, or a slide is held, or the run is finished; what comes is predicted to end in time.
    """
    if state.stopping or workers == 0:
        return
    if state.blame.alone:
        if not state.in_flight:
            yield from _begin(state, state.blame.next_alone(state.live))
        if state.in_flight or state.blame.alone:
            return
    state.out_of_time = False
    while len(state.in_flight) < workers * IN_FLIGHT_PER_WORKER:
        ahead = max(state.in_flight.values()) if len(state.in_flight) >= workers else 0.0
        chosen = _choose(state, workers, (time_left - ahead) / SAFETY)
        if chosen is None:
            state.out_of_time = time_left < inf and state.left and not state.waiting.awaited(time_left / SAFETY)
            return
        yield from _begin(state, chosen)


def _begin(state: RunState, instruction: Instruction | None) -> Iterator[Instruction]:
    if instruction is not None:
        state.in_flight[instruction] = predict(state, instruction)
        yield instruction


def _choose(state: RunState, workers: int, room: float) -> Instruction | None:
    """Return the next instruction that ends within `room` seconds, None if there is none."""
    budget = workers * room - sum(state.in_flight.values()) / 2
    target, parts = _target(state, workers, room), _parts(state, workers)
    complete, budget = _completing(state, budget)
    return (
        _look(state, room) or _commit(state, room) or _again(state, room)
        or _strips(state, complete, target, room, parts)
        or state.waiting.bundle(target, room, budget)
        or _strips(state, [s for s in state.started if s not in complete], target, room, parts)
        or state.waiting.giant(room)
    )  # fmt: skip


def _target(state: RunState, workers: int, room: float) -> float:
    """Return how many seconds a bundle should take: less near the end, so that all workers end together."""
    measured = state.pace.measured or any(one.done for one in state.started.values())
    room = room if measured else room / CAUTION
    if workers == 1 and not state.may_grow:
        return min(room, BUNDLE_SECONDS)
    most = BUNDLE_SECONDS if measured else FIRST_SECONDS
    return min(room, max(LEAST_SECONDS, min(most, remaining(state) / _parts(state, workers))))


def _parts(state: RunState, workers: int) -> int:
    """Return into how many bundles at least what is left is cut: as much waits here as is in flight."""
    return 1 if workers == 1 and not state.may_grow else 2 * IN_FLIGHT_PER_WORKER * workers


def _completing(state: RunState, budget: float) -> tuple[list[str], float]:
    """Return the started slides that can be complete within a budget of worker seconds, and what is left of it."""
    complete = []
    for slide_id in state.started:
        seconds = rest(state, slide_id)
        if seconds <= budget:
            complete.append(slide_id)
            budget -= seconds
    return complete, budget


def _look(state: RunState, room: float) -> Look | None:
    if not state.stored or room < min(MOST_SLIDES, len(state.stored)) * LOOK_SECONDS:
        return None
    taken, state.stored = state.stored[:MOST_SLIDES], state.stored[MOST_SLIDES:]
    return Look(tuple(taken))


def _commit(state: RunState, room: float) -> Commit | None:
    for slide_id in state.commits:
        if commit_seconds(state, slide_id) <= room:
            state.commits.remove(slide_id)
            return Commit(slide_id)
    return None


def _again(state: RunState, room: float) -> Instruction | None:
    """Return what must run again and ends in time."""
    for _ in range(len(state.again)):
        instruction = state.live(state.again.popleft())
        if instruction is None:
            continue
        if predict(state, instruction) <= room:
            return instruction
        state.again.append(instruction)
    return None


def _strips(state: RunState, slides: Iterable[str], target: float, room: float, parts: int) -> Process | None:
    for slide_id in slides:
        strips, tiles = state.started[slide_id].take(target, room, parts)
        if strips:
            return Process(slide_id, strips, tiles)
    return None
