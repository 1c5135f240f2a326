"""The stream of one bundle: many slides in, strips out."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pbsbatch.config import Config
from pbsbatch.detections import Detections
from pbsbatch.errors import OutputError, StoreError, TileError, UnreadableSlideError
from pbsbatch.geometry import Tile
from pbsbatch.models.base import Raw
from pbsbatch.pipeline import Failed, Job, StripDone, Timings, bound_by, process
from pbsbatch.plan import Needs, Plan, make_plan
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


def job(number: int, foreground: bool = True, width: int = 200, config: Config | None = None) -> Job:
    slide = FakeSlide(colour(draw_cells(width, 160, 20, seed=number)), id=f"s{number}")
    needs = Needs(SPEC.work_mpp, SPEC.max_cell_um, SPEC.context_px)
    plan = make_plan(
        slide_id=slide.id, levels=slide.levels, mpp=0.25, mpp_source="given", needs=needs, config=config or Config(),
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


def run(jobs: list[Job], **settings: Any) -> list[StripDone | Failed]:
    return list(process(jobs, FakeOracleModel(), FakeOracleEngine(), **settings))


def cells_of(one: Job) -> list[tuple[Any, ...]]:
    assert isinstance(one.sink, Kept)
    return [
        (strip, cells.boxes.tobytes(), cells.bits.tobytes(), cells.tiles.tobytes(), rows.core.tobytes())
        for strip, (cells, rows) in sorted(one.sink.strips.items())
    ]


def test_slides_of_several_shapes_in_one_stream_come_out_as_each_does_alone() -> None:
    small = Config(core=64)
    make = [lambda k=k: job(k, width=(200, 333)[k % 2], config=small if k % 3 else None) for k in range(12)]
    together = [one() for one in make]
    run(together)
    for number, one in enumerate(make):
        alone = one()
        run([alone])
        assert cells_of(alone) == cells_of(together[number])
        assert len(cells_of(alone)) == alone.plan.strips > 0


class Broken(FakeSlide):
    """A slide that fails as it is told."""

    error: Exception = UnreadableSlideError("torn", path="s.tif")

    def read_scaled(self, scale: float, x: int, y: int, w: int, h: int) -> NDArray[np.uint8]:
        raise self.error


class Refusing:
    """A sink that takes nothing."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def append(self, strip: int, cells: Detections, tiles: TileRows) -> None:
        raise self.error


def threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith(("read-", "lane-", "write"))]


def test_a_slide_that_cannot_be_read_or_kept_fails_alone_and_is_said_once() -> None:
    jobs = [job(k, config=Config(core=64)) for k in range(6)]
    jobs[1] = replace(jobs[1], slide=Broken(np.zeros((160, 200, 3), np.uint8), id="s1"))
    jobs[4] = replace(jobs[4], sink=Refusing(StoreError("gone")))
    done = run(jobs)
    failed = [d for d in done if isinstance(d, Failed)]
    assert sorted((f.slide_id, f.error.what) for f in failed) == [("s1", "torn"), ("s4", "gone")]
    fine = [d.slide_id for d in done if isinstance(d, StripDone)]
    assert set(fine) >= {"s0", "s2", "s3", "s5"}
    assert all(fine.count(f"s{k}") == jobs[k].plan.strips for k in (0, 2, 3, 5))


def test_a_tile_that_cannot_be_read_costs_that_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Broken, "error", TileError("bad tile"))
    one = job(1, config=Config(core=64))
    broken = replace(one, slide=Broken(np.zeros((160, 200, 3), np.uint8), id="s1"))
    done = run([broken, job(2)])
    assert sum(len(d.failed_tiles) for d in done if isinstance(d, StripDone)) == one.plan.tiles > 1
    assert not any(isinstance(d, Failed) for d in done)


