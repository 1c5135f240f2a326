"""Several looks at one tile: each place belongs to one scale, and no cell is counted twice."""

from __future__ import annotations

import numpy as np
import pytest

from pbsbatch import engines, models
from pbsbatch.models.base import Found
from pbsbatch.models.scale import RED_CELL_UM
from pbsbatch.pipeline.pyramid import at_home, look_coarser, merged
from pbsbatch.synth import Scene

RED, WHITE, PX = 0, 1, 29.0


def cells(*rows: tuple[float, float, float, float, int]) -> Found:
    """Cells by centre, diameter, score and class, their masks full."""
    x, y, d, scores, classes = (np.array(c) for c in zip(*rows, strict=True)) if rows else [np.zeros(0)] * 5
    boxes = np.stack([x - d / 2, y - d / 2, x + d / 2, y + d / 2], 1).astype(np.float32)
    windows = np.stack([x - d / 2, y - d / 2, d, d], 1).astype(np.int32)
    masks = tuple(np.ones((h, w), bool) for _, _, w, h in windows.tolist())
    return Found(boxes, scores.astype(np.float32), classes.astype(np.uint8), windows, masks)


def test_one_look_alone_changes_nothing_but_the_order() -> None:
    found = cells((40, 40, 30, 0.8, RED), (90, 40, 28, 0.9, RED), (150, 40, 60, 0.7, WHITE), (40, 90, 12, 0.6, 2))
    out = merged([(1.0, found)], RED, PX)
    np.testing.assert_array_equal(out.scores, np.sort(found.scores)[::-1])
    assert {tuple(b) for b in out.boxes.tolist()} == {tuple(b) for b in found.boxes.tolist()}
    assert [m.shape for m in out.masks] == [(h, w) for _, _, w, h in out.windows.tolist()]
    assert len(merged([(1.0, cells()), (2.0, cells())], RED, PX).scores) == 0


def test_each_side_of_an_image_belongs_to_the_scale_its_red_cells_have() -> None:
    small = [(40 + 40 * i, 40 + 40 * j, 29, 0.9, RED) for i in range(4) for j in range(8)]
    large = [(460 + 80 * i, 60 + 80 * j, 58, 0.9, RED) for i in range(4) for j in range(4)]
    fine = cells(
        *small, *[(x, y, 56, 0.6, RED) for x, y, *_ in large], (500, 120, 60, 0.95, WHITE), (80, 80, 50, 0.8, 1)
    )
    coarse = cells(*large, (60, 80, 58, 0.5, RED), (120, 80, 60, 0.95, WHITE))  # two of the small ones as one
    out = merged([(1.0, fine), (2.0, coarse)], RED, PX)
    sizes = out.boxes[:, 2] - out.boxes[:, 0]
    assert ((out.classes == RED) & (sizes == 29)).sum() == len(small)
    assert ((out.classes == RED) & (sizes == 58)).sum() == len(large)
    assert (sizes[out.classes == RED] == 56).sum() == 0
    assert out.boxes[out.classes == WHITE].tolist() == [[55, 55, 105, 105]]
    for order in ([(2.0, coarse), (1.0, fine)], [(1.0, fine), (2.0, coarse), (1.0, cells())]):
        again = merged(order, RED, PX)
        np.testing.assert_array_equal(again.boxes, out.boxes)


def test_where_no_red_cell_speaks_the_better_view_wins() -> None:
    out = merged([(1.0, cells((100, 100, 60, 0.6, WHITE))), (2.0, cells((101, 100, 61, 0.9, WHITE)))], RED, PX)
    assert out.scores.tolist() == [np.float32(0.9)]
    nothing = np.zeros(2, bool)
    boxes = np.array([[0, 0, 9, 9], [5, 5, 30, 30]], np.float32)
    assert at_home(boxes, np.ones(2), nothing, np.array([0, 1]), np.array([29.0, 58.0])).all()


@pytest.mark.parametrize("factor", [1.5, 2.3])
def test_cells_of_a_coarser_look_lie_where_they_lie_and_keep_their_masks(factor: float) -> None:
    model = models.load("smear")
    engine = engines.load(model, "torch")
    scene = Scene(608, 608, RED_CELL_UM / (PX * factor), 5)
    pixels = scene.render(0, 0, 608, 608)
    out = look_coarser(cells(), pixels, (factor,), model, engine, {})
    engine.close()
    truth = scene.cells(0, 0, 608, 608)
    whole = (truth.boxes[:, :2] >= 0).all(1) & (truth.boxes[:, 2:] <= 608).all(1) & (truth.classes == RED)
    hits, ious = 0, []
    for j in np.flatnonzero(whole):
        x0, y0, x1, y1 = truth.boxes[j].tolist()
        low = np.maximum(out.boxes[:, :2], [x0, y0])
        both = np.clip(np.minimum(out.boxes[:, 2:], [x1, y1]) - low, 0, None).prod(1)
        best = int(both.argmax())
        hits += both[best] > 0.7 * (x1 - x0) * (y1 - y0)
        seen = np.zeros((700, 700), bool)
        wx, wy, w, h = out.windows[best].tolist()
        seen[wy : wy + h, wx : wx + w] = out.masks[best][: max(0, 700 - wy), : max(0, 700 - wx)]
        real = np.zeros((700, 700), bool)
        real[y0:y1, x0:x1] = truth.mask(j)
        ious.append((seen & real).sum() / (seen | real).sum())
    assert hits >= 0.9 * whole.sum()
    assert np.median(ious) > 0.85
