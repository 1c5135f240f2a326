"""The stream of one bundle: many slides in, strips out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pbsbatch.config import Config
from pbsbatch.detections import Detections
from pbsbatch.pipeline import Job, process
from pbsbatch.plan import Needs, make_plan
from pbsbatch.store import TileRows
from pbsbatch.testing.oracle import SPEC, FakeOracleEngine, FakeOracleModel, colour
from pbsbatch.testing.slides import FakeSlide
from tests.oracle import draw_cells


class Kept:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.strips: dict[int, tuple[Detections, TileRows]] = {}

    def append(self, strip: int, cells: Detections, tiles: TileRows) -> None:
        assert strip not in self.strips
        self.strips[strip] = (cells, tiles)


def job(number: int, foreground: bool = True) -> Job:
    slide = FakeSlide(colour(draw_cells(200, 160, 20, seed=number)), id=f"s{number}")
    needs = Needs(SPEC.work_mpp, SPEC.max_cell_um, SPEC.context_px)
    plan = make_plan(
        slide_id=slide.id, levels=slide.levels, mpp=0.25, mpp_source="given", needs=needs, config=Config(),
        foreground=np.full((4, 4), foreground),
    )  # fmt: skip
    return Job(slide, plan, {}, tuple(range(plan.strips)), Kept())


def test_slides_are_taken_when_they_are_needed_and_each_strip_comes_out_once() -> None:
    taken: list[str] = []

    def jobs() -> Iterator[Job]:
        for number in range(300):
            one = job(number, foreground=number % 7 != 3)  # some have nothing to read
            taken.append(one.plan.slide_id)
            yield one

    seen = []
    for done in process(jobs(), FakeOracleModel(), FakeOracleEngine()):
        if not seen:
            assert len(taken) < 280, "every slide was opened before the first one was done"
        seen.append(done.slide_id)
    assert sorted(seen) == sorted(taken)
