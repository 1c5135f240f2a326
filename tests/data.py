"""Find the public data sets beside the repository; tests that need one skip where it is absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("PBSBATCH_DATA", Path(__file__).resolve().parents[1] / "../shared/data")).resolve()


def data(relative: str) -> Path:
    """Return a file or folder of the public data, or skip the test."""
    path = ROOT / relative
    if not path.exists():
        pytest.skip(f"no {relative} in {ROOT} (set PBSBATCH_DATA)")
    return path
