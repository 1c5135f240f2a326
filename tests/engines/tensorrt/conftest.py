"""TensorRT-RTX, where it is installed: its builder needs no GPU."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from pbsbatch.engines.tensorrt.library import Library, find_library


@pytest.fixture(scope="session")
def library() -> Library:
    if find_spec("tensorrt_rtx") is None:
        pytest.skip("tensorrt-rtx is not installed")
    return find_library()
