"""What a run tells the outside: small frozen values, in the order things became true."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from pbsbatch.quality import Measures
from pbsbatch.run.content import Content

__all__ = [
    "STAGES_SAID",
    "ContentSeen",
    "EngineSaid",
    "Event",
    "ReadInPlace",
    "RunFinished",
    "RunProgress",
    "RunStarted",
    "SlideFinished",
    "SlidePlanned",
    "SlideResult",
    "SlidesChanged",
    "StripFinished",
    "WorkerDied",
]


@dataclass(frozen=True, slots=True)
class SlideResult:
    """What one slide came to: a row of summary.csv before formatting."""

    slide_id: str
    name: str
    path: Path
    sample: str
    status: str  # ok, failed, skipped, pending
    error: str | None = None
    details: str | None = None  # the traceback of an error that nobody expected, for run.log
    width_px: int | None = None
    height_px: int | None = None
    mpp: float | None = None
    mpp_source: str | None = None
    scale_confidence: float | None = None
    roi_px: float | None = None  # level-0 px
    analysed_px: float | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    measures: Measures | None = None  # what the store's tables say; None where nothing is committed
    failed_tiles: tuple[tuple[int, str], ...] = ()
    seconds: float | None = None
    computed_mpix: float | None = None
    core_share: float | None = None  # of what was computed; the rest is halo
    store: Path | None = None
    resumed: bool = False  # committed by an earlier run
    changed: str | None = None  # why what an earlier run committed was made again


@dataclass(frozen=True, slots=True)
class RunStarted:
    """Discovery is done and the workers are up."""

    sizes: Mapping[str, int]  # bytes on disk per slide id: what progress is weighed by until tiles are known
    skipped: int
    workers: int
    engine: str
    model: str
    notes: tuple[str, ...] = ()
    classifier: str | None = None  # that names white cells
    kernels: str = ""  # how long the workers' kernels took, and whether they had to be compiled


@dataclass(frozen=True, slots=True)
class SlidePlanned:
    """One slide is opened, calibrated and cut."""

    slide_id: str
    name: str
    facts: Mapping[str, Any]
    strips_left: int
    tiles_left: int


@dataclass(frozen=True, slots=True)
class StripFinished:
    """One strip is safe on disk."""

    slide_id: str
    tiles: int
    failed_tiles: int
    cells: int
    mpix: float


@dataclass(frozen=True, slots=True)
class SlideFinished:
    """One slide is committed or has failed."""

    result: SlideResult


@dataclass(frozen=True, slots=True)
class SlidesChanged:
    """Slides that an earlier run had done are done again, and why."""

    why: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WorkerDied:
    """A worker died; what it held runs again."""

    why: str


@dataclass(frozen=True, slots=True)
class EngineSaid:
    """An engine did something that a person should know of, such as to halve its batches for want of memory."""

    text: str


@dataclass(frozen=True, slots=True)
class ContentSeen:
    """A worker digested a slide's content: for the next run, which need not read it again. Nobody listens to it."""

    slide_id: str
    content: Content


@dataclass(frozen=True, slots=True)
class ReadInPlace:
    """A slide is not read from the stage but where it lies, and why."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class RunProgress:
    """How far a run is; told about once a second."""

    total: int  # slides
    done: int  # committed, those of earlier runs (kept) too
    failed: int
    kept: int
    running: int
    names: tuple[tuple[str, int, int], ...]  # large slides at work: name, tiles done, tiles in all
    tiles: int
    mpix: float  # computed by this run, as are cells
    cells: int
    seconds: float
    share: float  # of the work, 0 to 1
    eta_s: float | None = None
    deadline: datetime | None = None
    deadline_holds: bool | None = None

    @property
    def mpix_per_s(self) -> float:
        return self.mpix / self.seconds if self.seconds else 0.0

    @property
    def cells_per_s(self) -> float:
        return self.cells / self.seconds if self.seconds else 0.0


STAGES_SAID: Final[Mapping[str, str]] = {
    "prepare": "opening slides", "read": "reading", "infer": "the network", "decode": "decoding cells",
    "refine": "naming white cells", "write": "writing", "settle": "settling stores",
}  # fmt: skip
"""What the stages of a run are called to a person; files say their names."""


@dataclass(frozen=True, slots=True)
class RunFinished:
    """Nothing more will happen. stopped says why the run ended early, None if it did not."""

    results: tuple[SlideResult, ...]
    seconds: float
    stopped: str | None
    interrupted: bool  # stopped by a person or the system, not by a deadline or a full disk
    stages: Mapping[str, float]
    bound_by: str  # a stage, or nothing

    @property
    def core_share(self) -> float | None:
        """Return which share of the computed pixels the slides' cores were; None where nothing was computed."""
        done = [(r.computed_mpix, r.core_share) for r in self.results if r.computed_mpix and r.core_share is not None]
        mpix = sum(computed for computed, _ in done)
        return sum(computed * share for computed, share in done) / mpix if mpix else None


Event = (
    RunStarted
    | SlidePlanned
    | StripFinished
    | SlideFinished
    | ContentSeen
    | SlidesChanged
    | WorkerDied
    | EngineSaid
    | ReadInPlace
    | RunProgress
    | RunFinished
)
