"""Kernel tests without machine code: NUMBA_DISABLE_JIT=1 runs the same loops as plain Python.

There an index beyond an array raises and an integer that overflows warns, where machine code would read on. It is a
thousand times slower: hypothesis draws few examples, and a test marked `compiled` is left out.
"""

from __future__ import annotations

import numba
import pytest
from hypothesis import settings

INTERPRETED = bool(numba.config.DISABLE_JIT)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "compiled: too big for plain Python, or about machine code itself")
    if INTERPRETED:
        settings.register_profile("interpreted", parent=settings.get_profile("default"), max_examples=10)
        settings.load_profile("interpreted")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if INTERPRETED:
        for item in items:
            if item.get_closest_marker("compiled"):
                item.add_marker(pytest.mark.skip(reason="needs machine code (NUMBA_DISABLE_JIT is set)"))
