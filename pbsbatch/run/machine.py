"""What this machine has: packages, libraries, processor, memory, disk, GPUs. For `pbsbatch doctor`.

Law: nothing here fails. What is missing or broken is a value that says so.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pbsbatch import __version__
from pbsbatch.engines.gpus import Gpus, find_gpus
from pbsbatch.engines.processor import has_bf16, has_int8, processor_class
from pbsbatch.errors import PbsbatchError
from pbsbatch.run.output import free_bytes

__all__ = ["CORE", "EXTRAS", "advice", "describe"]

CORE = (
    "numpy", "numba", "opencv-python-headless", "pyvips", "openslide-python", "openslide-bin", "zarr", "dask",
    "distributed", "openvino",
)  # fmt: skip
EXTRAS = {
    "gpu": ("torch", "safetensors"), "tensorrt": ("tensorrt", "onnx"), "trt-rtx": ("tensorrt-rtx", "onnx"),
    "train": ("nncf", "timm"), "report": ("matplotlib", "pyarrow"),
}  # fmt: skip
OTHER_NAMES = {"tensorrt": ("tensorrt-cu13", "tensorrt-cu12")}
"""What a package is called as well, by the CUDA that it is for."""
LITTLE_DISK, LITTLE_MEMORY = 20e9, 2e9
"""Bytes that make a night end early: of disk in all, of memory per core."""


def describe(folder: Path) -> dict[str, Any]:
    """Return everything that is known without computing anything; folder is where results would go."""
    gpus = find_gpus()
    return {
        "pbsbatch": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": {name: _version(name) for name in CORE},
        "extras": {extra: {name: _version(name) for name in names} for extra, names in EXTRAS.items()},
        "images": _images(),
        "processor": {
            "model": _cpu(), "cores": len(os.sched_getaffinity(0)), "class": processor_class(),
            "bf16": has_bf16(), "int8": has_int8(), "load": os.getloadavg()[0],
        },
        "memory_bytes": _memory(),
        "disk": {"folder": str(folder.absolute()), "free_bytes": free_bytes(folder.absolute())},
        "gpus": _gpus(gpus),
        "tensorrt": _tensorrt(gpus),
    }  # fmt: skip


def advice(facts: Mapping[str, Any], taken: str) -> list[str]:
    """Return what would make this machine faster or safer; `taken` is the engine that a run would use."""
    said: list[str] = []
    extras, gpus = facts["extras"], facts["gpus"]["found"]
    if gpus and not all(extras["gpu"].values()):
        said.append("A GPU is here and PyTorch is not: pip install 'pbsbatch[gpu]'")
    elif gpus and not facts["tensorrt"]["library"]:
        said.append("TensorRT would use this GPU better: pip install 'pbsbatch[tensorrt]'")
    elif gpus and taken != "tensorrt":
        said.append("Compile the model for this GPU once: pbsbatch models compile smear")
    if not gpus and facts["processor"]["cores"] and not facts["processor"]["int8"]:
        said.append("This processor multiplies no bytes (AVX-512 VNNI, AVX-VNNI or AMX): a newer one runs int8")
    cores, memory = facts["processor"]["cores"], facts["memory_bytes"]["available"]
    if memory is not None and memory < LITTLE_MEMORY * cores:
        fewer = max(1, int(memory // LITTLE_MEMORY))
        said.append(f"Little memory is free for {cores} workers: close other programs, or use --workers {fewer}")
    if facts["disk"]["free_bytes"] < LITTLE_DISK:
        said.append("Little disk is free: results of a night may need tens of gigabytes")
    missing = [name for name, found in facts["packages"].items() if not found]
    if missing:
        said.append(f"Packages are missing ({', '.join(missing)}): pip install --force-reinstall pbsbatch")
    return said


def _version(package: str) -> str | None:
    for name in (package, *OTHER_NAMES.get(package, ())):
        with suppress(PackageNotFoundError):
            return version(name)
    return None


def _images() -> dict[str, Any]:
    from pbsbatch.slides.libraries import image_libraries

    return image_libraries()


def _cpu() -> str:
    for line in _lines("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _memory() -> dict[str, int | None]:
    """Return bytes in all and bytes that are free, by what the kernel says and what a container may use."""
    said = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in _lines("/proc/meminfo") if ":" in line}
    total, available = said.get("MemTotal"), said.get("MemAvailable")
    limit, used = (_number(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current"))
    if limit is not None and total is not None and limit < total:
        room = max(0, limit - (used or 0))
        total, available = limit, room if available is None else min(available, room)
    return {"total": total, "available": available}


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []


def _number(path: str) -> int | None:
    text = "".join(_lines(path)).strip()
    return int(text) if text.isdecimal() else None


def _gpus(gpus: Gpus) -> dict[str, Any]:
    found = [
        {"name": g.name, "memory_bytes": g.memory, "capability": ".".join(map(str, g.capability))} for g in gpus.found
    ]
    return {"found": found, "cuda_driver": gpus.driver or None, "why_none": gpus.why or None}


def _tensorrt(gpus: Gpus) -> dict[str, Any]:
    """Return which library is here and how many plans are kept. No library is loaded without a driver."""
    names = {name: found for name in ("tensorrt", "tensorrt-rtx") if (found := _version(name))}
    library = next((f"{name} {found}" for name, found in names.items()), None)
    return {"library": library, "plans": _plans() if library and gpus else 0}


def _plans() -> int:
    from pbsbatch.engines.tensorrt.compiled import plan_cache

    try:
        return sum(1 for kept in plan_cache().find({}) if kept.stamp is not None)
    except (PbsbatchError, OSError):
        return 0
