"""Composites: a box names what is seen, what is seen has a box, and a pixel does not depend on the region asked for."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pbsbatch.datasets.compose import ComposeSpec, Composite, Placed, Source, load_source
from pbsbatch.datasets.readers import recognise
from tests.datasets.drawn import COLOURS, yolo

SPECS = st.builds(
    ComposeSpec,
    width=st.integers(60, 500), height=st.integers(60, 400), seed=st.integers(0, 10**6),
    units=st.sampled_from(["fields", "cells"]), grid=st.sampled_from([None, (1, 1), (2, 2), (3, 2)]),
    scales=st.sampled_from([(1.0,), (0.5, 1.0, 1.5), (0.7, 1.3)]), overlap=st.booleans(),
    background=st.just("blank"), balance=st.booleans(), fill=st.sampled_from([0.4, 0.9]),
    mosaic=st.sampled_from([0.0, 1.0]), edge=st.sampled_from(["clip", "drop"]), keep=st.sampled_from([0.05, 0.3, 0.6]),
)  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return load_source(recognise(yolo(tmp_path_factory.mktemp("fields"))))


def whole_area(source: Source, cell: Placed) -> list[float]:
    """Return the areas on the canvas of the cells of its picture and class: one of them is the cell's."""
    item = next(i for i in source.items if i.name == cell.source)
    boxes = item.boxes[item.classes == cell.kind]
    return list((boxes[:, 2:] - boxes[:, :2]).prod(1) * cell.scale**2)


def shown(scene: Composite) -> np.ndarray:
    return scene.render(0, 0, scene.width, scene.height)


def of_colour(image: np.ndarray, name: str) -> np.ndarray:
    return (np.abs(image.astype(int) - COLOURS[name]) < 60).all(axis=2)


@settings(max_examples=60)
@given(spec=SPECS)
def test_boxes_name_what_is_seen_and_all_that_is_seen_has_one(spec: ComposeSpec, source: Source) -> None:
    scene = Composite(spec, source, 0)
    image = shown(scene)
    cells = [c for row in scene.cells() for c in row]
    seen = {name: of_colour(image, name) for name in COLOURS}
    covered = np.zeros(image.shape[:2], bool)
    for cell in cells:
        x0, y0, x1, y1 = cell.box
        assert 0 <= x0 < x1 <= spec.width and 0 <= y0 < y1 <= spec.height
        covered[max(0, int(y0) - 3) : int(y1) + 4, max(0, int(x0) - 3) : int(x1) + 4] = True
        if cell.crowd:
            continue
        there = seen[source.classes[cell.kind]][round(y0) : round(y1), round(x0) : round(x1)].sum()
        least = spec.keep if spec.units == "fields" else spec.keep * 0.6  # a cut-out shows the ellipse of a rectangle
        edge = 2 * ((x1 - x0) + (y1 - y0)) + 8  # of pixels that a border mixes
        smallest = min(whole_area(source, cell))
        assert there + edge >= least * smallest
        if spec.edge == "drop" and not spec.overlap and spec.units == "fields":
            assert there + edge >= 0.97 * smallest, "a cut cell was kept"
    stray = sum(s for s in seen.values()).astype(bool) & ~covered
    stray = cv2.erode(stray.astype(np.uint8), np.ones((5, 5), np.uint8))  # slivers below MIN_SIDE_PX have no box
    assert stray.sum() == 0, "a cell has neither a box nor a crowd"


@settings(max_examples=25)
@given(spec=SPECS, mixup=st.sampled_from([0.0, 1.0]), cut=st.tuples(st.floats(0.1, 0.9), st.floats(0.1, 0.9)))
def test_a_pixel_does_not_depend_on_the_region_asked_for(
    spec: ComposeSpec, mixup: float, cut: tuple[float, float], source: Source
) -> None:
    spec = ComposeSpec(**{f: getattr(spec, f) for f in spec.__slots__} | {"mixup": mixup, "background": "matched"})
    scene = Composite(spec, source, 1)
    whole = shown(scene)
    x, y = int(spec.width * cut[0]), int(spec.height * cut[1])
    for region in ((0, 0, x, y), (x, 0, spec.width - x, y), (x, y, spec.width - x, spec.height - y)):
        rx, ry, w, h = region
        np.testing.assert_array_equal(scene.render(rx, ry, w, h), whole[ry : ry + h, rx : rx + w])


