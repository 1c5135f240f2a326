"""A place to run plans on that exists in no machine."""

from __future__ import annotations

from pbsbatch.engines.gpus import Gpu
from pbsbatch.engines.tensorrt.build import Profile
from pbsbatch.engines.tensorrt.compiled import Place
from pbsbatch.engines.tensorrt.engine import TensorRTEngine
from pbsbatch.engines.tensorrt.execute import load_plan
from pbsbatch.engines.tensorrt.library import wrap
from pbsbatch.testing.tensorrt import PLAN, FakeCard, FakeTrt, Faults

GPU = Gpu(0, "Fake GPU 9000", "GPU-0", (9, 0), 132, 80 << 30, 50 << 20)
PROFILES = (Profile(1, 4096), Profile(4, 96), Profile(16, 32))


def fake_place(faults: Faults | None = None, room: int = 1 << 30) -> Place:
    card = FakeCard(faults or Faults(), room)
    return Place(wrap("tensorrt", lambda _: FakeTrt(card)), GPU, "13.0", card)


def fake_engine(faults: Faults | None = None, room: int = 1 << 30, part_px: int = 4_000_000) -> TensorRTEngine:
    place = fake_place(faults, room)
    loaded = load_plan(place.library, PLAN)
    assert loaded is not None
    return TensorRTEngine(loaded, place.card, PROFILES, precision="fp16", device=GPU.name, part_px=part_px)
