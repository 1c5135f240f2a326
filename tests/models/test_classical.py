"""The classical model finds drawn cells, and keeps the laws of a model."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from pbsbatch.models.base import Found
from pbsbatch.models.classical import ClassicalModel, classical_spec
from pbsbatch.models.classical_colour import Thresholds
from pbsbatch.models.classical_parts import PLATELET, RED, WHITE, Params
from tests.models import drawing
from tests.models.grid import calibrated, decode

MODEL = ClassicalModel()


def counts(found: Found) -> tuple[int, int, int]:
    """Return how many red cells, white cells and platelets there are."""
    red, white, platelet = (int((found.classes == kind).sum()) for kind in (RED, WHITE, PLATELET))
    return red, white, platelet


def same(a: Found, b: Found) -> bool:
    """Say whether two results are identical, masks and all."""
    arrays = all(np.array_equal(getattr(a, n), getattr(b, n)) for n in ("boxes", "scores", "classes", "windows"))
    return arrays and all(np.array_equal(x, y) for x, y in zip(a.masks, b.masks, strict=True))


@pytest.fixture(scope="module")
def colours() -> dict[str, float]:
    """A calibration of a rich field, for tiles that are too bare to calibrate on."""
    return dict(calibrated(drawing.monolayer(400, 400, seed=9)))


def test_finds_apart_cells_with_their_boxes(colours: dict[str, float]) -> None:
    image = drawing.glass(200, 300)
    places = [(40, 40), (100, 50), (180, 60), (60, 130), (150, 140), (250, 100)]
    for x, y in places:
        drawing.red(image, x, y)
    found = decode(MODEL, image, colours)
    assert counts(found) == (6, 0, 0)
    centres = sorted(((b[0] + b[2]) / 2, (b[1] + b[3]) / 2) for b in found.boxes.tolist())
    assert np.abs(np.array(centres) - np.array(sorted(places)) - 0.5).max() <= 1.5
    assert np.abs((found.boxes[:, 2:] - found.boxes[:, :2]) - 29).max() <= 2
    for mask in found.masks:
        assert abs(mask.sum() - np.pi * 14.5**2) < 80  # the pale centre is filled


@pytest.mark.parametrize("gap", [16, 20, 24, 28, 32])
def test_splits_overlapping_pairs(colours: dict[str, float], gap: int) -> None:
    image = drawing.glass(160, 160)
    drawing.red(image, 60, 80)
    drawing.red(image, 60 + gap, 80)
    assert counts(decode(MODEL, image, colours)) == (2, 0, 0)


def test_splits_three_in_a_ring_with_a_gap_between_them(colours: dict[str, float]) -> None:
    image = drawing.glass(160, 160)
    for x, y in [(60, 60), (87, 60), (74, 83)]:
        drawing.red(image, x, y)
    assert counts(decode(MODEL, image, colours)) == (3, 0, 0)


@pytest.mark.parametrize("lobes", [2, 3, 4, 5])
def test_joins_the_lobes_of_a_nucleus(colours: dict[str, float], lobes: int) -> None:
    image = drawing.glass(200, 200)
    drawing.white(image, 100, 100, lobes)
    for x in (40, 160):
        drawing.red(image, x, 100)
    found = decode(MODEL, image, colours)
    assert counts(found) == (2, 1, 0)
    box = found.boxes[found.classes == WHITE][0]
    assert box[0] <= 84 and box[2] >= 114 and (box[2:] - box[:2]).max() <= 60


def test_two_white_cells_side_by_side_are_two(colours: dict[str, float]) -> None:
    image = drawing.glass(200, 240)
    drawing.white(image, 90, 100, 3)
    drawing.white(image, 144, 100, 3)
    assert counts(decode(MODEL, image, colours))[1] == 2


def test_finds_platelets_apart_from_cells_and_upon_them(colours: dict[str, float]) -> None:
    image = drawing.glass(160, 200)
    drawing.red(image, 60, 60)
    drawing.platelet(image, 120, 60)
    drawing.platelet(image, 62, 64, 4)
    assert counts(decode(MODEL, image, colours)) == (1, 0, 2)


def test_a_cell_cut_by_the_slide_is_found(colours: dict[str, float]) -> None:
    image = drawing.glass(160, 160)
    drawing.red(image, 4, 80)
    drawing.red(image, 80, 157)
    assert counts(decode(MODEL, image, colours, pad=60))[0] == 2


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (2, 2), (64, 64)])
@pytest.mark.parametrize("value", [0, 20, 128, 232, 255])
def test_featureless_tiles_have_no_cells(colours: dict[str, float], shape: tuple[int, int], value: int) -> None:
    image: NDArray[np.uint8] = np.full((*shape, 3), value, np.uint8)
    for known in (colours, calibrated(image)):
        found = decode(MODEL, image, known)
        assert counts(found)[1:] == (0, 0)
        assert counts(found)[0] <= 1  # a small dark square may look like a cell
        assert found.boxes.shape == (len(found.scores), 4)


def test_bare_glass_has_no_cells_even_by_its_own_calibration() -> None:
    for seed in range(3):
        assert counts(decode(MODEL, drawing.glass(400, 400, seed, noise=2.0))) == (0, 0, 0)


def test_found_is_consistent() -> None:
    found = decode(MODEL, drawing.monolayer(300, 300, seed=1))
    assert min(counts(found)) >= 1
    assert ((found.scores >= 0) & (found.scores <= 1)).all()
    assert found.boxes.dtype == np.float32 and found.windows.dtype == np.int32 and found.classes.dtype == np.uint8
    limit = MODEL.spec.max_cell_um / MODEL.spec.work_mpp
    for (x, y, w, h), box, mask in zip(found.windows, found.boxes, found.masks, strict=True):
        assert mask.shape == (h, w) and mask.dtype == np.bool_
        assert (x, y, x + w, y + h) == tuple(box)
        assert mask[0].any() and mask[-1].any() and mask[:, 0].any() and mask[:, -1].any()
        assert max(w, h) <= limit


def test_threads_agree() -> None:
    image = drawing.monolayer(300, 300, seed=2)
    known = calibrated(image)
    once = decode(MODEL, image, known)
    with ThreadPoolExecutor(4) as pool:
        for other in pool.map(lambda _: decode(MODEL, image, known), range(8)):
            assert same(once, other)


def test_pickles() -> None:
    image = drawing.monolayer(200, 200, seed=3)
    again = pickle.loads(pickle.dumps(MODEL))
    assert again == MODEL and same(decode(MODEL, image), decode(again, image))


def test_digest_tells_parameters_apart() -> None:
    assert classical_spec(Params()).digest == MODEL.spec.digest
    for change in ({"red_radius_um": 3.5}, {"work_mpp": 0.3}, {"platelet_max_um": 5.0}):
        assert classical_spec(replace(Params(), **change)).digest != MODEL.spec.digest  # type: ignore[arg-type]


def test_calibration_is_json_and_comes_back(colours: dict[str, float]) -> None:
    assert all(type(v) is float for v in colours.values())
    assert Thresholds.of(colours).as_calibration() == colours


def test_colour_of_glass_and_lamp_do_not_matter() -> None:
    image = drawing.monolayer(400, 400, seed=4, whites=3)
    red, white, platelet = counts(decode(MODEL, image))
    warm = (image * np.array([1.0, 0.93, 0.85])).astype(np.uint8)
    dim = (image * 0.7).astype(np.uint8)
    for other in (warm, dim):
        r, w, p = counts(decode(MODEL, other))
        assert abs(r - red) <= 0.03 * red and abs(w - white) <= 1 and abs(p - platelet) <= 2
