"""The resampler against a slow reference, and its law: a pixel depends on its absolute position alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pbsbatch.slides import grid
from pbsbatch.testing.slides import FakeSlide
from pbsbatch_kernels.resample import ONE, area_taps, linear_taps


def noise(w: int, h: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8)


def reference(pixels: NDArray[np.uint8], scale: float, x: int, y: int, w: int, h: int) -> NDArray[np.float64]:
    """Return the exact area mean or linear interpolation, pixel by pixel, white outside."""

    def at(px: int, py: int) -> NDArray[np.float64]:
        inside = 0 <= px < pixels.shape[1] and 0 <= py < pixels.shape[0]
        return pixels[py, px].astype(float) if inside else np.full(3, 255.0)

    def weights(i: int) -> list[tuple[int, float]]:
        if scale > 1:
            lo, hi = i * scale, (i + 1) * scale
            return [(j, (min(j + 1, hi) - max(j, lo)) / scale) for j in range(math.floor(lo), math.ceil(hi))]
        centre = (i + 0.5) * scale - 0.5
        j = math.floor(centre)
        return [(j, 1 - (centre - j)), (j + 1, centre - j)]

    out = np.zeros((h, w, 3))
    for r in range(h):
        for c in range(w):
            out[r, c] = sum(a * b * at(px, py) for py, a in weights(y + r) for px, b in weights(x + c))
    return out


@pytest.mark.parametrize("scale", [0.3, 0.5, 0.77, 1.0, 1.1, 1.5, 2.0, 2.6, 3.0, 4.0, 9.4])
def test_equals_the_reference(scale: float) -> None:
    slide = FakeSlide(noise(40, 33))
    found = slide.read_scaled(scale, -2, -1, 14, 12)
    assert np.abs(found - reference(noise(40, 33), scale, -2, -1, 14, 12)).max() <= 0.62


@given(
    scale=st.one_of(st.sampled_from([0.5, 1.0, 2.0, 3.0, 4.0]), st.floats(0.2, 9)),
    x=st.integers(-5000, 5000),
    y=st.integers(-5000, 5000),
    cut=st.tuples(st.integers(1, 15), st.integers(1, 12)),
)
def test_any_split_gives_the_same_bits(scale: float, x: int, y: int, cut: tuple[int, int]) -> None:
    slide = FakeSlide(np.tile(noise(64, 64), (3, 3, 1)), downsamples=(1, 2, 4))
    x, y = x % 200 - 20, y % 200 - 20
    whole = slide.read_scaled(scale, x, y, 16, 13)
    w, h = cut
    parts = [
        [slide.read_scaled(scale, x, y, w, h), slide.read_scaled(scale, x + w, y, 16 - w, h)],
        [slide.read_scaled(scale, x, y + h, w, 13 - h), slide.read_scaled(scale, x + w, y + h, 16 - w, 13 - h)],
    ]
    np.testing.assert_array_equal(np.concatenate([np.concatenate(row, 1) for row in parts]), whole)


@given(ratio=st.floats(0.05, 60), first=st.integers(-1000, 400_000))
def test_weights_sum_to_one(ratio: float, first: int) -> None:
    fill, width = (area_taps, math.ceil(ratio) + 1) if ratio > 1 else (linear_taps, 2)
    starts, weights = np.empty(7, np.int32), np.empty((7, width), np.int32)
    fill(ratio, first, 7, math.floor(first * ratio) - 1, starts, weights)
    assert (weights.sum(1) == ONE).all() and (weights >= 0).all()


@pytest.mark.parametrize("value", [0, 1, 128, 254, 255])
@pytest.mark.parametrize("scale", [0.4, 1.3, 2.0, 5.0, 31.7])
def test_flat_stays_flat(value: int, scale: float) -> None:
    slide = FakeSlide(np.full((400, 400, 3), value, np.uint8))
    assert (slide.read_scaled(scale, 2, 2, 8, 8) == value).all()


def test_memory_is_bounded_by_halving(monkeypatch: pytest.MonkeyPatch) -> None:
    slide = FakeSlide(noise(500, 300))
    whole = [slide.read_scaled(scale, -5, -5, 120, 90) for scale in (1.0, 2.0, 3.3, 0.7)]
    monkeypatch.setattr(grid, "SOURCE_PX", 2000)
    read, sizes = slide.read, []
    monkeypatch.setattr(slide, "read", lambda *a: (sizes.append(a[3] * a[4]), read(*a))[1])
    for scale, expected in zip((1.0, 2.0, 3.3, 0.7), whole, strict=True):
        np.testing.assert_array_equal(slide.read_scaled(scale, -5, -5, 120, 90), expected)
    assert max(sizes) < 3000


def test_the_next_finer_level_is_read() -> None:
    slide = FakeSlide(noise(64, 64), downsamples=(1, 2, 4))
    for scale, index in ((0.5, 0), (1.0, 0), (1.9, 0), (2.0, 1), (2 - 1e-7, 1), (3.9, 1), (50, 2)):
        assert grid.level_for(slide.levels, scale).index == index


@pytest.mark.parametrize(
    ("sizes", "downsamples"),
    [
        (((10000, 5000), (5000, 2500), (625, 312)), (1, 2, 16)),
        (((300, 250), (37, 31)), (1, 8)),
        (((46000, 32914), (11500, 8228), (2875, 2057)), (1, 4, 16)),
        (((1000, 1000), (400, 400)), (1, 2.5)),
        (((1, 1),), (1,)),
        (((3, 1000), (1, 333)), (1, 3)),
    ],
)
def test_downsamples_are_exact(sizes: tuple[tuple[int, int], ...], downsamples: tuple[float, ...]) -> None:
    assert tuple(level.downsample for level in grid.exact_levels(sizes)) == downsamples


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf])
def test_an_absurd_scale_is_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="work grid"):
        FakeSlide(noise(4, 4)).read_scaled(scale, 0, 0, 2, 2)
