"""Compiling runs in processes of its own, one per kind of GPU; what dies there is an error that says of what."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pbsbatch.cli import app
from pbsbatch.engines.gate import Wanted
from pbsbatch.engines.gpus import Gpu, Gpus
from pbsbatch.engines.tensorrt import child, compile_all, compiled
from pbsbatch.engines.tensorrt.build import Built, build, profiles_for
from pbsbatch.engines.tensorrt.child import check_every_profile, main, progress_monitor
from pbsbatch.engines.tensorrt.graph import baked
from pbsbatch.engines.tensorrt.library import Library
from pbsbatch.errors import EngineError
from pbsbatch.models.folder import ModelFolder
from pbsbatch.testing.engines import FakeEngine
from pbsbatch.testing.tensorrt import PLAN, Faults
from tests.engines.tensorrt.fakes import GPU, PROFILES, fake_engine, fake_place

FAKE = str(Path(__file__).with_name("child_of_tests.py"))
TWO_KINDS = Gpus((GPU, replace(GPU, index=1, uuid="GPU-1"), replace(GPU, index=2, uuid="GPU-2", name="Other")), "13.0")


def compile_with(
    what: str, folder: ModelFolder, gpus: Gpus = TWO_KINDS
) -> tuple[list[Any], list[tuple[str, str, int, int]]]:
    told: list[tuple[str, str, int, int]] = []

    def progress(gpu: Gpu, phase: str, step: int, of: int) -> None:
        told.append((gpu.uuid, phase, step, of))

    done = compile_all.compile_all(folder, "fp16", [1, 4], progress, gpus=gpus, child=[sys.executable, FAKE, what])
    return list(done), told


def test_each_kind_of_gpu_is_compiled_for_once_and_seen_alone(folder: ModelFolder) -> None:
    done, told = compile_with("work", folder)
    assert [one.gpu for one in done] == ["GPU-0", "GPU-2"]
    assert done[0].batches == (1, 4) and done[0].verdict.rms == 0.001 and done[0].plan_bytes == 7
    assert told == [(gpu, "Building engine", 1, 6) for gpu in ("GPU-0", "GPU-2")]


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("crash", r"builder on Fake GPU 9000 died \(SIGSEGV\): the last word"),
        ("exit", r"died \(exit code 7\): the last word"),
        ("error", r"tiny: on Fake GPU 9000: no operator Wobble\. Use fp32"),
    ],
)
def test_a_child_that_fails_is_an_error(what: str, said: str, folder: ModelFolder) -> None:
    with pytest.raises(EngineError, match=said):
        compile_with(what, folder)


def test_without_a_gpu_there_is_nothing_to_compile_for(folder: ModelFolder) -> None:
    with pytest.raises(EngineError, match=r"no GPU to compile for: none\. Plans are compiled on the machine"):
        compile_with("work", folder, Gpus(why="none"))


def test_the_child_compiles_tries_and_admits(
    folder: ModelFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fake plan finds other cells than the model: it is built, tried, and refused."""
    monkeypatch.setenv("PBSBATCH_CACHE", str(tmp_path))
    monkeypatch.setattr(compiled, "build", lambda *_: Built(PLAN, b""))
    monkeypatch.setattr(child, "progress_monitor", lambda *_: None)
    told: list[Mapping[str, Any]] = []
    wish = {"folder": str(folder.path), "precision": "fp16", "batches": [1, 4]}
    assert main(json.dumps(wish), told.append, fake_place) == 1
    assert "does not compute what the reference does" in told[-1]["error"]["what"]
    monkeypatch.setattr("pbsbatch.engines.torch.TorchEngine", lambda *_, **__: FakeEngine())
    assert main(json.dumps(wish), told.append, fake_place) == 0
    assert told[-1]["compiled"]["built"] and told[-1]["compiled"]["gpu"] == GPU.name
    engine = compiled.open_compiled(folder, place=fake_place())
    assert engine.precision == "fp16"
    assert main(json.dumps({**wish, "folder": str(tmp_path / "none")}), told.append) == 1
    assert str(tmp_path / "none") in told[-1]["error"]["path"]


def test_every_profile_is_tried_full_and_over_full() -> None:
    wanted = Wanted("", 0.25, (32, 32))
    parts: list[tuple[int, int]] = []
    engine = fake_engine()
    honest = engine.part
    engine.part = lambda h, w: parts.append(honest(h, w)) or honest(h, w)  # type: ignore[func-returns-value, method-assign, assignment]
    assert check_every_profile(engine, FakeEngine(), wanted)
    assert parts == [(profile.batch, i) for i, profile in enumerate(PROFILES)]
    leaking = fake_engine(Faults({"rows leak"}))
    verdict = check_every_profile(leaking, FakeEngine(), wanted)
    assert not verdict and "slot 0" in verdict.where  # which got the padding behind it


def test_the_builder_tells_its_progress(folder: ModelFolder, library: Library) -> None:
    told: list[Mapping[str, Any]] = []
    monitor = progress_monitor(library.trt, told.append)
    build(library, baked(folder, "fp32"), profiles_for((1,)), monitor=monitor)
    assert told and all(1 <= one["step"] <= one["of"] for one in told)


def test_the_command_says_what_cannot_be_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compile_all, "find_gpus", lambda: Gpus(why="no NVIDIA driver is installed"))
    done = CliRunner().invoke(app, ["models", "compile", "smear"])
    assert isinstance(done.exception, EngineError) and "no NVIDIA driver" in str(done.exception)
    done = CliRunner().invoke(app, ["models", "compile", "classical"])
    assert "needs no compiling" in str(done.exception)


def test_the_command_shows_what_was_compiled(
    folder: ModelFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PBSBATCH_CACHE", str(tmp_path))
    monkeypatch.setattr(compile_all, "find_gpus", lambda: TWO_KINDS)
    monkeypatch.setattr(
        compile_all.compile_all, "__kwdefaults__", {"gpus": None, "child": (sys.executable, FAKE, "work")}
    )
    done = CliRunner().invoke(app, ["models", "compile", str(folder.path), "--batch", "2"])
    assert done.exit_code == 0, done.exception
    assert "GPU-0: fp16 for batches up to 2 compiled in" in done.stderr
    assert "off the reference by 0.00100 on the average (0.005 is allowed)" in done.stderr
    done = CliRunner().invoke(app, ["models", "compile", str(folder.path), "--json"])
    assert [one["gpu"] for one in json.loads(done.stdout)] == ["GPU-0", "GPU-2"]
