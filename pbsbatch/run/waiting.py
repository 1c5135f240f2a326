"""The slides that nobody has begun: in which order they begin, and how many go into one bundle. Pure.

They begin largest first, so that no giant is left for the end of the night; with a deadline in the user's order,
those that can be complete in time before those that cannot. A slide that is held waits for its copy
(run/staging.py), and others go before it.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from pbsbatch.run.instructions import Prepare
from pbsbatch.run.pace import Pace

__all__ = ["BUNDLE_SECONDS", "MOST_SLIDES", "PREPARE_SECONDS", "Waiting", "in_which_order"]

BUNDLE_SECONDS = 45.0
"""Work of one bundle: a round trip costs milliseconds, a dead worker costs half of it."""
MOST_SLIDES = 500
PREPARE_SECONDS = 5.0
"""Most that it takes to open, survey and plan a large slide."""


def in_which_order(sizes: Mapping[str, int], begun: Collection[str], *, as_given: bool) -> list[str]:
    """Return slides largest first; or begun ones, and then as given."""
    if as_given:
        return sorted(sizes, key=lambda name: name not in begun)
    return sorted(sizes, key=lambda name: (-sizes[name], name))


@dataclass(slots=True)
class Waiting:
    """The slides that wait, in order. Law: each is taken once."""

    sizes: Mapping[str, int]
    rank: Mapping[str, int]  # the order in which slides begin
    pace: Pace
    names: list[str]
    held: set[str] = field(default_factory=set)  # wait for their copies: they may not begin yet
    bytes: int = field(init=False)

    def __post_init__(self) -> None:
        self.bytes = sum(self.sizes[name] for name in self.names)

    @property
    def seconds(self) -> float:
        """Return the worker seconds of all that wait."""
        return self.pace.slides(len(self.names), self.bytes)

    def seconds_of(self, slide_id: str) -> float:
        """Return the predicted worker seconds of one slide, waiting or not."""
        return self.pace.slides(1, self.sizes[slide_id])

    def put(self, slide_id: str) -> None:
        """Let a slide wait where its turn is."""
        insort(self.names, slide_id, key=self.rank.__getitem__)
        self.bytes += self.sizes[slide_id]

    def bundle(self, target: float, room: float, budget: float) -> Prepare | None:
        """Take slides that can be complete in time, in order, until they make a bundle of `target` seconds.

        Small ones must end within `room` seconds, those that all workers share within `budget` seconds of all workers.
        """
        taken: list[int] = []
        total = 0.0
        for place, slide_id in enumerate(self.names):
            if slide_id in self.held:
                continue
            seconds = self.seconds_of(slide_id)
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

    def giant(self, room: float) -> Prepare | None:
        """Begin a slide that cannot be complete in time, but whose strips are kept for the next run."""
        if room < PREPARE_SECONDS:
            return None
        for place, slide_id in enumerate(self.names):
            if slide_id not in self.held and self.seconds_of(slide_id) > BUNDLE_SECONDS:
                return self._take([place])
        return None

    def awaited(self, room: float) -> bool:
        """Say whether a held slide could still begin within `room` seconds."""
        seconds = (self.seconds_of(slide_id) for slide_id in self.names if slide_id in self.held)
        return any(min(one, PREPARE_SECONDS if one > BUNDLE_SECONDS else one) <= room for one in seconds)

    def _take(self, places: Sequence[int]) -> Prepare | None:
        if not places:
            return None
        slides = tuple(self.names[place] for place in places)
        for place in reversed(places):
            del self.names[place]
        self.bytes -= sum(self.sizes[slide_id] for slide_id in slides)
        return Prepare(slides)
