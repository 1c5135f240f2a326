from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbsbatch import evaluate as ev
from pbsbatch.errors import UsageError
from pbsbatch_kernels import matching
from tests.kernels.matching_peer import Case, draw, peer, same

SEEDS = st.integers(0, 2**32 - 1)


def names(case: Case) -> list[str]:
    return [f"class {k}" for k in range(case.n_classes)]


def evaluated(case: Case) -> ev.Evaluation:
    return ev.evaluate(case.truth(), case.found(), names(case), limits=case.limits)


@given(SEEDS)
def test_the_figures_are_pycocotools(seed: int) -> None:
    case = draw(seed)
    got, asked = evaluated(case), peer(case)
    last = 2
    figures = [
        got.ap(), got.ap50, got.ap75, *got.ap_per_area()[1:],
        *(got.ar(limit=m) for m in range(3)), *(got.ar(area=a) for a in (1, 2, 3)),
    ]  # fmt: skip
    stats = np.where(asked.stats == -1, np.nan, asked.stats)
    if case.limits[-1] != 100:  # pycocotools reads its first figure at 100 detections, whatever was asked for
        shown = asked.eval["precision"][:, :, :, 0, last]
        stats[0] = np.mean(shown[shown > -1]) if (shown > -1).any() else np.nan
    np.testing.assert_array_equal(figures, stats)


@given(SEEDS)
def test_without_classes_it_is_pycocotools_without_categories(seed: int) -> None:
    case = draw(seed)
    true, detected, rows, found_rows = ev.one_class(case.truth(), case.found())
    same(ev.evaluate(true, detected, ["cell"], limits=case.limits).curves, peer(case, with_classes=False))
    assert (np.diff(case.true_classes[rows]) >= 0).all()
    assert (np.diff(case.classes[found_rows]) >= 0).all()


