from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pbsbatch_kernels.packing import pack_scaled


def paint(windows, offsets, bits, i, width, height):
    canvas = np.zeros((height, width), bool)
    x, y, w, h = windows[i]
    canvas[y : y + h, x : x + w] = np.unpackbits(bits[offsets[i] : offsets[i + 1]], count=w * h).reshape(h, w)
    return canvas


def slow(mask, window, scale, width, height):
    """Every level-0 pixel asks for the work pixel under its centre."""
    x, y, w, h = window
    canvas = np.zeros((height, width), bool)
    for row in range(height):
        for col in range(width):
            u, v = int(np.floor((col + 0.5) / scale)) - x, int(np.floor((row + 0.5) / scale)) - y
            canvas[row, col] = 0 <= u < w and 0 <= v < h and mask[v, u]
    return canvas


@example(seed=16804, scale=1.1)  # a centre that lies on a work pixel's border but for rounding
@given(
    seed=st.integers(0, 10**6),
    scale=st.one_of(st.sampled_from([1.0, 2.0, 3.0, 0.5, 2.5]), st.floats(0.3, 4, allow_subnormal=False)),
)
def test_packing_equals_asking_every_pixel(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    width, height = (int(v) for v in rng.integers(1, 40, 2))
    n = int(rng.integers(0, 4))
    windows = np.concatenate([rng.integers(-6, 20, (n, 2)), rng.integers(0, 9, (n, 2))], axis=1).astype(np.int64)
    masks = [rng.random((h, w)) < 0.6 for _, _, w, h in windows]
    out, offsets, bits = pack_scaled(masks, windows, scale, width, height)
    for i in range(n):
        np.testing.assert_array_equal(
            paint(out, offsets, bits, i, width, height), slow(masks[i], windows[i], scale, width, height)
        )


def test_masks_and_windows_must_fit() -> None:
    with pytest.raises(ValueError, match="1 masks for 2 windows"):
        pack_scaled([np.ones((1, 1), bool)], np.zeros((2, 4), np.int64), 1.0, 5, 5)
    with pytest.raises(ValueError, match="mask 0 has shape"):
        pack_scaled([np.ones((2, 1), bool)], np.array([[0, 0, 2, 1]]), 1.0, 5, 5)
    with pytest.raises(ValueError, match="scale"):
        pack_scaled([], np.zeros((0, 4), np.int64), 0.0, 5, 5)