@pytest.mark.parametrize("error", [OutputError("full"), ZeroDivisionError("a bug"), KeyboardInterrupt()])
@pytest.mark.parametrize("where", ["read", "append", "engine", "jobs"])
def test_what_all_slides_would_meet_ends_the_stream_once_and_leaves_no_thread(
    where: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Broken, "error", error)
    jobs = [job(k) for k in range(30)]
    if where == "read":
        jobs[7] = replace(jobs[7], slide=Broken(np.zeros((160, 200, 3), np.uint8), id="s7"))
    if where == "append":
        jobs[7] = replace(jobs[7], sink=Refusing(error))
    engine = FakeOracleEngine()
    if where == "engine":
        monkeypatch.setattr(FakeOracleEngine, "__call__", lambda *_: (_ for _ in ()).throw(error))

    def taken() -> Iterator[Job]:
        yield from jobs
        if where == "jobs":
            raise error

    with pytest.raises(type(error)) as caught:
        list(process(taken(), FakeOracleModel(), engine))
    assert caught.value is error
    assert threads() == []


def test_stopping_early_leaves_no_thread_and_no_open_job_list() -> None:
    closed = threading.Event()

    def endless() -> Iterator[Job]:
        try:
            for number in range(10**6):
                yield job(number % 50)
        finally:
            closed.set()

    stream = process(endless(), FakeOracleModel(), FakeOracleEngine())
    next(stream)
    assert threads()
    stream.close()
    assert threads() == []
    assert closed.is_set()


class Renamer:
    """A refiner that gives each cell of class 1 the type of the parity of its centre's blue, read off its crop."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def look(self, cells: Detections, tile: Tile, plan: Plan, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        at = cells.centres[cells.classes == 1] / plan.scale - (tile.read.x, tile.read.y)
        return np.array([pixels[int(y), int(x)] for x, y in at], np.uint8).reshape(-1, 1, 1, 3)

    def refine(self, cells: Detections, crops: NDArray[np.uint8]) -> Detections:
        self.batches.append(len(crops))
        types, scores = cells.types.copy(), cells.type_scores.copy()
        types[cells.classes == 1] = crops[:, 0, 0, 2] % 2
        scores[cells.classes == 1] = 1.0
        return replace(cells, types=types, type_scores=scores)


def test_refining_is_the_same_for_any_grid_and_company_and_comes_in_batches_over_slides() -> None:
    def types(jobs: list[Job]) -> dict[tuple[int, bytes], int]:
        found = {}
        for number, one in enumerate(jobs):
            assert isinstance(one.sink, Kept)
            for cells, _ in one.sink.strips.values():
                for k in np.flatnonzero((cells.flags & 1) > 0):
                    found[number, cells.boxes[k].tobytes()] = int(cells.types[k])
        return found

    refiner = Renamer()
    together = [job(k) for k in range(20)]
    run(together, refiner=refiner)
    assert max(refiner.batches) > 20, "cells of several slides share a batch"
    alone = [job(k, config=Config(core=64)) for k in range(20)]
    for one in alone:
        run([one], refiner=Renamer())
    assert types(together) == types(alone)
    assert set(types(together).values()) == {0, 1, 255}


class Burning(FakeOracleEngine):
    """An engine that burns processor time on a thread of its own, as runtimes do; its lane only waits."""

    lanes = 1

    def __call__(self, pixels: NDArray[np.uint8]) -> Raw:
        thread = threading.Thread(target=self._burn)
        thread.start()
        thread.join()
        return super().__call__(pixels)

    def _burn(self) -> None:
        end = time.thread_time() + 0.05
        while time.thread_time() < end:
            pass


def test_busy_seconds_are_the_engines_work_and_not_its_lanes_waiting() -> None:
    timings = Timings()
    jobs = [job(k, width=200 + 16 * k) for k in range(6)]  # six shapes: six batches
    list(process(jobs, FakeOracleModel(), Burning(), timings=timings))
    assert timings.infer >= 6 * 0.05
    assert timings.carried >= 6 * 0.05
    assert set(timings.busy()) == {"prepare", "read", "infer", "decode", "refine", "write", "settle"}
    assert timings.decode > 0
    assert timings.read > 0
    assert bound_by(timings) == "infer"


def test_a_stream_whose_lanes_starve_is_bound_by_reading() -> None:
    assert bound_by(Timings(read=1, infer=5, carried=7, starved=8)) == "read"
    assert bound_by(Timings(read=1, infer=5, carried=7, starved=6)) == "infer"
    assert bound_by(Timings()) == "nothing"
