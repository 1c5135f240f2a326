"""The decorator of the inner loops, shared with the kernels."""

from __future__ import annotations

from pbsbatch_kernels.jit import kernel

__all__ = ["kernel"]
