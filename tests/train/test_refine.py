from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbsbatch.datasets.outlines import fill
from pbsbatch.datasets.readers import DataSet, read
from pbsbatch.datasets.samples import PLATELET, RAYS, RED, WHITE
from pbsbatch.synth import STAINS, Scene
from pbsbatch.train.expect import expected_outlines, free_reach, whole_boxes
from pbsbatch.train.refine import refined, refined_outlines
from pbsbatch.train.synthetic import synthetic_sample
from tests.data import data
from tests.datasets.test_outlines import iou

LEAST = {RED: 0.93, WHITE: 0.90, PLATELET: 0.85}


def scenes() -> Iterator[tuple[Scene, float]]:
    for i, diameter in enumerate((45.0, 70.0, 100.0)):
        yield Scene(
            520, 420, mpp=7.2 / diameter, seed=i + 10, white_per_1000=150, platelets_per_1000=200, overlap=0.3,
            stain=STAINS[i], focus_um=0.25 + 0.1 * i, density_per_mm2=9000,
        ), diameter  # fmt: skip


@pytest.mark.parametrize("looseness", [0.0, 0.04])
def test_borders_of_drawn_cells_are_found_from_their_boxes(looseness: float) -> None:
    rng = np.random.default_rng(0)
    found: dict[int, list[float]] = {RED: [], WHITE: [], PLATELET: []}
    ellipse: dict[int, list[float]] = {RED: [], WHITE: [], PLATELET: []}
    for scene, diameter in scenes():
        cells = scene.cells(0, 0, scene.width, scene.height)
        exact = cells.boxes.astype(np.float32)
        size = np.tile(exact[:, 2:] - exact[:, :2], 2)
        boxes = (exact + rng.normal(0, 1, exact.shape) * looseness * size).astype(np.float32)
        boxes = np.clip(boxes, 0, [scene.width, scene.height] * 2).astype(np.float32)
        keep = np.flatnonzero((boxes[:, 2:] - boxes[:, :2]).min(1) > 5)
        image = scene.render(0, 0, scene.width, scene.height)
        outlines = refined_outlines(image, boxes[keep], cells.classes[keep], diameter)
        inner = (exact[:, :2] > 0).all(1) & (exact[:, 2:] < [scene.width, scene.height]).all(1)
        for row, i in enumerate(keep):
            if inner[i]:
                truth = np.pad(cells.mask(i), 12)
                box = boxes[i] - np.tile(exact[i, :2] - 12, 2)
                found[int(cells.classes[i])].append(iou(fill(box, outlines[row], truth.shape), truth))
                ellipse[int(cells.classes[i])].append(iou(fill(box, np.ones(RAYS, np.float32), truth.shape), truth))
    for kind, least in LEAST.items():
        assert len(found[kind]) > 8
        if looseness == 0.0 or kind != PLATELET:
            assert np.median(found[kind]) > least
    better = np.median(found[RED]) - np.median(ellipse[RED])
    assert better > (0.05 if looseness else 0.0)


@given(st.integers(0, 2**20), st.floats(0.35, 1.0), st.sampled_from(range(4)))
def test_a_box_at_the_border_expects_what_is_left_of_a_round_cell(seed: int, share: float, side: int) -> None:
    rng = np.random.default_rng(seed)
    r, along = rng.uniform(14, 30), rng.uniform(60, 140)
    deep = 2 * r * share - r  # of the centre
    centre = {0: (deep, along), 1: (along, deep), 2: (200 - deep, along), 3: (along, 200 - deep)}[side]
    y, x = np.mgrid[0:200, 0:200] + 0.5
    mask = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < r * r
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = np.array([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]], np.float32)
    whole = whole_boxes(box, np.zeros(1, np.uint8), (200, 200), 2 * r)
    outline = np.minimum(expected_outlines(box, whole), free_reach(box, (200, 200)))
    x0, y0, x1, y1 = box[0].astype(int)
    assert iou(fill(box[0] - np.tile(box[0, :2], 2), outline[0], (y1 - y0, x1 - x0)), mask[y0:y1, x0:x1]) > 0.85


def test_a_box_inside_expects_its_ellipse() -> None:
    boxes = np.array([[20, 30, 60, 50], [100, 100, 110, 160]], np.float32)
    whole = whole_boxes(boxes, np.zeros(2, np.uint8), (200, 200), 30.0)
    np.testing.assert_array_equal(whole, boxes)
    np.testing.assert_allclose(expected_outlines(boxes, whole), 1.0, atol=1e-5)
    assert free_reach(boxes, (200, 200)).min() > 1


def test_outlines_never_leave_the_picture() -> None:
    sample = synthetic_sample(0, 3, 256, 45.0)
    outlines = refined_outlines(sample.image, sample.boxes, sample.classes, sample.red_cell_px)
    reach = free_reach(sample.boxes, sample.size)
    known = np.isfinite(outlines).all(1)
    assert known.mean() > 0.9 and (outlines[known] <= reach[known] + 1e-5).all()
    assert (np.isnan(outlines).all(1) | known).all()


def test_known_outlines_are_kept_and_bare_glass_has_none() -> None:
    sample = synthetic_sample(0, 3, 256, 45.0)
    assert refined(sample) is sample
    glass = np.full((80, 80, 3), 210, np.uint8)
    box = np.array([[20, 20, 50, 50]], np.float32)
    assert np.isnan(refined_outlines(glass, box, np.zeros(1, np.uint8), 30.0)).all()
    none = refined_outlines(glass, np.zeros((0, 4), np.float32), np.zeros(0, np.uint8), 30.0)
    assert none.shape == (0, RAYS)


def test_real_cells_get_outlines() -> None:
    samples, _ = read(DataSet(data("txl"), "yolo", "val"))
    for sample in samples[::40]:
        found = refined(sample).outlines
        assert np.isfinite(found).all(1).mean() > 0.8
        assert 0.8 < np.nanmedian(found) < 1.1


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"image": np.zeros((9, 9), np.uint8)}, "image must be"),
        ({"image": np.zeros((9, 9, 3), np.float32)}, "image must be"),
        ({"boxes": np.zeros((1, 4), np.float32)}, "an area"),
        ({"boxes": np.full((1, 4), np.nan, np.float32)}, "finite"),
        ({"boxes": np.zeros((2, 4), np.float32)}, "N classes"),
        ({"classes": np.full(1, 3, np.uint8)}, "classes are 0..2"),
        ({"red_cell_px": float("nan")}, "diameter"),
    ],
)
def test_nonsense_is_refused(change: dict[str, object], what: str) -> None:
    good = {
        "image": np.zeros((40, 40, 3), np.uint8), "boxes": np.array([[5, 5, 20, 20]], np.float32),
        "classes": np.zeros(1, np.uint8), "red_cell_px": 15.0,
    }  # fmt: skip
    with pytest.raises(ValueError, match=what):
        refined_outlines(**{**good, **change})
