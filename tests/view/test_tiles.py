"""Tiles cover a slide once; a cache keeps its bound."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pbsbatch.view.cache import Cache
from pbsbatch.view.tiles import DEEPEST, SIDE, Grid


@given(st.integers(1, 200_000), st.integers(1, 200_000), st.integers(DEEPEST, 9), st.data())
def test_every_point_lies_in_one_tile_and_none_lies_outside(
    width: int, height: int, level: int, data: st.DataObject
) -> None:
    grid = Grid(width, height)
    level = min(level, grid.coarsest)
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    rows, columns = grid.shape(level)
    first = grid.tile(level, 0, 0)
    assert first is not None
    tile = grid.tile(level, x // first.side, y // first.side)
    assert tile is not None and tile.x <= x < tile.x + tile.side and tile.y <= y < tile.y + tile.side
    assert grid.tile(level, columns - 1, rows - 1) is not None
    assert grid.tile(level, columns, 0) is None and grid.tile(level, 0, rows) is None
    assert grid.tile(level, -1, 0) is None and grid.tile(level, 0, -1) is None


@given(st.integers(1, 200_000), st.integers(1, 200_000))
def test_the_coarsest_level_is_the_first_of_one_tile(width: int, height: int) -> None:
    grid = Grid(width, height)
    assert grid.shape(grid.coarsest) == (1, 1)
    assert grid.coarsest == 0 or grid.shape(grid.coarsest - 1) != (1, 1)
    assert grid.tile(grid.coarsest + 1, 0, 0) is None and grid.tile(DEEPEST - 1, 0, 0) is None
    assert Grid(SIDE, SIDE).coarsest == 0 and Grid(SIDE + 1, 1).coarsest == 1


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 60)), max_size=60))
def test_a_cache_holds_no_more_than_it_may_and_gives_what_was_made(asked: list[tuple[int, int]]) -> None:
    cache: Cache[bytes] = Cache(100, len)
    sizes: dict[int, int] = {}
    for key, first in asked:
        size = sizes.setdefault(key, first)
        assert cache.get(key, lambda size=size: bytes(size)) == bytes(size)
        assert cache.held <= 100
    made: list[int] = []
    if sizes:
        last = asked[-1][0]
        cache.get(last, lambda: made.append(1) or b"")
        assert not made  # what was used last is still there
