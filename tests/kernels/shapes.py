"""Masks for the tests of everything that reads packed masks: specks, noise, thin things, cells."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from pbsbatch_kernels import masks

Masks = list[NDArray[np.bool_]]
Packed = tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int32]]


def noise(seed: int, density: float) -> NDArray[np.bool_]:
    """Return pixels set at random."""
    rng = np.random.default_rng(seed)
    return rng.random(rng.integers(1, 25, 2)) < density


def cell(seed: int) -> NDArray[np.bool_]:
    """Return a round thing with a wavy border, and sometimes a hole and a wide margin."""
    rng = np.random.default_rng(seed)
    radius, lobes, phase = rng.uniform(1, 14), int(rng.integers(2, 7)), rng.uniform(0, 6)
    margin = rng.integers(0, 40) if rng.random() < 0.2 else 1
    half = int(radius * 1.3) + int(margin)
    y, x = np.mgrid[-half : half + 1, -half : half + 1] + rng.uniform(-0.5, 0.5, (2, 1, 1))
    distance = np.hypot(x, y * rng.uniform(0.7, 1.3))
    mask = distance < radius * (1 + 0.2 * np.sin(lobes * np.arctan2(y, x) + phase))
    return mask & ~((distance < radius / 3) & (rng.random() < 0.3))


SEEDS = st.integers(0, 2**32 - 1)
MASK = st.one_of(
    hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=9)),
    st.builds(noise, SEEDS, st.sampled_from([0.1, 0.4, 0.6, 0.8, 0.95])),
    st.builds(cell, SEEDS),
)
MASKS = st.lists(MASK, max_size=5)


def placed(drawn: Masks, x: int = 0, y: int = 0) -> Packed:
    """Return the masks packed, their windows one beside the other from (x, y) on."""
    bits, offsets = masks.pack(drawn)
    widths = [m.shape[1] for m in drawn]
    left = x + np.cumsum([0, *widths[:-1]])
    windows = np.array([(a, y, m.shape[1], m.shape[0]) for a, m in zip(left, drawn, strict=False)], np.int32)
    return bits, offsets, windows.reshape(-1, 4)
