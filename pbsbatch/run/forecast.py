"""How long still? Worker seconds of an instruction, of a slide, and of everything that is left. Pure."""

from __future__ import annotations

from pbsbatch.run.instructions import Commit, Instruction, Look, Prepare, Process
from pbsbatch.run.state import RunState
from pbsbatch.run.waiting import BUNDLE_SECONDS, PREPARE_SECONDS

__all__ = ["LOOK_SECONDS", "commit_seconds", "predict", "remaining", "rest"]

LOOK_SECONDS = 0.02
"""To see whether a published slide may be kept: some small files are read."""


def remaining(state: RunState) -> float:
    """Return the predicted worker seconds until everything is done; what is in flight is half done on average."""
    looks = len(state.stored) * LOOK_SECONDS
    started = sum(rest(state, slide_id) for slide_id in state.started)
    again = sum(predict(state, one) for one in (*state.again, *state.blame.alone))
    prepared = (state.waiting.seconds_of(s) for i in state.in_flight if isinstance(i, Prepare) for s in i.slides)
    giants = sum(seconds for seconds in prepared if seconds > BUNDLE_SECONDS)
    return looks + state.waiting.seconds + started + again + giants + sum(state.in_flight.values()) / 2


def rest(state: RunState, slide_id: str) -> float:
    """Return the worker seconds that a started slide needs beside what is in flight of it."""
    return state.started[slide_id].unclaimed + commit_seconds(state, slide_id)


def commit_seconds(state: RunState, slide_id: str) -> float:
    """Return the worker seconds to settle and publish a started slide."""
    return state.pace.commit_share * state.started[slide_id].computing


def predict(state: RunState, instruction: Instruction) -> float:
    """Return the seconds of an instruction, as far as its slides still need it; a giant is only planned by it."""
    match instruction:
        case Look(slides):
            return len(slides) * LOOK_SECONDS
        case Prepare(slides):
            seconds = (state.waiting.seconds_of(s) for s in slides if s not in state.ended)
            return sum(s if s <= BUNDLE_SECONDS else PREPARE_SECONDS for s in seconds)
        case _ if instruction.slide_id not in state.started:
            return 0.0
        case Process(slide_id, _, tiles):
            return tiles * state.started[slide_id].tile_seconds
        case Commit(slide_id):
            return commit_seconds(state, slide_id)
