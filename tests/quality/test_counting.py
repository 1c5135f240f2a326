from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbsbatch import rules
from pbsbatch.quality import Measures, measure
from pbsbatch.quality.counting import _with_neighbours
from pbsbatch.store import UNTYPED, TileRows
from pbsbatch.synth import Scene
from pbsbatch_kernels.neighbours import touching
from tests.quality.drawn import plan_of, tiles_of

CLASSES, TYPES = ("RBC", "WBC", "Platelet"), ("lymphocyte", "erythroblast", "unsure")
SCENE = Scene(1024, 1024, seed=3)
PLAN = plan_of(SCENE)


def table(boxes: np.ndarray, classes: np.ndarray, types: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Return cells as a store lists them: by their upper edges, with areas of ellipses."""
    order = np.argsort(boxes[:, 1], kind="stable")
    b = boxes[order].astype(np.float32)
    area = np.pi / 4 * (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])
    n = len(b)
    return {
        "x0": b[:, 0], "y0": b[:, 1], "x1": b[:, 2], "y1": b[:, 3], "class": classes[order].astype(np.uint8),
        "type": np.full(n, UNTYPED, np.uint8) if types is None else types[order].astype(np.uint8),
        "area_px": np.rint(area).astype(np.int32),
    }  # fmt: skip


def chunks(cells: dict[str, np.ndarray], rows: int) -> Iterator[dict[str, np.ndarray]]:
    for start in range(0, len(cells["y0"]), rows):
        yield {name: column[start : start + rows] for name, column in cells.items()}


@given(st.integers(0, 2**32 - 1), st.integers(1, 70), st.sampled_from([1, 3, 17, 1000]))
def test_neighbours_do_not_depend_on_chunks(seed: int, n: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    low, size = rng.uniform(0, 300, (n, 2)), rng.choice([8.0, 28.0, 90.0], (n, 1)) * rng.uniform(0.7, 1.3, (n, 2))
    cells = table(np.concatenate([low, low + size], axis=1), rng.integers(0, 3, n))
    boxes = np.stack([cells[k] for k in ("x0", "y0", "x1", "y1")], axis=1)
    whole = touching(boxes, cells["class"], rules.NEAR, rules.OVER)
    parts = list(_with_neighbours(chunks(cells, rows)))
    told = np.concatenate([np.stack([c["y0"], c["x0"], t], axis=1) for c, t in parts])
    expected = np.stack([cells["y0"], cells["x0"], whole], axis=1)
    np.testing.assert_array_equal(told[np.lexsort(told.T[::-1])], expected[np.lexsort(expected.T[::-1])])


def test_it_holds_a_few_rows_of_cells_only() -> None:
    rng = np.random.default_rng(0)
    low = rng.uniform(0, (200, 100_000), (40_000, 2))
    cells = table(np.concatenate([low, low + 28], axis=1), np.zeros(len(low)))
    most = max(len(c["y0"]) for c, _ in _with_neighbours(chunks(cells, 500)))
    assert most < 1100


@pytest.fixture(scope="module")
def field() -> TileRows:
    return tiles_of(SCENE, PLAN)


def drawn_table() -> dict[str, np.ndarray]:
    cells = SCENE.cells(0, 0, SCENE.width, SCENE.height)
    cells = cells.take(cells.classes < 3)
    return table(cells.boxes.astype(float), cells.classes)


def test_a_drawn_field(field: TileRows) -> None:
    cells = drawn_table()
    found = measure(chunks(cells, 200), field, classes=CLASSES, types=(), plan=PLAN)
    assert {n: sum(t.values()) for n, t in found.seen.items()} == {
        n: int((cells["class"] == i).sum()) for i, n in enumerate(CLASSES)
    }
    mm2 = (SCENE.mpp / 1000) ** 2
    density = found.framed["RBC"][""] / (found.frame_px * mm2)
    raw = found.seen["RBC"][""] / (SCENE.width * SCENE.height * mm2)
    assert density == pytest.approx(SCENE.density_per_mm2, rel=0.05)
    assert raw > density
    mean = found.red_sum / found.red_n * SCENE.mpp
    assert mean == pytest.approx(7.25, rel=0.03)
    assert not found.typed
    assert sum(found.zones_px.values()) == SCENE.width * SCENE.height
    again = measure(chunks(cells, 10_000), field, classes=CLASSES, types=(), plan=PLAN)
    assert replace(again, red_sum=0, red_sum2=0) == replace(found, red_sum=0, red_sum2=0)
    assert again.red_sum == pytest.approx(found.red_sum)


def test_measures_survive_json(field: TileRows) -> None:
    found = measure(chunks(drawn_table(), 300), field, classes=CLASSES, types=TYPES, plan=PLAN)
    assert Measures.from_json(json.loads(json.dumps(found.to_json()))) == found
    none = measure([], TileRows.empty(), classes=CLASSES, types=(), plan=PLAN)
    assert (none.glass_od, none.red_od, none.edge_px, none.frame_px, none.red_n) == (None, None, None, 0, 0)
    assert Measures.from_json(json.loads(json.dumps(none.to_json()))) == none


def test_types_are_counted_within_their_class(field: TileRows) -> None:
    boxes = np.array([[100, 100, 130, 130], [200, 100, 230, 130], [300, 100, 330, 130], [400, 100, 428, 128]], float)
    cells = table(boxes, np.array([1, 1, 1, 0]), np.array([0, 0, 1, UNTYPED]))
    found = measure([cells], field, classes=CLASSES, types=TYPES, plan=PLAN)
    assert found.seen == {"RBC": {"": 1}, "WBC": {"lymphocyte": 2, "erythroblast": 1}, "Platelet": {}}
    assert found.typed


def test_only_whole_lone_red_cells_of_the_monolayer_are_sized(field: TileRows) -> None:
    alone, touching_one, cut = [400, 400, 428, 428], [500, 400, 528, 428], [0, 300, 20, 328]
    boxes = np.array([alone, touching_one, [527, 400, 555, 428], cut, [700, 400, 728, 428]], float)
    found = measure([table(boxes, np.array([0, 0, 2, 0, 1]))], field, classes=CLASSES, types=(), plan=PLAN)
    assert found.red_n == 1
    assert found.red_sum == pytest.approx(28, abs=0.1)


def test_platelets_in_clumps(field: TileRows) -> None:
    lone, pair, large = [100, 100, 110, 110], [[300, 100, 310, 110], [308, 102, 318, 112]], [500, 500, 530, 530]
    boxes = np.array([lone, *pair, large, [700, 700, 728, 728]], float)
    found = measure([table(boxes, np.array([2, 2, 2, 2, 0]))], field, classes=CLASSES, types=(), plan=PLAN)
    assert found.clumped == 3
