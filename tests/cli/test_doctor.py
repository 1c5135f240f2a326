"""The doctor's screen: true on this machine, and helpful on machines that are not here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pbsbatch.run import machine
from pbsbatch.run.machine import advice, describe
from pbsbatch.run.speed import measure_speed
from pbsbatch.slides import libraries
from tests.test_cli import pbsbatch

GPU = {"name": "Fake GPU 9000", "memory_bytes": 80_000_000_000, "capability": "9.0"}


def test_the_screen_says_what_is_here_and_how_fast_it_is(tmp_path: Path) -> None:
    done = pbsbatch("doctor", "--seconds", "0.1", "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    for word in ("pbsbatch", "openvino 20", "libvips 8", "OpenSlide 4", "cores", "GB free", "GPU", "smear runs on"):
        assert word in done.stdout
    assert "slides an hour, of 200 mm²" in done.stdout
    assert len(done.stdout.splitlines()) < 25


def test_json_holds_the_same(tmp_path: Path) -> None:
    done = pbsbatch("doctor", "--json", "--seconds", "0", "--engine", "openvino:fp32", "--output", str(tmp_path))
    facts = json.loads(done.stdout)
    assert facts["engine"]["precision"] == "fp32" and facts["speed"] is None
    assert facts["processor"]["cores"] >= 1 and facts["memory_bytes"]["total"] > 1e8
    assert facts["images"]["loaders"][:2] == ["tiff", "jpeg"]
    assert facts["packages"]["openvino"] and facts["disk"]["free_bytes"] > 0


def test_an_engine_that_cannot_run_is_said_and_is_an_error(tmp_path: Path) -> None:
    done = pbsbatch("doctor", "--seconds", "0", "--engine", "openvino:fp8", "--output", str(tmp_path))
    assert done.returncode == 1
    assert "A run does not work here: there is no precision 'fp8'" in done.stdout


def test_what_is_missing_is_a_value_that_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pyvips", None)
    monkeypatch.setitem(sys.modules, "openslide", None)
    assert libraries.image_libraries() == {"libvips": None, "loaders": [], "openslide": None}
    monkeypatch.setattr(machine, "CORE", ("no-such-package",))
    facts = describe(tmp_path)
    assert facts["packages"] == {"no-such-package": None}
    assert any("Packages are missing (no-such-package)" in line for line in advice(facts, "openvino"))


def facts_with(**changes: object) -> dict[str, object]:
    base: dict[str, object] = {
        "packages": {"numpy": "2"}, "extras": {"gpu": {"torch": "2", "safetensors": "0.4"}},
        "gpus": {"found": [GPU]}, "tensorrt": {"library": "tensorrt 10.3", "plans": 1},
        "processor": {"cores": 4, "int8": True}, "memory_bytes": {"available": 64e9}, "disk": {"free_bytes": 1e12},
    }  # fmt: skip
    return base | changes


@pytest.mark.parametrize(
    ("changes", "taken", "said"),
    [
        ({}, "tensorrt", []),
        ({"extras": {"gpu": {"torch": None, "safetensors": None}}}, "openvino", ["PyTorch is not"]),
        ({"tensorrt": {"library": None, "plans": 0}}, "torch", [r"pbsbatch[tensorrt]"]),
        ({}, "torch", ["models compile smear"]),
        ({"gpus": {"found": []}}, "openvino", []),
        ({"gpus": {"found": []}, "processor": {"cores": 4, "int8": False}}, "openvino", ["multiplies no bytes"]),
        ({"memory_bytes": {"available": 5e9}}, "tensorrt", ["--workers 2"]),
        ({"memory_bytes": {"available": None}}, "tensorrt", []),
        ({"disk": {"free_bytes": 1e9}}, "tensorrt", ["Little disk"]),
    ],
)
def test_the_advice_fits_the_machine(changes: dict[str, object], taken: str, said: list[str]) -> None:
    found = advice(facts_with(**changes), taken)
    assert len(found) == len(said)
    assert all(word in line for word, line in zip(said, found, strict=True))


def test_the_speed_test_counts_what_a_run_counts() -> None:
    from pbsbatch import engines, models

    model = models.load("classical")
    speed = measure_speed(model, engines.load(model), 0.0, side_px=512)
    assert speed.slides == 1 and speed.mpix > 0 and 0 < speed.mm2 <= (512 * 0.25 / 1000) ** 2 * 1.01
    assert {"read", "infer", "decode"} <= set(speed.per_core())
    assert speed.slides_per_hour == pytest.approx(3600 * speed.mm2 / speed.seconds / 200)
