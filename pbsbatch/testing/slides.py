"""A slide made of an array, and the laws that every slide reader keeps."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbsbatch.errors import TileError
from pbsbatch.geometry import Box, Level
from pbsbatch.slides import grid
from pbsbatch.slides.base import MppSource, Slide
from pbsbatch.slides.origin import NOBODY

__all__ = ["FakeSlide", "SlideTests"]

WHITE = (255, 255, 255)


class FakeSlide:
    """A Slide over an (h, w, 3) array in memory. Picklable.

    Levels are area means of the array. A read that touches one of the broken boxes (level-0 pixels) raises TileError
    on every level, always.
    """

    format = "array"

    def __init__(
        self,
        pixels: NDArray[np.uint8],
        *,
        id: str = "fake",
        downsamples: Sequence[float] = (1,),
        mpp: float | None = 0.25,
        mpp_source: MppSource | None = "metadata",
        background: tuple[int, int, int] = WHITE,
        broken: Box | Sequence[Box] = (),
        path: Path | None = None,
    ) -> None:
        if not downsamples or downsamples[0] != 1:
            raise ValueError("the first level of a slide has downsample 1")
        self.id, self.mpp, self.background = id, mpp, background
        self.mpp_source: MppSource | None = None if mpp is None else mpp_source
        self.path = path if path is not None else Path(f"{id}.fake")
        self.broken = (broken,) if isinstance(broken, Box) else tuple(broken)
        self.associated: tuple[str, ...] = ()
        self.notes: tuple[str, ...] = ()
        self.origin = NOBODY
        self.levels: tuple[Level, ...] = (Level(0, pixels.shape[1], pixels.shape[0], 1.0),)
        self._pixels = [np.require(pixels, np.uint8, ["C"])]
        self._closed = False
        broken_later, self.broken = self.broken, ()
        for index, downsample in enumerate(downsamples[1:], 1):
            w, h = (max(1, int(side / downsample)) for side in (pixels.shape[1], pixels.shape[0]))
            self._pixels.append(grid.read_scaled(self, downsample, 0, 0, w, h))
            self.levels = (*self.levels, Level(index, w, h, float(downsample)))
        self.broken = broken_later

    def read(self, level: int, x: int, y: int, w: int, h: int) -> NDArray[np.uint8]:
        """Return (h, w, 3) RGB with background outside."""
        if self._closed:
            raise ValueError(f"{self.path} is closed")
        want, full, d = Box(x, y, w, h), self.levels[level], self.levels[level].downsample
        for box in self.broken:
            if x * d < box.x1 and box.x < (x + w) * d and y * d < box.y1 and box.y < (y + h) * d:
                raise TileError(f"cannot read level {level}, x {x}, y {y}, {w} x {h} px", path=self.path)
        out = np.empty((h, w, 3), np.uint8)
        out[:] = self.background
        inside = want.intersect(Box(0, 0, full.width, full.height))
        if inside.area:
            source = self._pixels[level][inside.y : inside.y1, inside.x : inside.x1]
            out[inside.y - y : inside.y1 - y, inside.x - x : inside.x1 - x] = source
        return out

    def read_scaled(self, scale: float, x: int, y: int, w: int, h: int) -> NDArray[np.uint8]:
        """Return (h, w, 3) RGB on the work grid."""
        return grid.read_scaled(self, scale, x, y, w, h)

    def thumbnail(self, max_px: int) -> tuple[NDArray[np.uint8], float]:
        """Return the whole slide and its scale."""
        return grid.thumbnail(self, max_px)

    def close(self) -> None:
        """Make further reads an error."""
        self._closed = True


class SlideTests:
    """The laws of a slide. Inherit, and give a pytest fixture `slide`; the other hooks are optional.

    `expected` returns level 0 as it must be read, within `tolerance` grey levels (0: exactly).
    """

    tolerance = 0
    scales = (1.0, 2.0, 1.37, 0.61, 4.0, 6.5)

    def expected(self) -> NDArray[np.uint8] | None:
        """Return the pixels of level 0 where they are known."""
        return None

    def reopen(self, slide: Slide) -> Slide:
        """Return the same slide, opened again."""
        again: Slide = pickle.loads(pickle.dumps(slide))  # noqa: S301 - our own bytes
        return again

    def test_is_a_slide(self, slide: Any) -> None:
        """Every name of the protocol is there, and the words are words."""
        assert isinstance(slide, Slide)
        assert slide.id and slide.format
        assert all(isinstance(text, str) and "\n" not in text for text in (*slide.associated, *slide.notes))
        assert len(slide.background) == 3

    def test_levels_are_ordered_and_exact(self, slide: Slide) -> None:
        """Level 0 is the finest; a downsample explains both sides within a pixel or so."""
        full = slide.levels[0]
        assert full.downsample == 1
        assert [level.index for level in slide.levels] == list(range(len(slide.levels)))
        downsamples = [level.downsample for level in slide.levels]
        assert downsamples == sorted(set(downsamples))
        for level in slide.levels:
            assert abs(level.width - full.width / level.downsample) <= 2
            assert abs(level.height - full.height / level.downsample) <= 2

    def test_scale_has_a_source(self, slide: Slide) -> None:
        """A scale without a source, or a source without a scale, is a guess."""
        assert (slide.mpp is None) == (slide.mpp_source is None)
        assert slide.mpp is None or slide.mpp > 0

    def test_reads_what_was_written(self, slide: Slide) -> None:
        """Level 0 equals the expected pixels."""
        expected = self.expected()
        if expected is None:
            return
        full = slide.levels[0]
        assert expected.shape == (full.height, full.width, 3)
        found = slide.read(0, 0, 0, full.width, full.height)
        assert int(np.abs(found.astype(np.int16) - expected).max()) <= self.tolerance

    def test_reads_are_crops(self, slide: Slide) -> None:
        """Any read is a crop of a larger read, on every level."""
        for level in slide.levels:
            window = _window(level)
            whole = slide.read(level.index, window.x, window.y, window.w, window.h)
            assert whole.shape == (window.h, window.w, 3) and whole.dtype == np.uint8
            for part in _parts(window):
                found = slide.read(level.index, part.x, part.y, part.w, part.h)
                y, x = part.y - window.y, part.x - window.x
                np.testing.assert_array_equal(found, whole[y : y + part.h, x : x + part.w])

    def test_pads_with_background(self, slide: Slide) -> None:
        """Outside is background, on all sides, also where nothing is inside."""
        level = slide.levels[-1]
        w, h = min(level.width, 64), min(level.height, 64)
        inside = slide.read(level.index, 0, 0, w, h)
        around = slide.read(level.index, -5, -7, w + 5, h + 7)
        np.testing.assert_array_equal(around[7:, 5:], inside)
        assert (around[:7] == slide.background).all() and (around[:, :5] == slide.background).all()
        beyond = slide.read(level.index, level.width - 1, level.height - 1, 9, 9)
        assert (beyond[1:] == slide.background).all() and (beyond[:, 1:] == slide.background).all()
        assert (slide.read(0, -500, -500, 20, 10) == slide.background).all()
        assert slide.read(0, 0, 0, 0, 5).shape == (5, 0, 3)

    def test_a_read_is_the_callers_own(self, slide: Slide) -> None:
        """Writing into a result changes no later read."""
        full = slide.levels[0]
        w, h = min(full.width, 32), min(full.height, 32)
        first = slide.read(0, 0, 0, w, h)
        kept = first.copy()
        first ^= 255
        np.testing.assert_array_equal(slide.read(0, 0, 0, w, h), kept)

    def test_scaled_reads_do_not_depend_on_the_region(self, slide: Slide) -> None:
        """A pixel of the work grid has the same value whatever region it was read with."""
        for scale in self.scales:
            w, h = (min(150, int(side / scale) + 8) for side in (slide.levels[0].width, slide.levels[0].height))
            window = Box(-3, -4, w, h)
            whole = slide.read_scaled(scale, window.x, window.y, w, h)
            assert whole.shape == (h, w, 3) and whole.dtype == np.uint8
            for part in _parts(window):
                found = slide.read_scaled(scale, part.x, part.y, part.w, part.h)
                y, x = part.y - window.y, part.x - window.x
                np.testing.assert_array_equal(found, whole[y : y + part.h, x : x + part.w])

    def test_scaled_to_a_level_is_that_level(self, slide: Slide) -> None:
        """At the scale of a level the work grid is the level, untouched."""
        for level in slide.levels:
            box = _window(level)
            at_scale = slide.read_scaled(level.downsample, box.x, box.y, min(box.w, 99), min(box.h, 99))
            np.testing.assert_array_equal(
                at_scale, slide.read(level.index, box.x, box.y, min(box.w, 99), min(box.h, 99))
            )

    def test_threads_read_the_same(self, slide: Slide) -> None:
        """Four threads at once see what one sees."""
        parts = [part for level in slide.levels for part in [(level.index, p) for p in _parts(_window(level))]] * 2
        alone = [slide.read(k, p.x, p.y, p.w, p.h) for k, p in parts]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(lambda it: slide.read(it[0], it[1].x, it[1].y, it[1].w, it[1].h), parts))
        for one, four in zip(alone, together, strict=True):
            np.testing.assert_array_equal(one, four)

    def test_reopens(self, slide: Slide) -> None:
        """A slide opened again is the same; a closed one says so."""
        box = _window(slide.levels[-1])
        last = len(slide.levels) - 1
        before = slide.read(last, box.x, box.y, box.w, box.h)
        again = self.reopen(slide)
        slide.close()
        assert (again.id, again.levels, again.mpp, again.mpp_source) == (
            slide.id,
            slide.levels,
            slide.mpp,
            slide.mpp_source,
        )
        np.testing.assert_array_equal(again.read(last, box.x, box.y, box.w, box.h), before)
        again.close()
        try:
            again.read(last, 0, 0, 1, 1)
        except ValueError:
            return
        raise AssertionError("a closed slide was read")

    def test_thumbnail(self, slide: Slide) -> None:
        """The whole slide, at most max_px long, never enlarged, and equal to a scaled read."""
        full = slide.levels[0]
        for max_px in (1, 50, 200):
            small, scale = slide.thumbnail(max_px)
            assert max(small.shape[:2]) == min(max_px, max(full.width, full.height))
            assert scale == max(1, max(full.width, full.height) / max_px)
            np.testing.assert_array_equal(small, slide.read_scaled(scale, 0, 0, small.shape[1], small.shape[0]))


def _window(level: Level) -> Box:
    """Return a box of at most 700 px a side around the level's middle, large enough to cross tiles."""
    w, h = min(level.width, 700), min(level.height, 700)
    return Box((level.width - w) // 2, (level.height - h) // 2, w, h)


def _parts(box: Box) -> list[Box]:
    """Return a few overlapping parts of a box, one pixel among them."""
    half = Box(box.x + box.w // 3, box.y + box.h // 4, max(1, box.w // 2), max(1, box.h // 2))
    left, low = Box(box.x, box.y, max(1, box.w // 3), box.h), Box(box.x, box.y1 - 1, box.w, 1)
    return [half.intersect(box), left, low, Box(box.x + box.w // 2, box.y + box.h // 2, 1, 1)]
