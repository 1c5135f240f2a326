"""A picture in another look has that look's colours, and is itself in its own."""

from __future__ import annotations

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pbsbatch.train.classifier.looks import LEAST_CONTRAST, Look, drawn_look, look_of, redressed
from pbsbatch.train.stain import densities, of_densities

MPP, SIDE = 0.25, 120
OWN = Look(np.array([0.02, 0.11, 0.23]), np.array([0.2, 0.3, 0.18]), np.array([1.1, 1.8, 0.4]))


def smear(look: Look) -> np.ndarray:
    """Return a nucleus in the middle, red cells around it, and glass."""
    where = np.zeros((SIDE, SIDE), np.uint8)
    for x in range(12, SIDE, 24):
        for y in (12, SIDE - 12):
            cv2.circle(where, (x, y), 10, 1, -1)
    cv2.circle(where, (SIDE // 2, SIDE // 2), 20, 2, -1)
    above = np.stack([np.zeros(3), look.red, look.nucleus])[where]
    return of_densities((above + look.glass).astype(np.float32), np.eye(3), np.zeros(3))


def same(found: Look, wanted: Look, within: float) -> None:
    for name in Look.__slots__:
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), atol=within, err_msg=name)


def test_a_look_is_measured() -> None:
    same(look_of(smear(OWN), MPP), OWN, 0.02)


@given(st.integers(0, 2**31))
def test_a_picture_takes_a_look_on_and_off(seed: int) -> None:
    becomes = drawn_look(np.random.default_rng(seed))
    picture = smear(OWN)
    np.testing.assert_allclose(redressed(picture, OWN, OWN).astype(int), picture, atol=1)
    dressed = densities(redressed(picture, OWN, becomes))
    for at, wanted in (
        ((SIDE // 2, SIDE // 2), becomes.glass + becomes.nucleus), ((12, 12), becomes.glass + becomes.red),
        ((35, 60), becomes.glass),
    ):  # fmt: skip
        shown = np.clip(wanted, 0, None)
        light = 255 * np.exp(-shown)
        np.testing.assert_allclose(255 * np.exp(-dressed[at]), light, atol=8)


@given(st.integers(0, 2**31), st.floats(0, 1))
def test_every_look_is_one_of_a_stained_smear(seed: int, share: float) -> None:
    drawn = drawn_look(np.random.default_rng(seed))
    assert (drawn.glass >= 0).all() and drawn.nucleus[1] >= LEAST_CONTRAST * drawn.red[1] - 1e-9
    assert drawn.nucleus[1] == drawn.nucleus.max() and (drawn.red > 0).all()
    way = OWN.between(drawn, share)
    np.testing.assert_allclose(way.red, OWN.red + share * (drawn.red - OWN.red), atol=1e-12)
    assert redressed(smear(OWN), OWN, way).shape == (SIDE, SIDE, 3)


def test_a_picture_without_nucleus_or_red_cells_has_a_usual_look() -> None:
    flat = look_of(np.full((60, 60, 3), 200, np.uint8), MPP)
    assert flat.nucleus[1] > flat.red[1] > 0
    assert (
        redressed(np.full((60, 60, 3), 200, np.uint8), flat, drawn_look(np.random.default_rng(1))).std((0, 1)).max() < 1
    )
