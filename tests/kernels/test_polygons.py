from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import assume, given
from numpy.typing import NDArray
from scipy import ndimage
from shapely import Polygon

from pbsbatch_kernels.polygons import trace
from tests.kernels.shapes import MASK, MASKS, Masks, cell, placed


def rings(drawn: Masks, x: int = 0, y: int = 0) -> list[NDArray[np.float64]]:
    """Return the polygons, each in its own window's pixels."""
    bits, offsets, windows = placed(drawn, x, y)
    vertices, starts = trace(bits, offsets, windows)
    assert starts[0] == 0 and starts[-1] == len(vertices) and vertices.dtype == np.float32
    return [vertices[a:b] - w[:2].astype(float) for a, b, w in zip(starts[:-1], starts[1:], windows, strict=True)]


def largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest piece joined by sides, the first in reading order of equals, without its holes."""
    pieces, n = ndimage.label(mask)
    piece = pieces == 1 + np.bincount(pieces.ravel(), minlength=n + 1)[1:].argmax()
    return ndimage.binary_fill_holes(piece)


def outline(piece: NDArray[np.bool_]) -> Polygon:
    """Return the outer border of a picture's pixels as shapely joins them."""
    y, x = np.nonzero(piece)
    return Polygon(shapely.union_all(shapely.box(x, y, x + 1, y + 1)).exterior)


@given(MASK)
def test_a_polygon_is_valid_and_nearer_than_half_a_pixel(mask: NDArray[np.bool_]) -> None:
    assume(mask.any())
    (ring,) = rings([mask], 40_000, 90_000)
    polygon, true = Polygon(ring), outline(largest(mask))
    assert polygon.is_valid
    assert polygon.area > 0
    walked = [shapely.segmentize(p.exterior, 0.25) for p in (polygon, true)]
    assert shapely.hausdorff_distance(*walked) < 0.5
    on_sides = (ring[:, 0] % 1 == 0) != (ring[:, 1] % 1 == 0)
    assert on_sides.all()
    assert (shapely.distance(shapely.points(ring), true.exterior) == 0).all()


@given(MASKS)
def test_polygons_run_clockwise_on_a_screen_and_have_no_needless_vertex(drawn: Masks) -> None:
    for ring, mask in zip(rings(drawn), drawn, strict=True):
        if not mask.any():
            assert len(ring) == 0
            continue
        edges = np.roll(ring, -1, axis=0) - ring
        following = np.roll(edges, -1, axis=0)
        assert (edges[:, 0] * following[:, 1] != edges[:, 1] * following[:, 0]).all()
        assert shapely.is_ccw(Polygon(ring).exterior)  # y grows downwards


@given(MASK)
def test_a_polygon_moves_with_its_window(mask: NDArray[np.bool_]) -> None:
    near, far = rings([mask]), rings([mask], -70_001, 200_000)
    np.testing.assert_array_equal(near[0], far[0])


def test_thinning_thins() -> None:
    y, x = np.mgrid[-20:21, -20:21]
    disc, box = np.hypot(x, y) < 20, np.ones((9, 30), bool)
    (round_ring, box_ring) = rings([disc, box])
    assert len(round_ring) < 50  # of 156 pixel sides
    assert len(box_ring) <= 8
    assert Polygon(round_ring).area == pytest.approx(disc.sum(), rel=0.02)


def test_of_equal_pieces_the_first_and_corners_do_not_join() -> None:
    (ring,) = rings([np.array([[1, 1, 0, 0], [0, 0, 1, 1]], bool)])
    assert Polygon(ring).bounds == (0, 0, 2, 1)


def test_tips_that_meet_at_a_corner_enclose_a_hole() -> None:
    mask = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0]], bool)
    (ring,) = rings([mask])
    assert Polygon(ring).contains(shapely.Point(1.5, 1.5))


def test_one_pixel_is_the_diamond_of_its_sides() -> None:
    (ring,) = rings([np.ones((1, 1), bool)])
    assert ring.tolist() == [[0.5, 0], [1, 0.5], [0.5, 1], [0, 0.5]]


def test_many_cells_grow_the_output() -> None:
    drawn = [cell(k) for k in range(40)] + [np.indices((60, 61)).sum(0) % 4 < 2]
    alone = [rings([mask])[0] for mask in drawn]
    for one, together in zip(alone, rings(drawn), strict=True):
        np.testing.assert_array_equal(one, together)


def test_windows_beyond_what_float32_holds_are_refused() -> None:
    for x in (2**23, -(2**23) - 1):
        with pytest.raises(ValueError, match="float32"):
            rings([np.ones((1, 1), bool)], x)
    (ring,) = rings([np.ones((1, 1), bool)], 2**23 - 1)
    assert ring[0].tolist() == [0.5, 0]
