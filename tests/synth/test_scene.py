"""Laws of the virtual smear: regions agree, ids are unique, labels and boxes belong together."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pbsbatch.synth import CLASSES, DIFFERENTIAL, STAINS, TYPES, ZONES, Scene
from pbsbatch.synth.scene import _block

W, H = 701, 533
SCENES = {
    "field": Scene(W, H, mpp=0.25, seed=7),
    "slide": Scene(W, H, mpp=4.0, seed=8, profile="slide"),
    "fine": Scene(W, H, mpp=0.08, seed=2**63 + 5, stain="grey", white_per_1000=200),
}


@pytest.fixture(scope="module", params=SCENES)
def whole(request: pytest.FixtureRequest) -> tuple[Scene, np.ndarray, np.ndarray]:
    scene = SCENES[request.param]
    return scene, scene.render(0, 0, W, H), scene.labels(0, 0, W, H)


@st.composite
def regions(draw: st.DrawFn) -> tuple[int, int, int, int]:
    x, y = draw(st.integers(0, W - 1)), draw(st.integers(0, H - 1))
    return x, y, draw(st.integers(0, W - x)), draw(st.integers(0, H - y))


@settings(max_examples=40, deadline=None)
@given(region=regions())
def test_a_region_is_a_part_of_the_whole(whole, region):
    scene, pixels, labels = whole
    x, y, w, h = region
    assert np.array_equal(scene.render(x, y, w, h), pixels[y : y + h, x : x + w])
    assert np.array_equal(scene.labels(x, y, w, h), labels[y : y + h, x : x + w])


@settings(max_examples=15, deadline=None)
@given(level=st.integers(1, 4), data=st.data())
def test_a_level_is_the_level_above_halved(whole, level, data):
    scene, _, _ = whole
    w, h = W >> level, H >> level
    x, y = data.draw(st.integers(0, w - 1)), data.draw(st.integers(0, h - 1))
    got = scene.render(x, y, w - x, h - y, level)
    up = scene.render(2 * x, 2 * y, 2 * (w - x), 2 * (h - y), level - 1).astype(int)
    means = (up[0::2, 0::2] + up[0::2, 1::2] + up[1::2, 0::2] + up[1::2, 1::2] + 2) // 4
    assert np.array_equal(got, means)


def test_order_and_threads_do_not_matter(whole):
    scene, pixels, _ = whole
    _block.cache_clear()
    places = [(x, y) for y in range(0, H - 97, 97) for x in range(0, W - 103, 103)]
    with ThreadPoolExecutor(4) as pool:
        tiles = list(pool.map(lambda p: scene.render(*p, 103, 97), reversed(places)))
    for (x, y), tile in zip(reversed(places), tiles, strict=True):
        assert np.array_equal(tile, pixels[y : y + 97, x : x + 103])


@pytest.mark.parametrize("seed", range(4))
def test_no_cell_is_cut_at_a_tile_border(seed):
    """Far-flung cells too: rolls, ovals, blurred edges, coarse pixels."""
    scene = Scene(300, 300, mpp=1.5, seed=seed, rouleaux=0.4, focus_um=2.0, white_per_1000=200, density_per_mm2=3000)
    pixels, labels = scene.render(0, 0, 300, 300), scene.labels(0, 0, 300, 300)
    for y in range(0, 300, 20):
        for x in range(0, 300, 20):
            assert np.array_equal(scene.render(x, y, 20, 20), pixels[y : y + 20, x : x + 20])
            assert np.array_equal(scene.labels(x, y, 20, 20), labels[y : y + 20, x : x + 20])


def test_the_seed_decides():
    a, b, c = (Scene(200, 100, seed=s).render(0, 0, 200, 100) for s in (1, 1, 2))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_cells_are_the_same_whoever_asks(whole):
    scene, _, labels = whole
    cells = scene.cells(0, 0, W, H)
    assert len(set(cells.ids.tolist())) == len(cells) > 0
    part = scene.cells(200, 150, 120, 90)
    index = np.searchsorted(cells.ids, part.ids)
    assert np.array_equal(cells.ids[index], part.ids)
    assert np.array_equal(cells.boxes[index], part.boxes)
    assert set(np.unique(labels[150:240, 200:320])) - {0} <= set(part.ids.tolist())


def test_masks_boxes_and_labels_agree(whole):
    scene, _, labels = whole
    cells = scene.cells(0, 0, W, H)
    top = np.zeros((H, W), np.int32)
    for i in np.lexsort((cells.ids, cells.classes))[-800:]:
        x0, y0, x1, y1 = cells.boxes[i]
        mask = cells.mask(i)
        assert mask.shape == (y1 - y0, x1 - x0)
        assert mask.sum() == cells.areas[i] > 0
        assert mask.any(0).all()
        assert mask.any(1).all()
        top[y0:y1, x0:x1][mask] = cells.ids[i]
    if len(cells) <= 800:
        assert np.array_equal(top, labels)


def test_outlines_enclose_exactly_the_mask(whole):
    scene, _, _ = whole
    cells = scene.cells(0, 0, W, H)
    for i in range(0, len(cells), max(1, len(cells) // 200)):
        area = 0.0
        for ring in cells.polygons(i):
            x, y = np.array(ring[0::2]), np.array(ring[1::2])
            area += np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) / 2
        assert area == cells.areas[i]


@pytest.mark.parametrize("size", [(1, 1), (37, 1), (1, 37), (3, 2)])
def test_tiny_scenes(size):
    w, h = size
    scene = Scene(w, h, seed=3)
    assert scene.render(0, 0, w, h).shape == (h, w, 3)
    labels, cells = scene.truth(0, 0, w, h)
    assert labels.shape == (h, w)
    assert set(np.unique(labels)) - {0} <= set(cells.ids.tolist())
    assert scene.levels == 1


def test_a_region_must_lie_in_the_scene():
    scene = Scene(100, 50)
    for region in [(-1, 0, 5, 5), (96, 0, 5, 5), (0, 46, 5, 5)]:
        with pytest.raises(ValueError, match="does not lie in level 0"):
            scene.render(*region)
    with pytest.raises(ValueError, match="does not lie in level 1"):
        scene.render(0, 0, 51, 25, 1)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"width": 0}, "one pixel"),
        ({"mpp": float("nan")}, "mpp"),
        ({"profile": "other"}, "profile"),
        ({"stain": "green"}, "stain"),
        ({"differential": (1.0,)}, "eight"),
        ({"density_per_mm2": -1.0}, "density"),
        ({"overlap": float("nan")}, "overlap"),
        ({"width": 10**7, "height": 10**7}, "too large"),
    ],
)
def test_senseless_scenes_are_refused(wrong, says):
    with pytest.raises(ValueError, match=says):
        Scene(**({"width": 10, "height": 10} | wrong))


def test_the_population_is_what_was_asked_for():
    shares = np.array([0, 0, 0.3, 0, 0.7, 0, 0, 0])
    scene = Scene(6000, 6000, seed=5, density_per_mm2=9000, white_per_1000=50, differential=tuple(shares))
    cells = scene.cells(0, 0, 6000, 6000)
    red, white = cells.classes == 0, cells.classes == 1
    assert 0.93 < red.sum() / 2.25 / 9000 < 1.07
    assert 0.04 < white.sum() / red.sum() < 0.06
    seen = np.bincount(cells.types[white], minlength=len(TYPES))[2:10] / white.sum()
    assert np.abs(seen - shares).max() < 0.06
    whole = red & (cells.boxes[:, 0] > 0) & (cells.boxes[:, 1] > 0)
    assert 7.1 < cells.diameter_um[whole & (cells.types == 0)].mean() < 7.35
    assert len(DIFFERENTIAL) == 8
    assert len(CLASSES) == 3


def test_zones_are_known_and_density_follows_them():
    scene = Scene(2000, 1000, mpp=2.0, seed=3, profile="slide")
    cells = scene.cells(0, 0, 2000, 1000)
    at = scene.zone(cells.centres[:, 0], cells.centres[:, 1])
    assert (at == cells.zones).mean() > 0.97  # a cell may be pushed over a border
    y, x = np.mgrid[0:1000:10, 0:2000:10]
    area = np.bincount(scene.zone(x.astype(float), y.astype(float)).ravel(), minlength=4)
    density = np.bincount(cells.zones[cells.classes == 0], minlength=4) / area
    assert all(area > 0)
    assert density[ZONES.index("thick")] > 1.3 * density[ZONES.index("monolayer")]
    assert density[ZONES.index("feather")] < 0.8 * density[ZONES.index("monolayer")]
    assert density[ZONES.index("glass")] == 0
    assert 0.3 < scene.monolayer_mm2() / (4 * 2) < 0.7


@pytest.mark.parametrize("stain", STAINS)
def test_cells_are_darker_than_the_background(stain):
    scene = Scene(600, 600, seed=9, stain=stain, white_per_1000=60)
    green, (labels, cells) = scene.render(0, 0, 600, 600)[..., 1].astype(float), scene.truth(0, 0, 600, 600)
    kinds = np.zeros(labels.max() + 1, int)
    kinds[cells.ids] = cells.classes + 1
    kinds = kinds[labels]
    assert green[kinds == 2].mean() < green[kinds == 1].mean() < green[kinds == 0].mean() - 10
