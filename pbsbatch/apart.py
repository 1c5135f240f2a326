"""Let a library do in a thread of its own what it would do to the thread that calls it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["in_own_thread"]

T = TypeVar("T")


def in_own_thread(call: Callable[[], T]) -> T:
    """Return what the call returns, from a thread that ends with it.

    OpenVINO needs this: its CPU plugin gives the thread that loads it another stack for signals, and frees that stack
    when the plugin goes, whichever thread lets go of it. The next signal to the first thread (a child that ended,
    Ctrl-C) is then written to freed memory, and the process dies of a segmentation fault.
    """
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()
