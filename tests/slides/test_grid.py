"""The thumbnail around bad tiles, and FakeSlide's own promises."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from pbsbatch.errors import TileError
from pbsbatch.geometry import Box
from pbsbatch.testing.slides import FakeSlide

GRAY = np.full((800, 1000, 3), 100, np.uint8)


def test_a_bad_tile_leaves_a_hole_in_the_thumbnail() -> None:
    slide = FakeSlide(GRAY, broken=Box(300, 200, 50, 50))
    small, scale = slide.thumbnail(500)
    lost = (small == 128).all(-1)
    assert scale == 2 and lost[100:125, 150:175].all()
    assert 0 < lost.mean() < 0.02 and (small[~lost] == 100).all()


def test_a_slide_of_bad_tiles_has_no_thumbnail() -> None:
    with pytest.raises(TileError):
        FakeSlide(GRAY, broken=Box(0, 0, 1000, 800)).thumbnail(500)


def test_a_fake_slide_fails_where_it_is_told_to() -> None:
    slide = pickle.loads(pickle.dumps(FakeSlide(GRAY, downsamples=(1, 2), broken=[Box(10, 10, 5, 5)], mpp=None)))
    for level, box in ((0, (14, 14, 1, 1)), (1, (0, 0, 6, 6))):
        with pytest.raises(TileError):
            slide.read(level, *box)
    assert (slide.read(0, 15, 15, 4, 4) == 100).all() and slide.mpp_source is None


def test_levels_must_begin_with_the_slide() -> None:
    with pytest.raises(ValueError, match="downsample 1"):
        FakeSlide(GRAY, downsamples=(2, 4))
