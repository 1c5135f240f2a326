"""From a model to an engine: compiled ahead, held against the reference, admitted, and found again by every fact."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pbsbatch.engines import gate
from pbsbatch.engines.gate import Verdict, Wanted
from pbsbatch.engines.gpus import Gpus
from pbsbatch.engines.tensorrt import compiled
from pbsbatch.engines.tensorrt.build import Built
from pbsbatch.engines.tensorrt.cache import ASIDE, PlanCache
from pbsbatch.engines.tensorrt.compiled import Place, compile_here, here, open_compiled, plan_facts
from pbsbatch.engines.tensorrt.engine import TensorRTEngine
from pbsbatch.errors import EngineError
from pbsbatch.models.folder import ModelFolder
from pbsbatch.testing.engines import FakeEngine, tiles
from pbsbatch.testing.tensorrt import PLAN, Faults
from tests.engines.tensorrt.fakes import GPU, fake_place


@pytest.fixture
def cache(tmp_path: Path) -> PlanCache:
    (tmp_path / "plans").mkdir()
    return PlanCache(tmp_path / "plans")


@pytest.fixture(autouse=True)
def builds(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """Build the fake plan instead of a real one, and keep the times that each build was given."""
    given: list[bytes] = []

    def build(library: object, graph: bytes, profiles: object, times: bytes, monitor: object) -> Built:
        given.append(times)
        return Built(PLAN, b"times")

    monkeypatch.setattr(compiled, "build", build)
    yield given


def passes(engine: TensorRTEngine) -> Verdict:
    return gate.judge(engine, FakeEngine(), Wanted("", 0.25))


def test_what_was_compiled_is_found_and_runs(folder: ModelFolder, cache: PlanCache, builds: list[bytes]) -> None:
    place = fake_place()
    with pytest.raises(EngineError, match=r"no plan was compiled.*Run: pbsbatch models compile tiny"):
        open_compiled(folder, place=place, cache=cache)
    first = compile_here(folder, "fp16", (1, 4), place=place, cache=cache, check=passes)
    again = compile_here(folder, "fp16", (1, 4), place=place, cache=cache, check=passes)
    assert first.built and not again.built and again.batches == (1, 4) and again.gpu == GPU.name
    assert builds == [b""]
    compile_here(folder, "fp32", (1,), place=place, cache=cache, check=passes)
    assert builds == [b"", b"times"]
    engine = open_compiled(folder, place=place, cache=cache)
    assert (engine.name, engine.precision, engine.device) == ("tensorrt", "fp16", GPU.name)
    pixels = tiles(5, (64, 96))
    assert np.array_equal(engine(pixels)["scores"], FakeEngine()(pixels)["scores"])
    assert open_compiled(folder, "fp32", place, cache).precision == "fp32"


@pytest.mark.parametrize(
    "other",
    [
        lambda p: replace(p, driver="12.9"),
        lambda p: replace(p, library=replace(p.library, version="10.4.0")),
        lambda p: replace(p, library=replace(p.library, name="tensorrt_rtx")),
        lambda p: replace(p, gpu=replace(p.gpu, name="Other")),
        lambda p: replace(p, gpu=replace(p.gpu, capability=(8, 9))),
        lambda p: replace(p, gpu=replace(p.gpu, multiprocessors=1)),
        lambda p: replace(p, gpu=replace(p.gpu, memory=1)),
        lambda p: replace(p, gpu=replace(p.gpu, l2_bytes=1)),
    ],
)
def test_a_plan_of_another_place_is_not_run(other, folder: ModelFolder, cache: PlanCache) -> None:  # type: ignore[no-untyped-def]
    place = fake_place()
    compile_here(folder, "fp16", place=place, cache=cache, check=passes)
    with pytest.raises(EngineError, match="no plan was compiled"):
        open_compiled(folder, "fp16", other(place), cache)
    same: Place = replace(place, gpu=replace(place.gpu, index=3, uuid="GPU-other"))
    assert open_compiled(folder, "fp16", same, cache).precision == "fp16"


def test_rows_that_leak_are_found_and_the_plan_is_put_aside(folder: ModelFolder, cache: PlanCache) -> None:
    place = fake_place(Faults({"rows leak"}))
    with pytest.raises(EngineError, match=r"does not compute what the reference does.*slot \d; it is not used"):
        compile_here(folder, "fp16", place=place, cache=cache, check=passes)
    assert cache.find({}) == [] and len(list(cache.root.glob(f"*{ASIDE}"))) == 1


def test_a_plan_without_a_stamp_is_not_run(folder: ModelFolder, cache: PlanCache) -> None:
    def dies(_: TensorRTEngine) -> Verdict:
        raise KeyboardInterrupt

    place = fake_place()
    with pytest.raises(KeyboardInterrupt):
        compile_here(folder, "fp16", place=place, cache=cache, check=dies)
    with pytest.raises(EngineError, match="never passed the parity gate"):
        open_compiled(folder, "fp16", place, cache)


def test_a_plan_that_is_not_taken_back_is_put_aside_and_compiled_anew(folder: ModelFolder, cache: PlanCache) -> None:
    faults = Faults()
    place = fake_place(faults)
    compile_here(folder, "fp16", place=place, cache=cache, check=passes)
    faults.active = {"deserialize"}
    with pytest.raises(EngineError, match=r"does not take its plan back: a fake error.*models compile"):
        open_compiled(folder, "fp16", place, cache)
    with pytest.raises(EngineError, match="just built cannot be loaded: a fake error"):
        compile_here(folder, "fp16", place=place, cache=cache, check=passes)
    faults.active = set()
    assert compile_here(folder, "fp16", place=place, cache=cache, check=passes).built


def test_without_a_gpu_nothing_is_touched() -> None:
    with pytest.raises(EngineError, match=r"needs an NVIDIA GPU: the fan is off.*--engine openvino"):
        here(Gpus(why="the fan is off"))


def test_a_key_holds_everything_but_which_of_two_cards(folder: ModelFolder) -> None:
    facts = plan_facts(fake_place(), b"graph", "fp16")
    assert set(facts) == {"format", "library", "version", "graph", "precision", "flags", "system", "driver", "gpu"}
    assert set(facts["gpu"]) == {"name", "capability", "multiprocessors", "memory", "l2_bytes"}
