"""TensorRT-RTX builds plans for real on a machine without a GPU, and says what it does not like."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import onnx
import pytest

from pbsbatch.engines.gpus import find_gpus
from pbsbatch.engines.tensorrt.build import Profile, _use_times, build, profiles_for
from pbsbatch.engines.tensorrt.execute import load_plan
from pbsbatch.engines.tensorrt.graph import PRECISIONS, baked
from pbsbatch.engines.tensorrt.library import BOUNDS, Library, find_library, wrap
from pbsbatch.errors import EngineError
from pbsbatch.models.folder import ModelFolder
from pbsbatch.testing.tensorrt import FakeCard, FakeTrt, Faults


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_precision_is_built(precision: str, int8_folder: ModelFolder, library: Library) -> None:
    made = build(library, baked(int8_folder, precision), profiles_for((1, 8)))
    assert len(made.plan) > 10_000
    if not find_gpus():
        assert load_plan(library, made.plan) is None
        assert "CUDA" in library.told()


def test_more_profiles_make_another_plan(folder: ModelFolder, library: Library) -> None:
    graph = baked(folder, "fp32")
    one, two = (build(library, graph, profiles_for(batches)).plan for batches in ((1,), (1, 8)))
    assert one != two


def test_the_shipped_detector_is_built(library: Library) -> None:
    from pbsbatch import models
    from pbsbatch.models.dense import DenseModel

    model = models.load("smear")
    assert isinstance(model, DenseModel)
    for precision in PRECISIONS:
        assert len(build(library, baked(model.folder, precision), profiles_for((1,))).plan) > 1_000_000


def test_an_operator_that_the_library_lacks_is_named(folder: ModelFolder, library: Library) -> None:
    graph = onnx.load_from_string(baked(folder, "fp32"))
    next(node for node in graph.graph.node if node.op_type == "Relu").op_type = "Wobble"
    with pytest.raises(EngineError, match=r"cannot take the network: the operator Wobble \(.*Relu\)") as caught:
        build(library, graph.SerializeToString(), profiles_for((1,)))
    assert "\n" not in str(caught.value) and "catchCudaError" not in str(caught.value)


def test_rubbish_is_refused_and_the_library_lives(folder: ModelFolder, library: Library) -> None:
    for data in (b"rubbish", b""):
        with pytest.raises(EngineError, match=r"cannot (take|build) the network"):
            build(library, data, profiles_for((1,)))
    assert load_plan(library, b"rubbish") is None and library.told()
    assert build(library, baked(folder, "fp32"), profiles_for((1,))).plan


def test_a_profile_that_contradicts_itself_is_refused(folder: ModelFolder, library: Library) -> None:
    with pytest.raises(EngineError, match=r"refuses batches of 0 at 16 px.*MIN<=OPT<=MAX"):
        build(library, baked(folder, "fp32"), [Profile(0, 16)])


def test_without_profiles_nothing_is_built(folder: ModelFolder, library: Library) -> None:
    with pytest.raises(EngineError, match=r"cannot build the network: .*profile"):
        build(library, baked(folder, "fp32"), [])


@pytest.mark.filterwarnings("ignore:Use Deprecated in TensorRT-RTX")
def test_times_of_kernels_are_kept_and_strange_ones_left_out(folder: ModelFolder, library: Library) -> None:
    """TensorRT-RTX has the calls, though it measures nothing."""
    full, graph = replace(library, name="tensorrt"), baked(folder, "fp32")
    first = build(full, graph, profiles_for((1,)))
    for times in (first.times, b"rubbish"):
        assert build(full, graph, profiles_for((1,)), times).plan
    assert build(library, graph, profiles_for((1,))).times == b""

    class Config:
        def create_timing_cache(self, blob: bytes) -> bytes | None:
            return blob + b"." if blob != b"refused" else None

        def set_timing_cache(self, cache: bytes, ignore_mismatch: bool) -> bool:
            assert not ignore_mismatch
            return cache != b"other GPU."

    for times, expected in ((b"good", b"good."), (b"refused", b"."), (b"other GPU", b".")):
        assert _use_times(Config(), times, full) == expected


def test_batches_are_bounded() -> None:
    assert [(p.batch, p.side) for p in profiles_for((16, 1, 4, 1))] == [(1, 4096), (4, 2048), (16, 1024)]
    for wrong in ((), (0,), (1, 257)):
        with pytest.raises(EngineError, match="holds 1 to 256 tiles"):
            profiles_for(wrong)


def test_an_absent_or_strange_library_is_an_error_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pbsbatch.engines.tensorrt.library.find_spec", lambda name: None)
    with pytest.raises(EngineError, match=r"not installed.*pbsbatch\[tensorrt\]"):
        find_library.__wrapped__()

    def broken(name: str) -> Any:
        raise ImportError("libnvinfer.so.10: cannot open shared object file")

    with pytest.raises(EngineError, match=r"cannot be loaded: libnvinfer\.so\.10.*Install it again"):
        wrap("tensorrt", broken)
    for name, version, known in (
        ("tensorrt", "10.2.0", False), ("tensorrt", "10.3.0", True), ("tensorrt", "11.4.0.106", True),
        ("tensorrt", "12.0", False), ("tensorrt", "x", False), ("tensorrt_rtx", "1.6.9", False),
        ("tensorrt_rtx", "1.7.1.116", True), ("tensorrt_rtx", "1.8", False),
    ):  # fmt: skip
        fake = SimpleNamespace(__version__=version, ILogger=FakeTrt(FakeCard(Faults())).ILogger)
        if known:
            assert wrap(name, lambda _, fake=fake: fake).version == version
        else:
            with pytest.raises(EngineError, match=r"not one of the versions.*pip install"):
                wrap(name, lambda _, fake=fake: fake)
    assert BOUNDS["tensorrt"][1] == (12, 0)
