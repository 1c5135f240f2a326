"""An engine that reads its output off the pixels, and the laws that every engine keeps.

class TestMyEngine(EngineTests):
    tolerance = 0.01

    @pytest.fixture
    def make(self, folder):
        return lambda: MyEngine(folder)

    @pytest.fixture
    def reference(self, folder):
        return TorchEngine(folder)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from pbsbatch.engines.base import DenseEngine, checked
from pbsbatch.errors import EngineError
from pbsbatch.models.base import Raw
from pbsbatch.models.folder import RAYS

__all__ = ["EngineTests", "FakeEngine", "mark", "tiles"]

SURE = 8.0
"""Logit of a marked place; every other place has -SURE."""


def mark(pixels: NDArray[np.uint8], x: int, y: int, kind: int, width: int, height: int) -> None:
    """Paint the pixel that makes FakeEngine find an elliptic cell there; x and y are places' centres, sizes in px."""
    pixels[y, x] = (kind, width, height)


class FakeEngine:
    """Find a cell wherever the pixel at a place's centre is marked: (class, width, height) instead of a colour."""

    name = "fake"
    precision = "exact"
    lanes = 2
    device = "cpu"

    def __init__(self, classes: int = 3, stride: int = 4) -> None:
        self.notes: list[str] = []
        self.classes, self.stride, self._open = classes, stride, True

    def __call__(self, pixels: NDArray[np.uint8]) -> Raw:
        if not self._open:
            raise EngineError("the engine is closed")
        half = self.stride // 2
        seen = checked(pixels)[:, half :: self.stride, half :: self.stride]
        kinds = np.arange(self.classes, dtype=np.uint8)[None, :, None, None]
        scores = np.where(seen[:, None, :, :, 0] == kinds, SURE, -SURE).astype(np.float32)
        boxes = np.zeros((len(seen), 4, *seen.shape[1:3]), np.float32)
        boxes[:, 2:] = np.log(np.maximum(np.moveaxis(seen[..., 1:], 3, 1), 1) / self.stride)
        return {"scores": scores, "boxes": boxes, "outlines": np.zeros((len(seen), RAYS, *seen.shape[1:3]), np.float32)}

    def warm_up(self, height: int, width: int) -> None:
        """Need nothing."""

    def close(self) -> None:
        """Refuse to run from now on."""
        self._open = False


