"""Raw output becomes the cells that the plain formulas give, the same wherever a tile starts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbsbatch.engines.torch import TorchEngine
from pbsbatch.errors import EngineError
from pbsbatch.models.base import Found
from pbsbatch.models.dense import VOTERS_IOU, DenseModel, decode
from pbsbatch.models.facts import DetectorFacts
from pbsbatch.models.folder import RAYS
from pbsbatch.plan import SNAP, STEP_PX
from pbsbatch.testing.engines import FakeEngine, mark
from tests.engines.tiny import FACTS, tiny_folder

seeds = st.integers(0, 2**32 - 1)
LARGEST = FACTS.max_cell_um / (FACTS.work_mpp * (1 + SNAP))


def crowded(seed: int, rows: int = 12, cols: int = 16) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the raw output of a grid on which neighbouring places speak of the same cells."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(-2.0, 2.0, (3, rows, cols)).astype(np.float32)
    boxes = rng.normal(0, 0.5, (4, rows, cols)).astype(np.float32)
    boxes[2:] += np.float32(rng.choice([0.5, 1.5, 2.5]))
    return scores, boxes, rng.normal(0, 0.1, (RAYS, rows, cols)).astype(np.float32)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    w, h = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    both = max(w, 0) * max(h, 0)
    return float(both / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - both))


def plainly(
    scores: np.ndarray, boxes: np.ndarray, facts: DetectorFacts
) -> list[tuple[float, int, np.ndarray, tuple[int, int]]]:
    """Return score, class, box and place of the cells, by the text of the laws."""

    def said(row: int, col: int) -> np.ndarray:
        dx, dy, lw, lh = boxes[:, row, col].astype(float)
        cx, cy = (col + 0.5 + dx) * 4, (row + 0.5 + dy) * 4
        w, h = (float(np.clip(np.exp(np.clip(v, -4, 5)) * 4, 1, LARGEST)) for v in (lw, lh))
        return np.array([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])

    def voted(c: int, place: tuple[int, int]) -> np.ndarray:
        around = [(r, k) for r, k in np.ndindex(*scores.shape[1:]) if max(abs(r - place[0]), abs(k - place[1])) <= 2]
        agreed = [p for p in around if iou(said(*p), said(*place)) >= VOTERS_IOU]
        return np.average([said(*p) for p in agreed], 0, [1 / (1 + np.exp(-float(scores[c][p]))) for p in agreed])

    seen = []
    for c, row, col in np.ndindex(*scores.shape):
        a, b = facts.calibration[c]
        score = 1 / (1 + np.exp(-(a * float(scores[c, row, col]) + b)))
        box = np.floor(said(row, col) * 256 + 0.5) / 256
        x, y = (box[:2] + box[2:]) / 2
        if score >= facts.thresholds[c] and 0 <= x < scores.shape[2] * 4 and 0 <= y < scores.shape[1] * 4:
            seen.append((score, c, box, (row, col)))
    seen.sort(key=lambda cell: -cell[0])
    for same_class, limit in ((True, facts.nms_iou), (False, facts.cross_iou)):
        kept: list[tuple[float, int, np.ndarray, tuple[int, int]]] = []
        for cell in seen:
            if all((same_class and k[1] != cell[1]) or iou(k[2], cell[2]) <= limit for k in kept):
                kept.append(cell)
        seen = kept
    return [(score, c, voted(c, place), place) for score, c, _, place in seen]


@given(seed=seeds)
def test_cells_are_those_of_the_plain_formulas(seed: int) -> None:
    scores, boxes, outlines = crowded(seed)
    found, expected = decode(scores, boxes, outlines, FACTS), plainly(scores, boxes, FACTS)
    assert found.classes.tolist() == [c for _, c, _, _ in expected]
    np.testing.assert_allclose(found.scores, [s for s, _, _, _ in expected], atol=1e-6)
    np.testing.assert_allclose(found.boxes, np.array([b for _, _, b, _ in expected]).reshape(-1, 4), atol=1 / 256)
    assert len(found.masks) == len(found.windows) == len(expected) > 0
    for window, mask in zip(found.windows, found.masks, strict=True):
        x, y, w, h = window
        assert mask.shape == (h, w) and mask.any()
        assert x >= 0 and y >= 0 and x + w <= 64 and y + h <= 48


@given(seed=seeds, down=st.integers(0, 30), right=st.integers(0, 30))
def test_a_cell_does_not_depend_on_where_its_tile_starts(seed: int, down: int, right: int) -> None:
    here, there = [], []
    for values, blank in zip(crowded(seed), (-9, 0, 0), strict=True):
        here.append(np.pad(values, ((0, 0), (30, 30), (30, 30)), constant_values=blank))
        there.append(np.pad(values, ((0, 0), (30 + down, 30), (30 + right, 30)), constant_values=blank))
    one, two = decode(*here, FACTS), decode(*there, FACTS)
    shift = np.array([right, down, right, down]) * 4
    np.testing.assert_array_equal(two.boxes, one.boxes + shift)
    np.testing.assert_array_equal(two.windows, one.windows + np.array([right * 4, down * 4, 0, 0]))
    np.testing.assert_array_equal(two.scores, one.scores)
    assert all(np.array_equal(a, b) for a, b in zip(one.masks, two.masks, strict=True))


def test_scores_are_calibrated_and_thresholds_are_of_calibrated_scores() -> None:
    facts = replace(FACTS, thresholds=(0.3, 0.3, 0.3), calibration=((2.0, -1.0), (1.0, 0.0), (0.5, 0.5)))
    scores = np.full((3, 4, 12), -20, np.float32)
    scores[:, 1, [1, 5, 9]] = np.diag(np.full(3, 1.0)) + np.diag(np.full(3, 20.0)) - 20
    boxes, outlines = np.zeros((4, 4, 12), np.float32), np.zeros((RAYS, 4, 12), np.float32)
    found = decode(scores, boxes, outlines, facts)
    expected = {0: 1 / (1 + np.exp(-1)), 1: 1 / (1 + np.exp(-1)), 2: 1 / (1 + np.exp(-1))}
    assert dict(zip(found.classes.tolist(), found.scores.tolist(), strict=True)) == pytest.approx(expected)
    least = np.log(0.3 / 0.7)
    for logit, count in ((least + 1e-4, 1), (least - 1e-4, 0)):
        scores[:] = -20
        scores[1, 1, 5] = logit
        assert len(decode(scores, boxes, outlines, facts).scores) == count


def test_one_cell_of_two_classes_stays_one() -> None:
    scores = np.full((3, 4, 12), -20, np.float32)
    scores[0, 1, 5], scores[1, 1, 5], scores[1, 1, 6] = 3, 2, 1
    boxes = np.zeros((4, 4, 12), np.float32)
    boxes[2:] = np.log(5.0)
    found = decode(scores, boxes, np.zeros((RAYS, 4, 12), np.float32), FACTS)
    assert found.classes.tolist() == [0]
    apart = replace(FACTS, nms_iou=1.0, cross_iou=1.0)
    assert len(decode(scores, boxes, np.zeros((RAYS, 4, 12), np.float32), apart).classes) == 3


def test_nothing_found_is_an_empty_tile() -> None:
    found = decode(
        np.full((3, 4, 8), -20, np.float32), np.zeros((4, 4, 8), np.float32), np.zeros((RAYS, 4, 8), np.float32), FACTS
    )
    assert found.boxes.shape == (0, 4) and found.windows.shape == (0, 4) and found.masks == ()
    assert (found.boxes.dtype, found.scores.dtype, found.classes.dtype) == (np.float32, np.float32, np.uint8)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> DenseModel:
    return DenseModel(tiny_folder(tmp_path_factory.mktemp("models") / "tiny"))


def test_marked_cells_are_found_in_their_slot(model: DenseModel) -> None:
    pixels = np.full((2, 128, 160, 3), 255, np.uint8)
    mark(pixels[0], 42, 62, 0, 30, 30)
    mark(pixels[0], 102, 62, 1, 48, 40)
    mark(pixels[1], 22, 22, 2, 8, 9)
    raw = FakeEngine()(pixels)
    one, two = (by_x(model.decode(raw, slot, {})) for slot in range(2))
    assert one.boxes.tolist() == [[27, 47, 57, 77], [78, 42, 126, 82]]
    assert one.classes.tolist() == [0, 1] and two.classes.tolist() == [2]
    assert two.boxes.tolist() == [[18, 17.5, 26, 26.5]]
    areas = [m.sum() for m in (*one.masks, *two.masks)]
    np.testing.assert_allclose(areas, [np.pi * 225, np.pi * 480, np.pi * 18], rtol=0.1)


def by_x(found: Found) -> Found:
    order = np.argsort(found.boxes[:, 0])
    return Found(
        found.boxes[order], found.scores[order], found.classes[order], found.windows[order],
        tuple(found.masks[i] for i in order),
    )  # fmt: skip


def test_output_that_does_not_fit_is_the_engines_error(model: DenseModel) -> None:
    raw = dict(FakeEngine()(np.full((1, 32, 32, 3), 255, np.uint8)))
    broken = raw["scores"].copy()
    broken[0, 0, 0, 0] = np.nan
    for change in (
        {"scores": broken}, {"scores": raw["scores"].astype(np.float64)}, {"boxes": raw["boxes"][:, :3]},
        {"outlines": raw["outlines"][:, :, :4]}, {"scores": raw["scores"][:, :2]}, {"scores": raw["scores"][0]},
    ):  # fmt: skip
        with pytest.raises(EngineError, match="does not fit the model tiny"):
            model.decode({**raw, **change}, 0, {})
    del raw["boxes"]
    with pytest.raises(EngineError, match="boxes"):
        model.decode(raw, 0, {})


def test_a_networks_tile_says_the_same_elsewhere_on_the_strides(model: DenseModel) -> None:
    rng = np.random.default_rng(0)
    smear = rng.integers(60, 250, (224, 240, 3)).astype(np.uint8)
    engine = TorchEngine(model.folder, device="cpu", threads=1)
    whole = engine(smear[None])
    part = engine(smear[None, STEP_PX:, 2 * STEP_PX :])
    margin = 24  # places: further from the border than the tiny network sees
    for name, values in whole.items():
        a, b = values[0, :, 4:, 8:], part[name][0]
        np.testing.assert_allclose(
            a[:, margin:-margin, margin:-margin], b[:, margin:-margin, margin:-margin], atol=1e-4, err_msg=name
        )
        assert not np.allclose(a[:, :2], b[:, :2], atol=1e-4)  # at the border it cannot


def test_a_models_folder_moves_with_it(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "a")
    assert DenseModel(folder).spec == DenseModel(replace(folder, path=tmp_path / "b")).spec