def two_fields() -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Return truth and detections whose every fate is known."""
    true_boxes = [np.array([[0, 0, 10, 10], [20, 0, 30, 10]]), np.array([[5.0, 5, 15, 15]])]
    true_classes = [np.array([0, 1]), np.array([1])]
    boxes = [np.array([[0, 0, 10, 9], [21, 0, 30, 10], [50, 50, 60, 60]]), np.zeros((0, 4))]
    return true_boxes, true_classes, boxes, [np.array([0, 0, 1]), np.zeros(0, int)], [np.array([0.9, 0.8, 0.3]), []]  # type: ignore[list-item]


def test_verdicts_name_every_cell() -> None:
    true_boxes, true_classes, boxes, classes, scores = two_fields()
    true, detected = ev.fields_truth(true_boxes, true_classes), ev.fields_found(boxes, classes, scores)
    seen = ev.verdicts(true, detected, 2)
    assert seen.hits.tolist() == [[0, 0]]
    assert seen.false_positives.tolist() == [1, 2]
    assert seen.missed.tolist() == [1, 2]
    points = seen.at([0.0, 0.5, 0.85, 0.95])
    assert points.tp.tolist() == [[1, 1, 1, 0], [0, 0, 0, 0]]
    assert points.fp.tolist() == [[1, 1, 0, 0], [1, 0, 0, 0]]
    assert points.fn.tolist() == [[0, 0, 0, 1], [2, 2, 2, 2]]
    np.testing.assert_array_equal(points.precision[0], [0.5, 0.5, 1.0, np.nan])
    np.testing.assert_array_equal(points.recall[0], [1, 1, 1, 0])
    np.testing.assert_array_equal(points.f1[1], [0, 0, 0, 0])
    assert points.total().fp.tolist() == [[2, 1, 0, 0]]
    assert seen.best_cut(0) == 0.9
    assert np.isnan(seen.best_cut(1))


def test_confusion_shows_a_cell_taken_for_another() -> None:
    true_boxes, true_classes, boxes, classes, scores = two_fields()
    true, detected = ev.fields_truth(true_boxes, true_classes), ev.fields_found(boxes, classes, scores)
    for aware in (False, True):
        table = ev.confusion(true, detected, ("red", "white"), class_aware=aware)
        assert table.counts.tolist() == [[1, 0, 0], [1, 0, 1], [0, 1, 0]]
    assert ev.confusion(true, detected, ("red", "white"), cut=0.85).counts.tolist() == [[1, 0, 0], [0, 0, 2], [0, 0, 0]]


def test_confusion_with_and_without_classes_differ_where_the_better_box_has_the_wrong_class() -> None:
    true = ev.fields_truth([[[0, 0, 10, 10]]], [[0]])
    detected = ev.fields_found([[[0, 0, 10, 10], [0, 0, 10, 8]]], [[1, 0]], [[0.9, 0.8]])
    assert ev.confusion(true, detected, ("a", "b")).counts.tolist() == [[0, 1, 0], [0, 0, 0], [1, 0, 0]]
    aware = ev.confusion(true, detected, ("a", "b"), class_aware=True)
    assert aware.counts.tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]


@given(SEEDS, st.booleans(), st.sampled_from([0.0, 0.5]))
def test_confusion_counts_every_cell_once(seed: int, aware: bool, cut: float) -> None:
    case = draw(seed)
    true, detected = case.truth(), case.found()
    table = ev.confusion(true, detected, tuple(names(case)), class_aware=aware, cut=cut)
    counting = np.bincount(true.classes[~true.ignored], minlength=case.n_classes)
    np.testing.assert_array_equal(table.counts[:-1].sum(axis=1), counting)
    shown = np.bincount(detected.classes[detected.scores >= cut], minlength=case.n_classes)
    assert (table.counts[:, :-1].sum(axis=0) <= shown).all()  # what matched a crowd is not counted
    if aware:
        right = ev.verdicts(true, detected, case.n_classes).at(cut).tp[:, 0]
        assert (np.diag(table.counts)[:-1] >= right).all()
    if not true.crowd.any():
        np.testing.assert_array_equal(table.counts[:, :-1].sum(axis=0), shown)


@given(SEEDS)
def test_a_cut_equals_a_match_of_what_is_above_it(seed: int) -> None:
    case = draw(seed)
    true, detected = case.truth(), case.found()
    whole = ev.verdicts(true, detected, case.n_classes)
    for cut in (0.25, 0.6):
        part = ev.verdicts(true, matching.take(detected, np.flatnonzero(detected.scores >= cut)), case.n_classes)
        for name in ("tp", "fp", "fn"):
            np.testing.assert_array_equal(getattr(whole.at(cut), name), getattr(part.at(-1.0), name))


def test_verdicts_and_average_precision_agree() -> None:
    """Without crowds and limits the recall that COCO reports is the verdicts' at the lowest cut."""
    for seed in range(20):
        case = draw(seed)
        true = matching.truth(case.true_images, case.true_classes, case.true_boxes)
        got = ev.evaluate(true, case.found(), names(case), areas=matching.ALL_AREAS)
        recall = got.curves.recall[0, :, 0, 0]
        np.testing.assert_array_equal(np.where(recall == -1, np.nan, recall), got.verdicts.at(0.0).recall[:, 0])


def test_points_are_found_within_a_distance() -> None:
    true = ev.fields_truth([[[10, 10, 10, 10], [40, 10, 40, 10]]], [[0, 0]])
    detected = ev.fields_found([[[5, 5, 21, 15], [100, 0, 110, 10]]], [[0, 0]], [[0.9, 0.8]])
    got = ev.evaluate(true, detected, ["cell"], measure="points", thresholds=[5.0, 2.0], areas=matching.ALL_AREAS)
    assert got.ar(at=5.0) == 0.5
    assert got.ar(at=2.0) == 0.0
    assert got.verdicts.hits.tolist() == [[0, 0]]
    with pytest.raises(ValueError, match=r"no threshold 0\.5"):
        _ = got.ap50


@given(SEEDS)
def test_the_light_call_is_the_whole_call(seed: int) -> None:
    case = draw(seed)
    plain = matching.truth(case.true_images, case.true_classes, np.floor(case.true_boxes))
    whole = ev.evaluate(
        plain, matching.found(case.images, case.classes, np.floor(case.boxes), case.scores), names(case),
        areas=matching.ALL_AREAS,
    )  # fmt: skip

    def split(values: np.ndarray, images: np.ndarray) -> list[np.ndarray]:
        return [values[images == i] for i in range(case.n_images)]

    def corners(boxes: np.ndarray) -> np.ndarray:
        low = np.floor(boxes)
        return np.concatenate([low[:, :2], low[:, :2] + low[:, 2:]], axis=1)

    light = ev.detection_ap(
        split(corners(case.true_boxes), case.true_images), split(case.true_classes, case.true_images),
        split(corners(case.boxes), case.images), split(case.classes, case.images), split(case.scores, case.images),
        case.n_classes,
    )  # fmt: skip
    # fields bring their cells image by image: equal scores across images are told apart by the image in both
    np.testing.assert_array_equal(
        [light.ap, light.ap50, light.ap75, light.ar], [whole.ap(), whole.ap50, whole.ap75, whole.ar()]
    )
    np.testing.assert_array_equal(light.ap_per_class, list(whole.ap_per_class().values()))
    np.testing.assert_array_equal(light.ap50_per_class, list(whole.ap_per_class(at=0.5).values()))


