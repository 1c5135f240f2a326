"""The driver is asked through ctypes: nothing crashes, whatever it does or does not say."""

from __future__ import annotations

import ctypes
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pbsbatch.engines.gpus import ATTRIBUTES, Gpu, find_gpus, take_gpu

IDENTITY = uuid.UUID("12345678-1234-5678-1234-567812345678")


class FakeDriver:
    """libcuda with some GPUs; one of its functions may fail or be missing."""

    def __init__(self, count: int = 2, fails: str = "", missing: str = "", code: int = 999) -> None:
        self.count, self.fails, self.missing, self.code = count, fails, missing, code

    def __getattr__(self, name: str) -> Callable[..., int]:
        if name == self.missing:
            raise AttributeError(name)
        return lambda *arguments: self.code if name == self.fails else getattr(self, f"_{name}")(*arguments)

    def _cuInit(self, flags: int) -> int:
        return 0

    def _cuDriverGetVersion(self, version: Any) -> int:
        version._obj.value = 13010
        return 0

    def _cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = self.count
        return 0

    def _cuDeviceGet(self, device: Any, index: int) -> int:
        device._obj.value = index
        return 0

    def _cuDeviceGetName(self, name: Any, size: int, device: Any) -> int:
        assert size < len(name)
        name.value = f"Fake GPU {device.value}".encode()
        return 0

    def _cuDeviceGetUuid_v2(self, identity: Any, device: Any) -> int:
        identity.raw = IDENTITY.bytes
        return 0

    def _cuDeviceTotalMem_v2(self, memory: Any, device: Any) -> int:
        memory._obj.value = 80 << 30
        return 0

    def _cuDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> int:
        value._obj.value = {16: 132, 38: 50 << 20, 75: 9, 76: 0}[attribute]
        return 0


def test_every_gpu_is_described() -> None:
    gpus = find_gpus(lambda _: FakeDriver(), Path("nowhere"))
    assert gpus and gpus.driver == "13.1" and gpus.why == ""
    assert gpus.found[1] == Gpu(1, "Fake GPU 1", f"GPU-{IDENTITY}", (9, 0), 132, 80 << 30, 50 << 20)


def test_the_drivers_release_stands_behind_its_cuda(tmp_path: Path) -> None:
    said = tmp_path / "version"
    said.write_text("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  (root@x)\n")
    assert find_gpus(lambda _: FakeDriver(), said).driver == "13.1 (580.95.05)"
    said.write_text("\xff nothing that we know")
    assert find_gpus(lambda _: FakeDriver(), said).driver == "13.1"


@pytest.mark.parametrize("name", [n[1:] for n in dir(FakeDriver) if n.startswith("_cu")])
def test_a_driver_that_fails_anywhere_shows_no_gpu_and_says_why(name: str) -> None:
    broken = find_gpus(lambda _: FakeDriver(fails=name))
    assert not broken and broken.why == f"the NVIDIA driver does not work: {name} gives error 999"
    old = find_gpus(lambda _: FakeDriver(missing=name))
    assert not old and f"{name} is missing" in old.why


def test_no_driver_and_no_gpu_are_told_apart() -> None:
    def absent(_: str) -> Any:
        raise OSError("libcuda.so.1: cannot open shared object file")

    assert find_gpus(absent).why == "no NVIDIA driver is installed"
    assert "shows no GPU" in find_gpus(lambda _: FakeDriver(count=0)).why
    assert len(find_gpus(lambda _: FakeDriver(count=10_000)).found) == 64


def test_this_machine_answers_whatever_it_has() -> None:
    gpus = find_gpus()
    assert bool(gpus) != bool(gpus.why)
    assert all(g.memory > 0 and g.multiprocessors > 0 for g in gpus.found)


def test_attributes_have_the_vendors_numbers() -> None:
    driver = pytest.importorskip("cuda.bindings.driver")
    names = {"multiprocessors": "MULTIPROCESSOR_COUNT", "l2_bytes": "L2_CACHE_SIZE"}
    names |= {"major": "COMPUTE_CAPABILITY_MAJOR", "minor": "COMPUTE_CAPABILITY_MINOR"}
    table = driver.CUdevice_attribute
    expected = {ours: int(getattr(table, f"CU_DEVICE_ATTRIBUTE_{theirs}")) for ours, theirs in names.items()}
    assert expected == ATTRIBUTES
    assert ctypes.sizeof(ctypes.c_int) == 4


def test_workers_take_gpus_in_turn() -> None:
    for worker, expected in ((0, "GPU-a"), (1, "GPU-b"), (2, "GPU-a"), (3, "GPU-b")):
        environ: dict[str, str] = {}
        assert take_gpu(worker, ("GPU-a", "GPU-b"), environ) == expected
        assert environ == {"CUDA_VISIBLE_DEVICES": expected}
    untouched: dict[str, str] = {}
    assert take_gpu(0, (), untouched) is None
    assert take_gpu("tcp://10.0.0.1:4711", ("GPU-a",), untouched) is None  # another machine's worker
    assert untouched == {}
