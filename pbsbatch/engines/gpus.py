"""Which GPUs are here: asked of the driver itself through ctypes.

Laws. Nothing here crashes: without a driver, or with one that fails, there are no GPUs and a word says why. It comes
before any runtime is touched, because some of them fall over without a driver. No context is made on any GPU.
"""

from __future__ import annotations

import ctypes
import os
import re
import uuid
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["VISIBLE", "Gpu", "Gpus", "find_gpus", "take_gpu"]

LIBRARY = "libcuda.so.1"
ATTRIBUTES = {"multiprocessors": 16, "l2_bytes": 38, "major": 75, "minor": 76}
"""CUdevice_attribute by number; a test holds them against the vendor's own table."""
MOST_GPUS = 64
RELEASE = Path("/proc/driver/nvidia/version")
"""Where the kernel's half of the driver says its release: two releases may run the same CUDA."""
VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU, by what decides which engine it can run."""

    index: int
    name: str
    uuid: str
    capability: tuple[int, int]
    multiprocessors: int
    memory: int  # bytes
    l2_bytes: int


@dataclass(frozen=True, slots=True)
class Gpus:
    """What the driver said. why is empty where there are GPUs."""

    found: tuple[Gpu, ...] = ()
    driver: str = ""  # the newest CUDA that it can run and its release, as 13.0 (580.95.05)
    why: str = ""

    def __bool__(self) -> bool:
        return bool(self.found)


class _DriverError(Exception):
    pass


def find_gpus(load: Callable[[str], Any] = ctypes.CDLL, release: Path = RELEASE) -> Gpus:
    """Return the GPUs that this process may use, in the driver's order."""
    try:
        library = load(LIBRARY)
    except OSError:
        return Gpus(why="no NVIDIA driver is installed")
    try:
        _call(library, "cuInit", 0)
        version, count = ctypes.c_int(), ctypes.c_int()
        _call(library, "cuDriverGetVersion", ctypes.byref(version))
        _call(library, "cuDeviceGetCount", ctypes.byref(count))
        driver = f"{version.value // 1000}.{version.value % 1000 // 10}{_release(release)}"
        if count.value < 1:
            return Gpus(driver=driver, why=f"the driver shows no GPU (is {VISIBLE} empty?)")
        return Gpus(tuple(_gpu(library, i) for i in range(min(count.value, MOST_GPUS))), driver)
    except _DriverError as error:
        return Gpus(why=f"the NVIDIA driver does not work: {error}")


def take_gpu(worker: object, uuids: Sequence[str], environ: MutableMapping[str, str] = os.environ) -> str | None:
    """Let this process see one GPU alone, the worker's own, and return it; None where it has no number or no GPU.

    Law: it comes before anything in this process that asks the driver, which looks at its environment once. Workers
    with successive numbers take GPUs in turn.
    """
    if not uuids or not isinstance(worker, int):
        return None
    environ[VISIBLE] = uuids[worker % len(uuids)]
    return environ[VISIBLE]


def _release(path: Path) -> str:
    try:
        found = re.search(r"\b\d{3,}\.\d+(?:\.\d+)?\b", path.read_text(encoding="ascii", errors="replace"))
    except OSError:
        return ""
    return f" ({found[0]})" if found else ""


def _gpu(library: Any, index: int) -> Gpu:
    device, memory = ctypes.c_int(), ctypes.c_size_t()
    name, identity = ctypes.create_string_buffer(256), ctypes.create_string_buffer(16)
    _call(library, "cuDeviceGet", ctypes.byref(device), index)
    _call(library, "cuDeviceGetName", name, 255, device)
    _call(library, "cuDeviceGetUuid_v2", identity, device)
    _call(library, "cuDeviceTotalMem_v2", ctypes.byref(memory), device)
    facts = {what: _attribute(library, number, device) for what, number in ATTRIBUTES.items()}
    return Gpu(
        index, name.value.decode("utf-8", "replace"), f"GPU-{uuid.UUID(bytes=identity.raw)}",
        (facts["major"], facts["minor"]), facts["multiprocessors"], memory.value, facts["l2_bytes"],
    )  # fmt: skip


def _attribute(library: Any, number: int, device: ctypes.c_int) -> int:
    value = ctypes.c_int()
    _call(library, "cuDeviceGetAttribute", ctypes.byref(value), number, device)
    return value.value


def _call(library: Any, name: str, *arguments: Any) -> None:
    """Call a function of the driver; a missing function or a code other than 0 is an error."""
    function = getattr(library, name, None)
    code = 1 if function is None else function(*arguments)
    if code != 0:
        raise _DriverError(f"{name} is missing" if function is None else f"{name} gives error {code}")
