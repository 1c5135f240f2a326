"""Running plans: the laws of an engine on a fake GPU that works late, and an error for everything that can fail."""

from __future__ import annotations

import gc
from collections.abc import Callable

import numpy as np
import pytest

from pbsbatch.engines.base import DenseEngine
from pbsbatch.engines.tensorrt.engine import TensorRTEngine
from pbsbatch.engines.tensorrt.execute import load_plan
from pbsbatch.errors import EngineError
from pbsbatch.testing.engines import EngineTests, FakeEngine, tiles
from pbsbatch.testing.tensorrt import PLAN, FakeCard, Faults
from tests.engines.tensorrt.fakes import PROFILES, fake_engine, fake_place


class TestOnAFakeGpu(EngineTests):
    """Parts of one, two and more tiles: every batch of the suite is cut differently."""

    @pytest.fixture(params=[1, 2 * 64 * 96, 4_000_000])
    def make(self, request: pytest.FixtureRequest) -> Callable[[], DenseEngine]:
        return lambda: fake_engine(part_px=request.param)

    @pytest.fixture
    def reference(self) -> DenseEngine:
        return FakeEngine()


class TestWithoutGraphs(EngineTests):
    @pytest.fixture
    def make(self) -> Callable[[], DenseEngine]:
        return lambda: fake_engine(Faults({"capture"}))

    @pytest.fixture
    def reference(self) -> DenseEngine:
        return FakeEngine()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("create context", "memory is full"),
        ("set profile", "does not take profile"),
        ("set shape", r"does not take batches of \(\d, 64, 96, 3\)"),
        ("infer raises", "cannot tell the results' shapes.*a fake error"),
        ("infer missing", "wants to know more of pixels"),
        ("unknown shape", "does not know the shape of scores"),
        ("set address", "does not take the memory for pixels"),
        ("execute", r"failed on a batch of \(4, 64, 96, 3\)"),
        ("misaligned", "not aligned to 256"),
        ("default stream", "never run on the default stream"),
        ("lost", "the GPU failed"),
    ],
)
def test_what_the_library_refuses_is_an_error_and_leaves_no_trace(fault: str, said: str) -> None:
    faults = Faults()
    engine = fake_engine(faults)
    pixels = tiles(2, (64, 96))
    faults.active = {fault}
    with pytest.raises(EngineError, match=said):
        engine(pixels)
    faults.active = set()
    engine.limit(4_000_000)  # half of the memory was tried where that was the cure
    expected = FakeEngine()(pixels)
    assert all(np.array_equal(v, expected[k]) for k, v in engine(pixels).items())


def test_a_gpu_that_is_lost_on_the_way_gives_its_buffers_up() -> None:
    faults = Faults()
    engine, pixels = fake_engine(faults), tiles(9, (64, 96))
    before = engine(pixels)
    faults.active = {"lost"}
    for _ in range(2):
        with pytest.raises(EngineError, match="the GPU failed"):
            engine(pixels)
    faults.active = set()
    assert all(np.array_equal(v, before[k]) for k, v in engine(pixels).items())


@pytest.mark.parametrize("at", ["the first batch", "a later batch"])
def test_no_memory_is_given_back_while_the_gpu_may_write_to_it(at: str) -> None:
    faults = Faults({"capture"})
    place = fake_place(faults)
    loaded = load_plan(place.library, PLAN)
    assert loaded is not None and isinstance(place.card, FakeCard)
    engine = TensorRTEngine(loaded, place.card, PROFILES, precision="fp16", device="")
    if at == "a later batch":
        engine(tiles(2, (64, 96)))
    faults.active |= {"execute"}
    with pytest.raises(EngineError, match="failed on a batch"):
        engine(tiles(9, (64, 96)))
    assert place.card.streams and all(stream.waiting == [] for stream in place.card.streams.values())
    gc.collect()
    assert faults.destroyed.count("context") == len(place.card.streams)


def test_a_graph_that_cannot_be_recorded_is_said_and_costs_no_result() -> None:
    engine = fake_engine(Faults({"capture"}))
    engine(tiles(2, (64, 96)))
    engine(tiles(2, (64, 96)))
    assert engine.notes == ["TensorRT runs batches of (4, 64, 96, 3) without a CUDA graph: it could not be recorded"]


def test_a_full_gpu_gets_half_a_batch_once() -> None:
    pixels = tiles(5, (64, 96))
    expected = FakeEngine()(pixels)
    room = 32 * 16 * 24 * 4 * 3  # outlines of three tiles, not of four
    engine = fake_engine(room=room)
    for _ in range(2):
        assert all(np.array_equal(v, expected[k]) for k, v in engine(pixels).items())
    assert engine.notes == ["the GPU's memory was full: 2 tiles at once instead of 4"]
    engine = fake_engine(room=room // 3 - 1)
    with pytest.raises(EngineError, match=r"full with 2 tiles of 96 x 64 px.*fewer --workers"):
        engine(pixels)
    engine = fake_engine(room=100, part_px=1)
    with pytest.raises(EngineError, match="full with 1 tiles"):
        engine(pixels)


def test_a_size_of_zero_is_not_believed() -> None:
    engine = fake_engine(Faults({"no size"}))
    pixels = tiles(1, (64, 96))
    assert np.array_equal(engine(pixels)["scores"], FakeEngine()(pixels)["scores"])


def test_parts_are_served_by_the_smallest_profile_that_holds_them() -> None:
    engine = fake_engine()
    assert engine.part(64, 96) == (4, 1)
    assert engine.part(32, 32) == (16, 2)
    assert engine.part(112, 16) == (1, 0)
    engine.limit(3 * 32 * 32)
    assert engine.part(32, 32) == (3, 1)
    with pytest.raises(EngineError, match=r"5008 x 16 px are larger than the plan's 4096 px.*smaller core"):
        engine.part(16, 5008)


def test_things_go_in_the_reverse_order_of_their_making() -> None:
    faults = Faults()
    engine = fake_engine(faults)
    engine(tiles(1, (32, 32)))
    engine(tiles(1, (64, 96)))
    engine.close()
    gc.collect()
    assert faults.destroyed == ["graph", "context"] * 4 + ["engine", "runtime"]


def test_a_plan_that_is_not_ours_is_refused() -> None:
    faults = Faults()
    place = fake_place(faults)
    assert load_plan(place.library, b"rubbish") is None
    assert place.library.told() == "a fake error"
    faults.active = {"deserialize"}
    assert load_plan(place.library, PLAN) is None
    faults.active = {"half outputs"}
    with pytest.raises(EngineError, match="not float32"):
        load_plan(place.library, PLAN)
