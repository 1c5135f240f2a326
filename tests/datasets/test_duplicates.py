"""Pictures of one cell or one field are found, however turned or shifted; look-alikes are not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbsbatch.datasets.duplicates import group


def field(seed: int, side: int = 420) -> np.ndarray:
    """Return a field of pale discs with two dark ones."""
    rng = np.random.default_rng(seed)
    image = np.full((side, side, 3), 225, np.uint8)
    for _ in range(60):
        x, y, r = (int(v) for v in rng.integers((0, 0, 18), (side, side, 28)))
        cv2.circle(image, (x, y), r, (190, 160, 165), -1)
        cv2.circle(image, (x, y), r // 2, (215, 200, 200), -1)
    for x, y in ((180, 200), (250, 230)):
        cv2.circle(image, (x, y), 24, (int(rng.integers(50, 90)), 40, 120), -1)
        cv2.circle(image, (x + int(rng.integers(-9, 9)), y), 9, (120, 90, 160), -1)
    return np.clip(image + rng.normal(0, 2, image.shape), 0, 255).astype(np.uint8)


def view(image: np.ndarray, x: int, y: int, side: int = 270) -> np.ndarray:
    return np.ascontiguousarray(image[y - side // 2 : y + side // 2, x - side // 2 : x + side // 2])


OTHERS = [view(field(seed), 180, 200) for seed in range(100, 103)]


@given(st.integers(0, 99), st.integers(0, 3), st.booleans(), st.integers(60, 95))
def test_a_picture_turned_mirrored_and_kept_as_jpeg_is_the_same(
    seed: int, turns: int, flip: bool, quality: int
) -> None:
    first = view(field(seed), 180, 200)
    turned = np.rot90(first, turns)
    turned = np.ascontiguousarray(turned[:, ::-1] if flip else turned)
    kept = cv2.imdecode(cv2.imencode(".jpg", turned, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)
    found = group([first, *OTHERS, kept])
    assert found.same == ((0, 4),) and found.of.tolist() == [0, 1, 2, 3, 0]


@given(st.integers(0, 99), st.integers(-3, 3), st.integers(-3, 3))
def test_two_cells_of_one_field_belong_together(seed: int, dx: int, dy: int) -> None:
    image = field(seed)
    found = group([view(image, 180, 200), *OTHERS, view(image, 250 + dx, 230 + dy)])
    assert found.overlapping == ((0, 4),) and not found.same
    assert found.summary() == {
        "pictures": 5, "groups": 4, "in_shared_groups": 2, "largest": 2, "same": 0, "overlapping": 1,
    }  # fmt: skip


def test_the_same_cell_among_other_neighbours_is_another() -> None:
    a, b = (view(field(seed), 180, 200) for seed in (1, 2))
    b[95:175, 95:175] = a[95:175, 95:175]
    assert group([a, b]).of.tolist() == [0, 1]


def test_order_does_not_matter_and_chains_are_one_group() -> None:
    image = field(7)
    pictures = [view(image, 180, 200), OTHERS[0], view(image, 250, 230), np.rot90(view(image, 250, 230))]
    pictures = [np.ascontiguousarray(p) for p in pictures]
    assert group(pictures).of.tolist() == [0, 1, 0, 0]
    assert group(pictures[::-1]).of.tolist() == [0, 0, 1, 0]


def test_pictures_without_structure_are_no_duplicates() -> None:
    assert group([np.full((50, 50, 3), 9, np.uint8)] * 3).of.tolist() == [0, 1, 2]
    assert group([]).summary()["groups"] == 0
    with pytest.raises(ValueError, match="uint8"):
        group([np.zeros((5, 5), np.uint8)])
