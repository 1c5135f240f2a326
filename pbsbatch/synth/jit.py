"""Compile the inner loops without losing their types.

numba's decorator carries no types; this one returns what it was given as far as a type checker sees.
No `fastmath`: reassociated sums would make a pixel depend on the region it was asked for with.
numba's cache knows the file a kernel stands in, not the files of the kernels it calls: after editing one
that others call, remove `__pycache__/*.nbi`. An installed package is replaced as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

from numba import njit

__all__ = ["kernel"]

P = ParamSpec("P")
R = TypeVar("R")


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function to machine code that runs without the interpreter lock, cached on disk."""
    return cast("Callable[P, R]", njit(nogil=True, cache=True)(function))