@settings(max_examples=40)
@given(spec=SPECS)
def test_without_overlap_pieces_share_no_pixel_and_stay_on_the_canvas(spec: ComposeSpec, source: Source) -> None:
    scene = Composite(spec, source, 2)
    count = np.zeros((spec.height, spec.width), int)
    for part in scene.parts():
        x, y, w, h = part.place
        assert x >= 0 and y >= 0
        if not spec.overlap:
            assert x + w <= spec.width and y + h <= spec.height
        count[y : y + h, x : x + w] += 1
    assert spec.overlap or count.max(initial=0) <= 1


def test_the_same_seed_composes_the_same_and_another_another(source: Source) -> None:
    one, two, other = (ComposeSpec(400, 300, seed) for seed in (1, 1, 2))
    a, b, c = (Composite(s, source, 0) for s in (one, two, other))
    np.testing.assert_array_equal(shown(a), shown(b))
    assert list(a.cells()) == list(b.cells()) and list(a.cells()) != list(c.cells())
    assert list(a.cells()) != list(Composite(one, source, 1).cells())


def test_balanced_cells_come_equally_often(source: Source) -> None:
    for balance, wanted in ((True, (1 / 3,) * 3), (False, None)):
        spec = ComposeSpec(1600, 1600, units="cells", balance=balance, scales=(1.0,), fill=0.5)
        kinds = [c.kind for n in range(3) for row in Composite(spec, source, n).cells() for c in row]
        share = np.bincount(kinds, minlength=3) / len(kinds)
        alone = source.counts / source.counts.sum()
        np.testing.assert_allclose(share, wanted or alone, atol=0.08)


def test_magnifications_are_those_asked_for(source: Source) -> None:
    spec = ComposeSpec(900, 700, scales=(0.5, 1.5))
    cells = [c for n in range(6) for row in Composite(spec, source, n).cells() for c in row]
    assert {c.scale for c in cells} == {0.5, 1.5}
    given_px = ComposeSpec(900, 700, scales=(1.0,), diameter=30.0)
    scene = Composite(given_px, source, 0)
    assert scene.mpp == pytest.approx(7.2 / 30) and Composite(spec, source, 0).mpp is None
    sizes = [c.red_cell_px for row in scene.cells() for c in row]
    np.testing.assert_allclose(sizes, 30.0, rtol=1e-5)


def test_a_mixup_shows_both_and_says_how_much(source: Source) -> None:
    scene = Composite(ComposeSpec(300, 200, mixup=1.0, background="blank", scales=(1.0,)), source, 0)
    lights = {c.light for row in scene.cells() for c in row}
    assert len(lights) == 2 and sum(lights) == pytest.approx(1)
    (first, light), (second, _) = scene.layers
    a, b = (scene._layer(layer, 0, 0, 300, 200).astype(float) for layer in (first, second))
    np.testing.assert_allclose(shown(scene), a * light + b * (1 - light), atol=1.0)


def test_matched_pieces_lie_on_one_glass(tmp_path: Path) -> None:
    root = yolo(tmp_path, 2)
    darker = root / "images" / "train" / "lab_train1.png"
    cv2.imwrite(str(darker), (cv2.imread(str(darker)) * 0.8).astype(np.uint8))
    source = load_source(recognise(root))
    for background, grounds in (("matched", 1), ("blank", 3)):  # white paper and two kinds of glass
        image = shown(Composite(ComposeSpec(900, 700, background=background, fill=0.9, scales=(1.0,)), source, 0))
        colours, count = np.unique(image[..., 1], return_counts=True)
        pale = colours[(colours > 170) & (count > 5000)]
        assert np.ptp(pale) <= 2 if grounds == 1 else len(pale) == grounds
