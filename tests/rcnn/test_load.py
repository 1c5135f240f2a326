"""Engines of a two-stage model: the chain of "auto", and what they are held against."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pbsbatch.engines import chain, rcnn_load
from pbsbatch.engines.gate import Wanted, judge
from pbsbatch.engines.gpus import Gpu, Gpus
from pbsbatch.engines.load import load as load_engine
from pbsbatch.engines.rcnn import Probed, RcnnEngine
from pbsbatch.engines.rcnn_openvino import OpenVINOParts
from pbsbatch.engines.rcnn_plain import PlainParts
from pbsbatch.engines.rcnn_torch import torch_parts
from pbsbatch.errors import EngineError, GpuLostError
from pbsbatch.models.rcnn import RcnnModel
from pbsbatch.models.rcnn_folder import RcnnFolder
from pbsbatch.testing.engines import tiles
from tests.rcnn.tiny import folder_of

GPU = Gpu(0, "Fake GPU 9000", "GPU-0", (9, 0), 1, 1, 1)


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("PBSBATCH_CACHE", str(tmp_path))
    return tmp_path / "gates"


def refuses(text: str, kind: type[EngineError] = EngineError) -> Callable[..., RcnnEngine]:
    def make(*_: object) -> RcnnEngine:
        raise kind(text)

    return make


@pytest.mark.parametrize("kind", ["boxes", "masks"])
def test_opencv_reads_what_torch_computes(kind: str) -> None:
    """Every graph of the folder, by fixed boxes: else the gate would hold engines against something else."""
    folder = folder_of(kind)
    plain, torch = RcnnEngine(PlainParts(folder), folder.facts), RcnnEngine(torch_parts(folder), folder.facts)
    verdict = judge(Probed(plain), Probed(torch), Wanted("", folder.facts.work_mpp))
    assert verdict and verdict.worst < 1e-4
    plain.close()
    with pytest.raises(EngineError, match="closed"):
        plain(tiles(1, (64, 64)))


@pytest.mark.parametrize(("loaded", "reference"), [(False, "opencv fp32"), (True, "torch fp32")])
def test_fp32_passes_the_gate_too(loaded: bool, reference: str, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not loaded:  # as in a run on the CPU, which never loads it
        monkeypatch.setattr(chain, "sys", type("sys", (), {"modules": {}}))
    folder = folder_of("boxes")
    load_engine(RcnnModel(folder), "openvino", threads=1).close()
    (stamp,) = kept.iterdir()
    told = json.loads(stamp.read_text())
    assert told["reference"] == reference and told["facts"]["precision"] == "fp32"


def test_an_engine_that_computes_otherwise_is_refused_by_both(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = rcnn_load._openvino

    def wrong(folder: RcnnFolder, precision: str, threads: int | None) -> RcnnEngine:
        engine = honest(folder, precision, threads)
        judged = engine.parts.judged
        engine.parts.judged = lambda first, boxes: (judged(first, boxes)[0] + np.float32(1), judged(first, boxes)[1])  # type: ignore[method-assign]
        return engine

    monkeypatch.setattr(rcnn_load, "_openvino", wrong)
    model = RcnnModel(folder_of("boxes"))
    with pytest.raises(EngineError, match=r"openvino in fp32 does not compute here what torch fp32 does.*logits"):
        load_engine(model, "openvino", threads=1)
    assert list(kept.iterdir()) == []
    engine = load_engine(model, "auto", threads=1)
    assert (engine.name, engine.device) == ("torch", "cpu")
    assert engine.notes[1].startswith("not on openvino: openvino in fp32 does not compute here")


def test_auto_falls_along_its_chain_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    folder, model = folder_of("boxes"), RcnnModel(folder_of("boxes"))
    monkeypatch.setattr(rcnn_load, "find_gpus", lambda: Gpus((GPU,), "13.0"))
    honest = rcnn_load._torch
    on_gpu = RcnnEngine(OpenVINOParts(folder, threads=1), folder.facts)
    on_gpu.name, on_gpu.device = "torch", GPU.name
    monkeypatch.setattr(rcnn_load, "_torch", lambda f, p, t, d="auto": on_gpu if d == "cuda" else honest(f, p, t, d))
    taken = load_engine(model, "auto", threads=1)
    assert taken is on_gpu and taken.notes == ["runs on torch fp32: the fastest that runs on Fake GPU 9000"]
    lost = refuses("it fell off the bus", GpuLostError)
    monkeypatch.setattr(rcnn_load, "_torch", lambda f, p, t, d="auto": lost() if d == "cuda" else honest(f, p, t, d))
    taken = load_engine(model, "auto", threads=1)
    assert (taken.name, taken.device) == ("openvino", "cpu")
    assert taken.notes[1] == "not on torch on the GPU: it fell off the bus"
    monkeypatch.setattr(rcnn_load, "_openvino", refuses("it cannot be loaded"))
    taken = load_engine(model, "auto", threads=1)
    assert (taken.name, taken.device) == ("torch", "cpu") and len(taken.notes) == 3
    monkeypatch.setattr(rcnn_load, "_torch", refuses("torch not installed"))
    with pytest.raises(EngineError, match=r"no engine can run the model tiny here: .*fell|no engine.*not installed"):
        load_engine(model, "auto")
