"""What tests of two-stage models share: an oracle slide, drawn once, and a thread for those that train."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.oracle import write_oracle_slide


@pytest.fixture(scope="session")
def labels() -> np.ndarray:
    """Discs that leave each other alone, all over the slide, some cut by its border."""
    rng = np.random.default_rng(4)
    out = np.zeros((900, 1100), np.int32)
    for number, (x, y) in enumerate(((x, y) for y in range(0, 900, 36) for x in range(0, 1100, 36)), 1):
        at = (x + int(rng.integers(-3, 4)), y + int(rng.integers(-3, 4)))
        cv2.circle(out, at, int(rng.integers(7, 14)), number, -1)
    return out


@pytest.fixture(scope="session")
def slide(labels: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rcnn") / "oracle.tif"
    write_oracle_slide(path, labels)
    return path


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Train on one thread: on busy cores two wait for each other far longer than they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
