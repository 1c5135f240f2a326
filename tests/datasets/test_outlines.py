import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbsbatch.datasets.outlines import directions, fill, outline_of_mask, vertices
from pbsbatch.datasets.samples import RAYS
from pbsbatch.synth import Scene


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def inside_by_even_odd(box: np.ndarray, outline: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The slow reference: does a ray to the right from each pixel's centre cross the polygon an odd number of times?"""
    corners = vertices(box, outline).astype(np.float64)
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]] + 0.5
    out = np.zeros(shape, bool)
    for (xa, ya), (xb, yb) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        between = (ya > y) != (yb > y)
        out ^= between & (x < xa + (y - ya) * (xb - xa) / np.where(between, yb - ya, 1.0))
    return out


@given(st.floats(6, 20), st.floats(6, 20), st.integers(0, 2**20))
def test_fill_is_the_polygon_of_the_vertices(width: float, height: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    outline = rng.uniform(0.5, 1.3, RAYS).astype(np.float32)
    box = np.float32([4.3, 5.1, 4.3 + width, 5.1 + height])
    found, wanted = fill(box, outline, (32, 30)), inside_by_even_odd(box, outline, (32, 30))
    assert (found != wanted).sum() <= 1  # a centre that lies on an edge may fall either way


@given(st.floats(8, 90), st.floats(8, 90), st.floats(0, 1), st.floats(0, 1))
def test_an_ellipse_in_its_box_is_all_ones(width: float, height: float, fx: float, fy: float) -> None:
    box = np.float32([3 + fx, 3 + fy, 3 + fx + width, 3 + fy + height])
    y, x = np.mgrid[0:100, 0:100] + 0.5
    middle, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
    mask = ((x - middle[0]) / half[0]) ** 2 + ((y - middle[1]) / half[1]) ** 2 < 1
    found = outline_of_mask(mask, box)
    assert np.abs(found - 1).max() < 1.2 / min(width, height)
    assert abs(found.mean() - 1) < 0.6 / min(width, height)  # .50 is the most that 6,000 ellipses showed


@given(st.integers(8, 60), st.integers(8, 60))
def test_a_rectangle_reaches_its_corners(width: int, height: int) -> None:
    mask = np.zeros((70, 70), bool)
    mask[5 : 5 + height, 5 : 5 + width] = True
    box = np.float32([5, 5, 5 + width, 5 + height])
    found = outline_of_mask(mask, box)
    flat = np.abs(directions()).max(1)
    off_corner = np.abs(flat - np.sqrt(0.5)) > 0.1  # a sector's mean rounds a corner off
    assert np.abs(found - 1 / flat)[off_corner].max() < 0.05
    assert iou(fill(box, found, mask.shape), mask) > 0.94


@pytest.mark.parametrize(("diameter", "least"), [(29, 0.97), (48, 0.98), (100, 0.98)])
def test_drawn_cells_survive_the_round_trip(diameter: float, least: float) -> None:
    mpp = 7.2 / diameter
    scene = Scene(int(110 / mpp), int(90 / mpp), mpp=mpp, seed=3, white_per_1000=80, platelets_per_1000=0)
    cells = scene.cells(0, 0, scene.width, scene.height)
    inner = (cells.boxes[:, :2] > 0).all(1) & (cells.boxes[:, 2:] < [scene.width, scene.height]).all(1)
    found = []
    for i in np.flatnonzero(inner):
        mask = cells.mask(i)
        box = np.float32([0, 0, mask.shape[1], mask.shape[0]])
        found.append(iou(fill(box, outline_of_mask(mask, box), mask.shape), mask))
    assert len(found) > 40
    assert min(found) > least - 0.01 and np.quantile(found, 0.02) > least


def test_a_mask_without_its_centre_has_no_outline() -> None:
    ring = np.ones((21, 21), bool)
    ring[8:13, 8:13] = False
    assert np.isnan(outline_of_mask(ring, np.float32([0, 0, 21, 21]))).all()
    assert np.isnan(outline_of_mask(np.ones((4, 4), bool), np.float32([4, 4, 9, 9]))).all()
    assert np.isnan(outline_of_mask(np.zeros((0, 0), bool), np.float32([0, 0, 2, 2]))).all()


@pytest.mark.parametrize(
    ("mask", "box"),
    [
        (np.ones((4, 4), np.uint8), [0, 0, 4, 4]),
        (np.ones(4, bool), [0, 0, 4, 4]),
        (np.ones((4, 4), bool), [0, 0, 4]),
        (np.ones((4, 4), bool), [0, 0, 0, 4]),
        (np.ones((4, 4), bool), [0, 0, np.nan, 4]),
    ],
)
def test_nonsense_is_refused(mask: np.ndarray, box: list[float]) -> None:
    with pytest.raises(ValueError, match="box"):
        outline_of_mask(mask, np.float32(box))
