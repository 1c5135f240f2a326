"""What goes into a stream and what comes out of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pbsbatch.detections import Detections
from pbsbatch.errors import PbsbatchError
from pbsbatch.geometry import Tile
from pbsbatch.models.base import Calibration
from pbsbatch.plan import Plan
from pbsbatch.slides.base import Slide
from pbsbatch.store import TileRows

__all__ = ["OF_LANES", "CandidateSink", "Failed", "Job", "Refiner", "Sink", "StripDone", "Timings", "bound_by"]


class Sink(Protocol):
    """Where the strips of one slide go."""

    def append(self, strip: int, cells: Detections, tiles: TileRows) -> None: ...


class CandidateSink(Protocol):
    """Where the candidates of one slide go, for who asked for them."""

    def append(self, strip: int, candidates: NDArray[Any]) -> None:
        """Keep a strip's candidates. Law: they are kept before the strip's cells are."""
        ...


class Refiner(Protocol):
    """A second look at some cells. Laws: any thread may call it; the number and the order of cells stay; what becomes
    of a cell depends on its own box and the slide's pixels around it, never on its tile or on the cells beside it.
    """

    def look(self, cells: Detections, tile: Tile, plan: Plan, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """Return what it cuts of each cell that it will name, (n, ...) in order, while the tile's pixels are there.

        Cells are in level-0 pixels; pixels are those of tile.read, and change after the call.
        """
        ...

    def refine(self, cells: Detections, crops: NDArray[Any]) -> Detections:
        """Return the cells of whole strips, of any number of slides, refined by the crops that `look` gave for them."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """The strips of one slide that a bundle holds, with everything needed to compute them."""

    slide: Slide
    plan: Plan
    calibration: Calibration
    strips: tuple[int, ...]
    sink: Sink
    keep: CandidateSink | None = None


OF_LANES = ("carried", "starved")
"""No stage's work, but how long lanes had a batch and how long they waited for one, by the clock on the wall."""


@dataclass(slots=True)
class Timings:
    """Busy seconds per stage: processor time, so that neither waiting nor other processes count."""

    prepare: float = 0.0
    read: float = 0.0
    infer: float = 0.0
    decode: float = 0.0
    refine: float = 0.0
    write: float = 0.0
    settle: float = 0.0
    carried: float = 0.0
    starved: float = 0.0

    def busy(self) -> dict[str, float]:
        """Return the seconds of work by stage."""
        return {name: seconds for name, seconds in asdict(self).items() if name not in OF_LANES}


def bound_by(timings: Timings) -> str:
    """Say which stage a run waited for: reading where lanes waited for pixels longer than they had some, else the
    busiest.
    """
    busy = timings.busy()
    busiest = max(busy, key=lambda name: busy[name])
    if timings.starved > timings.carried:
        return "read"
    return busiest if busy[busiest] else "nothing"


@dataclass(frozen=True, slots=True)
class StripDone:
    """One strip is safe in its sink."""

    slide_id: str
    strip: int
    tiles: int
    failed_tiles: tuple[tuple[int, str], ...]
    cells: int
    pixels: int  # computed, in work pixels


@dataclass(frozen=True, slots=True)
class Failed:
    """One slide cannot be read or kept on. The other slides of the stream are not touched."""

    slide_id: str
    error: PbsbatchError
