"""Which narrow arithmetic this processor has in hardware, and which processors give the same results."""

from __future__ import annotations

import platform
from pathlib import Path

from llvmlite.binding import get_host_cpu_features

from pbsbatch.engines.base import Engine

__all__ = ["has_bf16", "has_int8", "place_of", "processor_class"]


def has_bf16() -> bool:
    """Say whether products of bf16 are native; elsewhere they would be slower than fp32."""
    return _any("avx512bf16", "amx-bf16", "bf16")


def has_int8() -> bool:
    """Say whether dot products of bytes are native; elsewhere they overflow 16 bits unless the model allows for it."""
    return _any("avx512vnni", "avxvnni", "amx-int8", "dotprod")


def _any(*names: str) -> bool:
    features = get_host_cpu_features()
    return any(features.get(name, False) for name in names)


def processor_class() -> str:
    """Name the class of processors that give bit-identical results: networks differ between instruction sets."""
    flags: set[str] = set()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("flags"):
                flags = set(line.split(":", 1)[1].split())
                break
    except OSError:
        pass
    wide = [name for name in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile") if name in flags]
    return "-".join([platform.machine(), *wide])


def place_of(engine: Engine) -> str:
    """Name what an engine's results depend on beside itself: the class of processors, or the GPU."""
    return processor_class() if engine.device == "cpu" else engine.device