@given(SEEDS)
def test_coco_files_are_read_as_pycocotools_reads_them(seed: int) -> None:
    case, rng = draw(seed), np.random.default_rng(seed)
    asked = peer(case)
    image_ids, class_ids = 7 + 3 * np.arange(case.n_images), 5 + 2 * np.arange(case.n_classes)
    data_set = {
        "images": [{"id": int(i)} for i in rng.permutation(image_ids)],
        "categories": [{"id": int(k), "name": f"class {(k - 5) // 2}"} for k in rng.permutation(class_ids)],
        "annotations": [
            {**a, "image_id": int(image_ids[a["image_id"]]), "category_id": int(class_ids[a["category_id"]])}
            for a in asked.cocoGt.dataset["annotations"]
        ]
        + [{"id": 900, "image_id": 7, "category_id": 4, "bbox": [0, 0, 5, 5], "area": 25.0}],
    }
    results = [
        {**a, "image_id": int(image_ids[a["image_id"]]), "category_id": int(class_ids[a["category_id"]])}
        for a in asked.cocoDt.dataset["annotations"]
    ]
    true, detected, labels = ev.from_coco(data_set, results)
    assert list(labels) == names(case)
    same(ev.evaluate(true, detected, labels, limits=case.limits).curves, asked)
    with pytest.raises(UsageError, match="image 8"):
        ev.from_coco(data_set, [{"image_id": 8, "category_id": 5, "bbox": [0, 0, 1, 1], "score": 1.0}])


EMPTY = {"images": [{"id": 1}], "categories": [{"id": 1}], "annotations": []}


@pytest.mark.parametrize(
    ("data_set", "results", "says"),
    [
        ({**EMPTY, "images": [{"id": 7}, {"id": 7}]}, [], "twice"),
        ({"images": []}, [], "no categories"),
        ({**EMPTY, "annotations": [{"image_id": 1, "category_id": 1, "id": 1, "bbox": [0, 0, 1, 1]}]}, [], "'area'"),
        (EMPTY, [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1]}], "'score'"),
        (EMPTY, [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1], "score": 1.0}], "x, y, w, h"),
    ],
)
def test_files_of_another_form_are_refused(data_set: dict[str, Any], results: list[Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        ev.from_coco(data_set, results)


def test_fields_must_fit_together() -> None:
    with pytest.raises(ValueError, match="fields: boxes come in"):
        ev.fields_truth([[[0, 0, 1, 1]]], [[0, 0]])
    with pytest.raises(ValueError, match="x0, y0, x1, y1"):
        ev.fields_truth([[[0, 0, 1]]], [[0]])
    with pytest.raises(ValueError, match="negative size"):
        ev.fields_found([[[5, 0, 1, 1]]], [[0]], [[0.5]])
    with pytest.raises(ValueError, match="truth of 1 fields, detections of 2"):
        ev.detection_ap([[]], [[]], [[], []], [[], []], [[], []], 1)
    with pytest.raises(ValueError, match="there are 1"):
        ev.verdicts(ev.fields_truth([[[0, 0, 1, 1]]], [[1]]), ev.fields_found([[]], [[]], [[]]), 1)
    with pytest.raises(ValueError, match="limit must be"):
        ev.evaluate(ev.fields_truth([[]], [[]]), ev.fields_found([[]], [[]], [[]]), ["cell"], limits=[])


def test_no_truth_is_nan_and_not_zero() -> None:
    light = ev.detection_ap([[]], [[]], [[[0, 0, 1, 1]]], [[0]], [[0.5]], 1)
    assert np.isnan([light.ap, light.ap50, light.ar, *light.ap_per_class]).all()
