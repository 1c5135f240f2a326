"""How fast this machine is: a drawn smear goes through everything that a run does, for some seconds.

The figure is of one process that uses every core, from the open slide to the committed store. Law: what is counted is
what a run counts, by the same clock; nothing is extrapolated but the size of the slide.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from pbsbatch.config import Config
from pbsbatch.engines.base import Engine
from pbsbatch.errors import UnreadableSlideError
from pbsbatch.models.base import Model
from pbsbatch.pipeline import Timings
from pbsbatch.run.bundle import prepare_slides
from pbsbatch.run.prepare import Workbench
from pbsbatch.slides.base import SlideRef
from pbsbatch.synth import Scene, write_slide

__all__ = ["TYPICAL_MM2", "Speed", "measure_speed"]

SIDE_PX = 2560
TYPICAL_MM2 = 200.0
"""Area with cells of a typical smear."""


@dataclass(frozen=True, slots=True)
class Speed:
    """What was measured. mpix is megapixels at the model's working scale."""

    slides: int
    seconds: float
    mpix: float
    mm2: float
    busy: dict[str, float]  # seconds of work by stage, of all cores

    @property
    def slides_per_hour(self) -> float:
        """Return how many typical slides an hour makes at this rate."""
        return 3600 * self.mm2 / self.seconds / TYPICAL_MM2

    def per_core(self) -> dict[str, float]:
        """Return megapixels per core-second of each stage that did anything."""
        return {stage: self.mpix / seconds for stage, seconds in self.busy.items() if seconds > 0}


def measure_speed(model: Model, engine: Engine, seconds: float, side_px: int = SIDE_PX) -> Speed:
    """Run a smear through the engine again and again. The first time, which compiles, is not counted."""
    with tempfile.TemporaryDirectory(prefix="pbsbatch-speed-") as work:
        folder = Path(work)
        slide = folder / "smear.tif"
        write_slide(Scene(side_px, side_px, seed=1), slide, workers=2)
        _once(slide, folder / "warm", model, engine)
        busy: dict[str, float] = {}
        mpix, mm2, count = 0.0, 0.0, 0
        start = time.perf_counter()
        while count == 0 or time.perf_counter() - start < seconds:
            found, done_mpix, done_mm2 = _once(slide, folder / str(count), model, engine)
            busy = {stage: busy.get(stage, 0.0) + spent for stage, spent in found.busy().items()}
            mpix, mm2, count = mpix + done_mpix, mm2 + done_mm2, count + 1
        return Speed(count, time.perf_counter() - start, mpix, mm2, busy)


def _once(slide: Path, out: Path, model: Model, engine: Engine) -> tuple[Timings, float, float]:
    """Do one slide whole, and return its timings, its megapixels, and its area with cells."""
    bench = Workbench(Config(output=out), model, engine, None, nullcontext)
    bundle = prepare_slides(bench, [SlideRef("speed-00000000", slide, slide.name, "speed")], lambda _: None)
    result = bundle.results[0]
    if result.status != "ok" or result.roi_px is None or result.mpp is None:
        raise UnreadableSlideError(f"the drawn smear could not be done: {result.error}", path=slide)
    return bundle.timings, result.computed_mpix or 0.0, result.roi_px * result.mpp**2 / 1e6
