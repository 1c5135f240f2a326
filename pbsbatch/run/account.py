"""What a run has come to so far: slides' results, the stages' seconds, how far it is; and telling it to who listens.

Law: each slide's end is told once, however often it is reported.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime

from pbsbatch.pipeline import Timings, bound_by
from pbsbatch.run.events import Event, RunFinished, SlideFinished, SlideResult, SlidesChanged
from pbsbatch.run.progress import Progress
from pbsbatch.slides.base import SlideRef

__all__ = ["Account"]

SECONDS_BETWEEN_PROGRESS = 1.0


@dataclass(slots=True)
class Account:
    """The results of a run in progress."""

    refs: Mapping[str, SlideRef]
    progress: Progress
    listener: Callable[[Event], None]
    results: dict[str, SlideResult] = field(default_factory=dict)
    changed: dict[str, str] = field(default_factory=dict)  # slide -> why it is done again
    stages: Timings = field(default_factory=Timings)
    started: float = field(default_factory=time.perf_counter)
    told: float = 0.0

    def tell(self, event: Event) -> None:
        """Pass an event on, and count it."""
        self.progress.note(event)
        self.listener(event)

    def slides_changed(self, changed: Mapping[str, str]) -> None:
        """Take note of slides that an earlier run had done and this one does again, and why."""
        self.changed |= changed
        for why in dict.fromkeys(changed.values()):
            self.tell(SlidesChanged(why, tuple(self.refs[s].name for s, reason in changed.items() if reason == why)))

    def slide_ended(self, result: SlideResult) -> None:
        """Take note of a slide's end."""
        if result.slide_id not in self.results:
            self.results[result.slide_id] = replace(result, changed=self.changed.get(result.slide_id))
            self.tell(SlideFinished(self.results[result.slide_id]))

    def worked(self, timings: Timings) -> None:
        """Add the busy seconds of some work."""
        for name, seconds in asdict(timings).items():
            setattr(self.stages, name, getattr(self.stages, name) + seconds)

    def progress_is_due(self) -> bool:
        """Say whether it is time to tell again how far the run is."""
        return time.perf_counter() - self.told >= SECONDS_BETWEEN_PROGRESS

    def tell_progress(self, *, running: int, eta_s: float | None, deadline: datetime | None) -> None:
        """Tell how far the run is."""
        self.told = time.perf_counter()
        self.listener(self.progress.now(self.told - self.started, running=running, eta_s=eta_s, deadline=deadline))

    def finish(self, seconds: float, stopped: str | None, *, interrupted: bool) -> RunFinished:
        """Gather the run's result, in the order in which slides were found; those without one are pending."""
        rows = tuple(
            self.results.get(ref.id) or SlideResult(ref.id, ref.name, ref.path, ref.sample, "pending")
            for ref in self.refs.values()
        )
        stages = {name: round(value, 3) for name, value in self.stages.busy().items()}
        return RunFinished(rows, seconds, stopped, interrupted, stages, bound_by(self.stages))
