"""How much of the host's memory an engine takes, by its name and precision: for planning, before one is loaded.

Measured with the shipped detector, one lane, tiles of 0.3 and 2.4 megapixels (`benchmarks.engines`, memory_mb): 45
bytes per pixel in OpenVINO int8, 41 in bf16, 52 in fp32, 134 in PyTorch on the CPU, which takes 690 MB by itself. Of a
GPU's engines the host's share was never measured: PyTorch's stands for them, which they load.
"""

from __future__ import annotations

from pbsbatch.engines.gpus import Gpus, find_gpus
from pbsbatch.plan import EngineMemory

__all__ = ["memory_of"]

TORCH = EngineMemory(once=750_000_000, times=3.2)
PLAIN = EngineMemory(times=1.25)


def memory_of(asked: str, gpus: Gpus | None = None) -> EngineMemory:
    """Return what the engine NAME or NAME:PRECISION takes; "auto" where there is a GPU may be any of them."""
    name, _, precision = asked.partition(":")
    if name in ("torch", "tensorrt"):
        return TORCH
    if name == "auto" and (find_gpus() if gpus is None else gpus):
        return TORCH
    return PLAIN if precision == "fp32" else EngineMemory()
