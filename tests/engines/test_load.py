"""Engines are found by name and precision; what cannot run here is an error with its cure, never something else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch

from pbsbatch import engines, models
from pbsbatch.engines import extras, openvino, processor
from pbsbatch.engines.base import own_threads
from pbsbatch.engines.gpus import Gpu, Gpus
from pbsbatch.engines.openvino import MOST_SHAPES, OpenVINOEngine, best_precision
from pbsbatch.engines.torch import TorchEngine, moving
from pbsbatch.errors import EngineError, GpuLostError, ModelError
from pbsbatch.models.dense import DenseModel
from pbsbatch.models.folder import ModelFolder, write_folder
from pbsbatch.testing.engines import tiles
from tests.engines.tiny import FACTS, tiny_folder, tiny_net, tiny_onnx, tiny_weights

loading = sys.modules["pbsbatch.engines.load"]  # engines.load is the function


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make these tests the same on every machine."""
    monkeypatch.setattr(loading, "find_gpus", lambda: Gpus(why="none in this test"))


def test_auto_is_openvino_at_the_best_precision_of_folder_and_processor(
    folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = DenseModel(folder)
    for features, expected in (({"amx-bf16": True, "amx-int8": True}, "bf16"), ({"avx512vnni": True}, "fp32")):
        monkeypatch.setattr(processor, "get_host_cpu_features", lambda found=features: found)
        engine = engines.load(model)
        assert (engine.name, engine.precision) == ("openvino", expected)
        engine.close()


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ({"avx512vnni": True, "avx512bf16": True}, "int8"),
        ({"avxvnni": True}, "int8"),
        ({"amx-int8": True}, "int8"),
        ({"avx512bf16": True}, "bf16"),
        ({"avx2": True, "avx512vnni": False}, "fp32"),
    ],
)
def test_int8_is_best_where_the_processor_multiplies_bytes(
    features: dict[str, bool], expected: str, folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_int8 = replace(folder, files={**folder.files, "model.int8.onnx": "0" * 64})
    monkeypatch.setattr(processor, "get_host_cpu_features", lambda: features)
    assert best_precision(with_int8) == expected
    if expected != "int8":
        with pytest.raises(EngineError, match="overflow"):
            OpenVINOEngine(with_int8, "int8")


def test_a_precision_that_cannot_be_had_is_an_error(folder: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EngineError, match=r"no precision 'fp8'.*fp32, bf16, int8"):
        OpenVINOEngine(folder, "fp8")
    with pytest.raises(EngineError, match="fp32"):
        TorchEngine(folder, "bf16", device="cpu")
    monkeypatch.setattr(openvino, "has_int8", lambda: True)
    with pytest.raises(EngineError, match=r"no model\.int8\.onnx"):
        OpenVINOEngine(folder, "int8")
    monkeypatch.setattr(openvino, "has_bf16", lambda: False)
    with pytest.raises(EngineError, match=r"bf16.*fp32"):
        OpenVINOEngine(folder, "bf16")


def test_a_runtime_that_changes_the_precision_is_caught(folder: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    class Disobedient:
        def compile_model(self, model, device, settings):  # type: ignore[no-untyped-def]
            return openvino.the_core().compile_model(model, device, {**settings, "INFERENCE_PRECISION_HINT": "f16"})

    engine = OpenVINOEngine(folder, "fp32", threads=1)
    monkeypatch.setattr(engine, "_core", Disobedient())
    with pytest.raises(EngineError, match="f16 although f32"):
        engine(np.zeros((1, 32, 32, 3), np.uint8))


def test_torch_is_found_by_name_and_missed_with_its_cure(folder: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    model = DenseModel(folder)
    engine = engines.load(model, "torch", threads=1)
    assert engine.name == "torch"
    engine.close()
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "torch" else object())
    with pytest.raises(EngineError, match=r"torch not installed.*pip install 'pbsbatch\[gpu\]'"):
        engines.load(model, "torch")
    with pytest.raises(EngineError, match=r"'opencv' does not exist here.*openvino, tensorrt, torch"):
        engines.load(model, "opencv")


def test_the_classical_model_does_not_run_on_a_networks_engine() -> None:
    with pytest.raises(EngineError, match="--engine opencv"):
        engines.load(models.load("classical"), "openvino")


def test_unknown_devices_are_refused(folder: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EngineError, match="auto, cpu, cuda"):
        TorchEngine(folder, device="tpu")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(EngineError, match="no CUDA card"):
        TorchEngine(folder, device="cuda")


def test_threads_are_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, expected in (("3", 3), ("0", 1)):
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        assert own_threads() == expected
    for text in ("", "many"):
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        assert own_threads() >= 1


def test_no_more_networks_are_kept_than_a_run_needs(folder: ModelFolder) -> None:
    engine = OpenVINOEngine(folder, "fp32", threads=1)
    for side in (16, 32, 48, 64, 16):
        engine.warm_up(side, 16)
    assert list(engine._compiled) == [(48, 16), (64, 16), (16, 16)] and MOST_SHAPES == 3


def test_operators_that_a_runtime_lacks_are_named(tmp_path: Path) -> None:
    graph = onnx.load_from_string(tiny_onnx())
    graph.graph.node[5].op_type = "Wobble"
    broken = write_folder(tmp_path / "m", FACTS, onnx=graph.SerializeToString(), weights=tiny_weights())
    with pytest.raises(EngineError, match=r"m/model\.onnx: OpenVINO cannot run it.*Wobble") as caught:
        OpenVINOEngine(broken, "fp32", threads=1)
    assert "\n" not in str(caught.value)
    engine = engines.load(DenseModel(broken))  # what one runtime lacks another may have
    assert exact(engine) == ("torch", "fp32")
    assert all("Wobble" in note for note in engine.notes[1:]) and len(engine.notes) > 1


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    other = write_folder(tmp_path / "m", replace(FACTS, head_channels=24), onnx=tiny_onnx(), weights=tiny_weights())
    with pytest.raises(ModelError, match=r"weights\.safetensors: its weights do not fit"):
        TorchEngine(other, device="cpu")
    rubbish = write_folder(tmp_path / "n", FACTS, onnx=tiny_onnx(), weights=b"\x80\x04rubbish")
    with pytest.raises(ModelError, match=r"weights\.safetensors: its weights do not fit"):
        TorchEngine(rubbish, device="cpu")


def test_a_file_that_changed_since_is_refused(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "m")
    for name, make in (("model.onnx", OpenVINOEngine), ("weights.safetensors", TorchEngine)):
        with (folder.path / name).open("ab") as handle:
            handle.write(b"\0")
        with pytest.raises(ModelError, match="damaged or was changed"):
            make(folder)


def test_the_export_is_the_network_for_both_strides() -> None:
    ort = pytest.importorskip("onnxruntime")
    from safetensors.torch import load as load_tensors

    from pbsbatch.nets.detector import Served
    from pbsbatch.nets.export import export_onnx, export_weights

    pixels = tiles(2, (48, 80))
    for stride, half in ((4, True), (8, True), (4, False)):
        net = tiny_net(3, stride)
        data = export_onnx(net, FACTS.mean, FACTS.std, half=half)
        assert data == export_onnx(net, FACTS.mean, FACTS.std, half=half)
        if half:  # what is stored in two bytes is the same network, rounded
            net.load_state_dict(load_tensors(export_weights(net)))
        found = ort.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, {"pixels": pixels})
        with torch.inference_mode():
            expected = Served(net, FACTS.mean, FACTS.std)(torch.from_numpy(pixels))
        for a, b in zip(found, expected, strict=True):
            assert a.shape == tuple(b.shape) and a.shape[2:] == (48 // stride, 80 // stride)
            np.testing.assert_allclose(a, b.numpy(), atol=2e-5)
        kinds = {node.op_type for node in onnx.load_from_string(data).graph.node}
        norms = {"BatchNormalization"} if half else set()
        assert kinds == {"Conv", "Relu", "Add", "Mul", "Resize", "Transpose", "Cast"} | norms


def test_a_layer_that_is_not_known_is_refused_by_name() -> None:
    from torch import nn

    from pbsbatch.nets.export import export_onnx

    net = tiny_net()
    net.mix8 = nn.Sequential(net.mix8, nn.Hardswish())
    with pytest.raises(TypeError, match="Hardswish"):
        export_onnx(net, FACTS.mean, FACTS.std)


def test_a_network_that_failed_is_compiled_anew(folder: ModelFolder) -> None:
    class Broken:
        def wait(self) -> None:
            raise RuntimeError("out of memory\nin a primitive")

    engine = OpenVINOEngine(folder, "fp32", threads=1)
    pixels = tiles(2, (32, 48))
    before = engine(pixels)
    engine._compiled[32, 48].idle.get()
    engine._compiled[32, 48].idle.put(Broken())  # type: ignore[arg-type]
    with pytest.raises(EngineError, match=r"failed on a tile of \(32, 48\): out of memory\\nin a primitive"):
        engine(pixels)
    after = engine(pixels)
    assert all(np.array_equal(before[name], after[name]) for name in before)


def exact(engine: object) -> tuple[str, str]:
    return engine.name, engine.precision  # type: ignore[attr-defined]


def test_what_auto_took_can_be_asked_for_by_name(folder: ModelFolder) -> None:
    model = DenseModel(folder)
    first = engines.load(model)
    again = engines.load(model, f"{first.name}:{first.precision}")
    assert exact(first) == exact(again)
    assert first.notes == [f"runs on {first.name} {first.precision}: no GPU, none in this test"] and again.notes == []


class OnACard:
    """A fake of an engine on a GPU: the network itself, on the CPU."""

    def __init__(self, folder: ModelFolder, name: str, precision: str, wrong: float = 0.0) -> None:
        self.inner, self.wrong = TorchEngine(folder, device="cpu", threads=1), wrong
        self.name, self.precision, self.device, self.closed = name, precision, "Fake GPU 9000", False
        self.notes: list[str] = []
        self.lanes = 0

    def __call__(self, pixels):  # type: ignore[no-untyped-def]
        return {k: v + np.float32(self.wrong) for k, v in self.inner(pixels).items()}

    def warm_up(self, height: int, width: int) -> None: ...

    def close(self) -> None:
        self.closed = True


GPU = Gpu(0, "Fake GPU 9000", "GPU-0", (9, 0), 1, 1, 1)


def refuses(text: str):  # type: ignore[no-untyped-def]
    def make(*_: object) -> object:
        raise EngineError(text)

    return make


@pytest.mark.parametrize(
    ("fails", "expected"),
    [
        ((), ("tensorrt", "fp16")),
        (("tensorrt",), ("torch", "fp16")),
        (("tensorrt", "torch on the GPU"), ("openvino", "fp32")),
        (("tensorrt", "wrong on the GPU"), ("openvino", "fp32")),
        (("tensorrt", "torch on the GPU", "openvino"), ("torch", "fp32")),
    ],
)
def test_auto_falls_along_the_chain_and_says_why(
    fails: tuple[str, ...], expected: tuple[str, str], folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[OnACard] = []

    def torch_engine(wish: object, device: str = "auto") -> object:
        if device == "cpu":
            return TorchEngine(folder, device="cpu", threads=1)
        if "torch on the GPU" in fails:
            raise EngineError("it fell off the bus")
        made.append(OnACard(folder, "torch", "fp16", 9.0 * ("wrong on the GPU" in fails)))
        return made[-1]

    monkeypatch.setattr(loading, "find_gpus", lambda: Gpus((GPU,), "13.0"))
    monkeypatch.setattr(loading, "_torch", torch_engine)
    plan = refuses("no plan was compiled") if "tensorrt" in fails else lambda _: OnACard(folder, "tensorrt", "fp16")
    monkeypatch.setattr(loading, "_tensorrt", plan)
    monkeypatch.setattr(openvino, "precisions_here", lambda _: ("fp32",))
    if "openvino" in fails:
        monkeypatch.setattr(loading, "_openvino", refuses("it cannot be loaded"))
    monkeypatch.setenv("PBSBATCH_CACHE", str(folder.path.parent / f"chain-{len(fails)}-{expected[0]}"))
    engine = engines.load(DenseModel(folder))
    assert exact(engine) == expected
    assert engine.notes[0].startswith(f"runs on {expected[0]} {expected[1]}: the fastest that runs on")
    assert len(engine.notes) == 1 + len(fails)
    assert ["not on tensorrt: no plan was compiled" in note for note in engine.notes[1:2]] == [True] * (
        "tensorrt" in fails
    )
    assert all(one.closed for one in made) == ("wrong on the GPU" in fails or not made)


def test_where_nothing_runs_every_reason_is_named(folder: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_openvino", refuses("broken"))
    monkeypatch.setattr(loading, "_torch", refuses("not installed"))
    with pytest.raises(EngineError, match=r"no engine can run the model tiny.*broken.*torch on the CPU: not installed"):
        engines.load(DenseModel(folder))


def test_a_library_that_does_not_load_is_passed_over(folder: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """None in sys.modules is how a module that cannot be imported looks."""
    monkeypatch.setitem(sys.modules, "pbsbatch.engines.openvino", None)
    engine = engines.load(DenseModel(folder))
    assert exact(engine) == ("torch", "fp32")
    assert engine.notes[1].startswith("not on openvino fp32: openvino is installed but cannot be loaded: import of")
    with pytest.raises(EngineError, match=r"openvino is installed but cannot be loaded.*Install openvino again"):
        engines.load(DenseModel(folder), "openvino")
    monkeypatch.setitem(sys.modules, "pbsbatch.engines.torch", None)
    with pytest.raises(EngineError, match=r"no engine can run the model tiny.*torch on the CPU: torch is installed"):
        engines.load(DenseModel(folder))


def test_a_gpu_that_is_lost_at_the_gate_is_passed_over(
    folder: ModelFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Lost(OnACard):
        def __call__(self, pixels):  # type: ignore[no-untyped-def]
            raise GpuLostError("the GPU has fallen off the bus")

    made = Lost(folder, "torch", "fp16")
    honest = loading._torch
    monkeypatch.setenv("PBSBATCH_CACHE", str(tmp_path))
    monkeypatch.setattr(loading, "find_gpus", lambda: Gpus((GPU,), "13.0"))
    monkeypatch.setattr(loading, "_tensorrt", refuses("no plan was compiled"))
    monkeypatch.setattr(loading, "_torch", lambda wish, device: made if device == "cuda" else honest(wish, device))
    engine = engines.load(DenseModel(folder))
    assert (engine.name, engine.device) == ("openvino", "cpu") and made.closed
    assert engine.notes[2] == "not on torch on the GPU: the GPU has fallen off the bus"


def test_a_gpu_that_takes_no_network_is_an_engine_that_cannot_run() -> None:
    for error in (
        RuntimeError("CUDA error: no kernel image is available"),
        torch.OutOfMemoryError("CUDA out of memory"),
    ):
        with pytest.raises(EngineError, match=r"PyTorch cannot use this GPU: CUDA .*--engine openvino"), moving():
            raise error


def test_what_is_wrong_with_the_model_ends_the_chain(tmp_path: Path) -> None:
    """No other engine makes a damaged file right: it is not passed over for a whole one."""
    folder = tiny_folder(tmp_path / "m")
    with (folder.path / "model.onnx").open("ab") as handle:
        handle.write(b"\0")
    with pytest.raises(ModelError, match="damaged or was changed"):
        engines.load(DenseModel(folder))


def test_auto_keeps_to_a_precision_that_was_asked_for(folder: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino, "has_int8", lambda: True)
    with pytest.raises(EngineError, match=r"openvino int8: .*no model\.int8\.onnx.*does not compute in int8 on cpu"):
        engines.load(DenseModel(folder), "auto:int8")


def test_int8_that_is_wrong_on_this_processor_falls_to_the_next_precision(
    int8_folder: ModelFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PBSBATCH_CACHE", str(tmp_path))
    monkeypatch.setattr(openvino, "precisions_here", lambda _: ("int8", "fp32"))
    honest = loading._openvino

    def overflows(wish):  # type: ignore[no-untyped-def]
        return OnACard(int8_folder, "openvino", "int8", 5.0) if wish.precision == "int8" else honest(wish)

    monkeypatch.setattr(loading, "_openvino", overflows)
    engine = engines.load(DenseModel(int8_folder))
    assert exact(engine) == ("openvino", "fp32")
    assert "not on openvino int8: openvino in int8 does not compute here" in engine.notes[1]
    with pytest.raises(EngineError, match=r"openvino in int8 does not compute here.*openvino:fp32"):
        engines.load(DenseModel(int8_folder), "openvino:int8")


def test_tensorrt_by_name_without_a_gpu_is_an_error_with_the_cure(folder: ModelFolder) -> None:
    from pbsbatch.engines.gpus import find_gpus

    if find_gpus():
        pytest.skip("this machine has a GPU")
    with pytest.raises(EngineError, match=r"TensorRT needs an NVIDIA GPU: .*--engine openvino"):
        engines.load(DenseModel(folder), "tensorrt")


@pytest.mark.parametrize("absent", [(), ("torch", "safetensors", "onnx")])
def test_a_run_on_the_cpu_needs_no_torch_and_loads_none(absent: tuple[str, ...], tmp_path: Path) -> None:
    program = (
        f"import sys\nsys.modules.update(dict.fromkeys({absent!r}))\n"
        "from pbsbatch import engines, models\nfrom pbsbatch.engines.load import load_classifier\n"
        "engine = engines.load(models.load('smear'))\nnamer = load_classifier(models.load_classifier('differential'))\n"
        "print(engine.name, engine.precision, namer.precision, bool(sys.modules.get('torch')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True,
        env={**os.environ, "PBSBATCH_CACHE": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    name, *precisions, torch_is_there = done.stdout.split()
    told = [json.loads(stamp.read_text()) for stamp in (tmp_path / "gates").iterdir()]
    assert name == "openvino" and {one["facts"]["precision"] for one in told} == set(precisions)
    if cv2.__version__ >= "5":
        assert torch_is_there == "False" and {one["reference"] for one in told} == {"opencv fp32"}