class EngineTests:
    """The laws of a dense engine. Inherit, and give the fixtures `make` and `reference`.

    `tolerance` is the largest difference from the reference, as a share of how far the reference's values spread.
    """

    tolerance = 0.0
    shape = (64, 96)
    more_shapes = ((32, 48), (48, 32), (80, 64), (16, 16))

    @pytest.fixture
    def engine(self, make: Callable[[], DenseEngine]) -> Iterator[DenseEngine]:
        """Yield a fresh engine."""
        engine = make()
        yield engine
        engine.close()

    def test_says_what_it_is(self, engine: DenseEngine) -> None:
        """Name, precision and device are words: they stand in every result."""
        assert engine.name and engine.precision and engine.device and "auto" not in (engine.name, engine.precision)

    def test_equals_the_reference_in_every_slot(self, engine: DenseEngine, reference: DenseEngine) -> None:
        """Distinct tiles, each held against its own reference."""
        pixels = tiles(5, self.shape)
        found, expected = engine(pixels), reference(pixels)
        assert set(found) == set(expected)
        for name, values in expected.items():
            assert found[name].dtype == np.float32 and found[name].shape == values.shape
            spread = float(np.ptp(values.astype(np.float64)))
            worst = float(np.abs(found[name].astype(np.float64) - values.astype(np.float64)).max())
            assert worst <= self.tolerance * spread, f"{name}: {worst} of {spread}"
        assert not np.array_equal(found["scores"][0], found["scores"][1]), "the tiles are too alike to tell slots apart"

    def test_a_slot_depends_on_its_own_tile_alone(self, engine: DenseEngine) -> None:
        """Alone, in another order, in a batch that is not full: the same bits."""
        pixels = tiles(4, self.shape)
        whole = engine(pixels)
        for slot in range(4):
            _same(engine(pixels[slot : slot + 1]), {k: v[slot : slot + 1] for k, v in whole.items()})
        order = np.array([2, 0, 3, 1])
        _same(engine(pixels[order]), {k: v[order] for k, v in whole.items()})
        _same(engine(pixels[:3]), {k: v[:3] for k, v in whole.items()})

    def test_an_empty_batch_is_empty(self, engine: DenseEngine) -> None:
        """No tiles, no results, of the shapes that they would have."""
        one, none = engine(tiles(1, self.shape)), engine(tiles(0, self.shape))
        assert {k: (0, *v.shape[1:]) for k, v in one.items()} == {k: v.shape for k, v in none.items()}

    def test_results_belong_to_the_caller(self, engine: DenseEngine) -> None:
        """The next call changes neither the last one's results nor any pixels; strided pixels are read rightly."""
        pixels = tiles(2, self.shape)
        before, first = pixels.copy(), engine(pixels)
        kept = {k: v.copy() for k, v in first.items()}
        engine(tiles(2, self.shape, seed=9))
        _same(first, kept)
        np.testing.assert_array_equal(pixels, before)
        wide = np.repeat(pixels, 2, axis=2)[:, :, ::2]
        _same(engine(wide), kept)

    def test_works_after_an_error(self, engine: DenseEngine) -> None:
        """What no network can take is an EngineError and leaves no trace."""
        pixels = tiles(2, self.shape)
        before = engine(pixels)
        for bad in _bad_batches():
            with pytest.raises(EngineError):
                engine(bad)
            _same(engine(pixels), before)

    def test_works_from_two_threads(self, engine: DenseEngine) -> None:
        """Calls at the same time, of two shapes, give what they give one by one."""
        batches = [tiles(2, shape, seed) for seed, shape in enumerate([self.shape, self.more_shapes[0]] * 4)]
        expected = [engine(b) for b in batches]
        with ThreadPoolExecutor(2) as pool:
            for found, wanted in zip(pool.map(engine, batches), expected, strict=True):
                _same(found, wanted)

    def test_takes_any_number_of_shapes(self, engine: DenseEngine) -> None:
        """A shape that fell out of a cache gives the same bits when it comes back."""
        pixels = tiles(1, self.shape)
        engine.warm_up(*self.shape)
        before = engine(pixels)
        for shape in self.more_shapes:
            engine(tiles(1, shape))
        _same(engine(pixels), before)

    def test_a_closed_engine_refuses(self, make: Callable[[], DenseEngine]) -> None:
        """Closing twice is no error, running afterwards is."""
        engine = make()
        engine(tiles(1, self.shape))
        engine.close()
        engine.close()
        with pytest.raises(EngineError, match="closed"):
            engine(tiles(1, self.shape))


def tiles(count: int, shape: tuple[int, int], seed: int = 0) -> NDArray[np.uint8]:
    """Return distinct tiles: light glass with darker discs, each with a cell that only FakeEngine sees."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    pixels = rng.integers(215, 250, (count, *shape, 3)).astype(np.uint8)
    for tile in pixels:
        for _ in range(6):
            cy, cx, r = rng.uniform(0, shape[0]), rng.uniform(0, shape[1]), rng.uniform(3, 14)
            tile[(y - cy) ** 2 + (x - cx) ** 2 < r * r] = rng.integers(60, 200, 3)
        mark(tile, 4 * int(rng.integers(shape[1] // 4)) + 2, 4 * int(rng.integers(shape[0] // 4)) + 2, 1, 20, 30)
    return pixels


def _bad_batches() -> Iterator[NDArray[np.uint8]]:
    yield np.zeros((64, 96, 3), np.uint8)
    yield np.zeros((1, 64, 96, 4), np.uint8)
    yield np.zeros((1, 64, 90, 3), np.uint8)
    yield np.zeros((1, 8, 96, 3), np.uint8)
    yield np.zeros((1, 0, 96, 3), np.uint8)
    yield np.zeros((1, 64, 96, 3), np.float32)


def _same(found: Raw, expected: Raw) -> None:
    assert set(found) == set(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)
