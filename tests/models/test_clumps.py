"""Clumps of platelets are counted as platelets; nuclei with small lobes stay white cells."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pbsbatch.models.base import Found
from pbsbatch.models.classical import ClassicalModel
from pbsbatch.models.classical_parts import PLATELET, RED, WHITE
from pbsbatch.synth import Scene
from tests.models import drawing
from tests.models.grid import Key, calibrated, decode, differing, halo_of, owned, tiled

MODEL = ClassicalModel()

PLACES = ((0, 0), (10, 4), (20, 0), (30, 4), (38, 12), (-6, 10), (20, -11))
"""Centres of a clump's seven platelets."""


def clump(image: drawing.Image, x: int, y: int) -> None:
    """Draw a clump of platelets of 3 um, each with its granules dense in the middle of a pale rim."""
    for dx, dy in PLACES:
        cv2.circle(image, (x + dx, y + dy), 6, (158, 124, 172), -1, cv2.LINE_AA)
    for dx, dy in PLACES:
        cv2.circle(image, (x + dx, y + dy), 2, (110, 62, 150), -1, cv2.LINE_AA)


def counts(found: Found) -> tuple[int, int, int]:
    """Return how many red cells, white cells and platelets there are."""
    red, white, platelet = (int((found.classes == kind).sum()) for kind in (RED, WHITE, PLATELET))
    return red, white, platelet


@pytest.fixture(scope="module")
def colours() -> dict[str, float]:
    """A calibration of a rich field."""
    return dict(calibrated(drawing.monolayer(400, 400, seed=9)))


def test_a_clump_gives_platelets_and_no_white_cell(colours: dict[str, float]) -> None:
    image = drawing.glass(160, 200)
    clump(image, 80, 70)
    drawing.red(image, 40, 40)
    found = decode(MODEL, image, colours)
    red, white, platelet = counts(found)
    assert (red, white) == (1, 0)
    assert abs(platelet - len(PLACES)) <= 1
    for box in found.boxes[found.classes == PLATELET]:
        assert (box[2:] - box[:2]).max() <= 20  # each has a box of its own


@pytest.mark.parametrize("radius", [5, 6, 7])
def test_a_nucleus_with_small_lobes_stays_one_white_cell(colours: dict[str, float], radius: int) -> None:
    image = drawing.glass(200, 200)
    cv2.circle(image, (100, 100), 26, drawing.CYTOPLASM, -1, cv2.LINE_AA)
    for dx, dy in ((-12, 0), (-4, 6), (5, 6), (12, -1)):
        cv2.circle(image, (100 + dx, 100 + dy), radius, drawing.NUCLEUS, -1, cv2.LINE_AA)
    assert counts(decode(MODEL, image, colours))[1:] == (1, 0)


def test_a_clump_cut_by_a_core_gives_the_same_platelets_in_both_tiles(colours: dict[str, float]) -> None:
    image = drawing.monolayer(420, 420, seed=3, whites=0, platelets=0)
    image[150:240, 150:270] = drawing.glass(90, 120)
    clump(image, 195, 195)
    edge = halo_of(MODEL)
    left = decode(MODEL, np.ascontiguousarray(image[:, : 210 + edge]), colours)
    right = decode(MODEL, np.ascontiguousarray(image[:, 210 - edge :]), colours)

    def platelets(found: Found, dx: int) -> list[Key]:
        cells = owned(found, 0, 10_000, dx, 0)
        return sorted(c for c in cells if c[0] == PLATELET and c[1] >= 180 and c[3] <= 240)

    assert len(platelets(left, 0)) >= 5
    assert platelets(left, 0) == platelets(right, 210 - edge)


def test_a_platelet_on_a_bridge_is_no_part_of_the_red_cell(colours: dict[str, float]) -> None:
    image = drawing.glass(160, 160)
    drawing.red(image, 70, 80)
    image[79:82, 83:90] = drawing.RED
    cv2.circle(image, (92, 80), 5, (176, 128, 146), -1)  # too pale to be stained by itself
    assert counts(decode(MODEL, image, colours)) == (1, 0, 1)


@pytest.mark.parametrize("stain", ["cream", "grey", "rose"])
def test_tiling_does_not_matter_where_clumps_are(stain: str) -> None:
    image = Scene(700, 700, 0.25, 3, stain=stain, platelets_per_1000=400).render(0, 0, 700, 700)
    known = calibrated(image)
    whole = tiled(MODEL, image, known, 1024)
    for core, origin in ((128, (37, 91)), (256, (101, 13))):
        assert differing(whole, tiled(MODEL, image, known, core, origin)) == 0
