"""Which narrow arithmetic this processor has in hardware."""

from __future__ import annotations

from llvmlite.binding import get_host_cpu_features

__all__ = ["has_bf16", "has_int8"]


def has_bf16() -> bool:
    """Say whether products of bf16 are native; elsewhere they would be slower than fp32."""
    return _any("avx512bf16", "amx-bf16", "bf16")


def has_int8() -> bool:
    """Say whether dot products of bytes are native; elsewhere they overflow 16 bits unless the model allows for it."""
    return _any("avx512vnni", "avxvnni", "amx-int8", "dotprod")


def _any(*names: str) -> bool:
    features = get_host_cpu_features()
    return any(features.get(name, False) for name in names)
