"""Which place answers for which cell: the sparse assignment beside a dense one."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from hypothesis import given, reject  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch import Tensor  # noqa: E402

from pbsbatch.train.assign import FIT_POWER, MIN_REACH, TOP, assign, box_iou, decode_boxes, places  # noqa: E402


def dense(
    scores: Tensor, boxes: Tensor, centres: Tensor, stride: int, cells: Tensor, classes: Tensor
) -> dict[int, tuple[int, float]]:
    """Assign one image's places by cells times places: place -> (cell, score)."""
    middle = (cells[:, :2] + cells[:, 2:]) / 2
    half = ((cells[:, 2:] - cells[:, :2]) / 2).clamp(min=MIN_REACH * stride)
    chosen: list[tuple[int, int, float, float]] = []
    for m in range(len(cells)):
        inside = [p for p in range(len(centres)) if bool(((centres[p] - middle[m]).abs() <= half[m]).all())]
        rows = []
        for p in inside:
            fit = float(box_iou(cells[m], boxes[p]))
            rows.append((float(scores[p, classes[m]].clamp(min=1e-9)) * fit**FIT_POWER + 1e-12, p, fit))
        rows.sort(key=lambda row: -row[0])
        if len(rows) > TOP and rows[TOP][0] > 0.999 * rows[TOP - 1][0]:
            reject()  # which of two places that are equally good comes in is a matter of rounding
        chosen += [(p, m, fit, merit) for merit, p, fit in rows[:TOP]]
    fits = [sorted(fit for q, _, fit, _ in chosen if q == p)[-2:] for p, *_ in chosen]
    if any(len(pair) == 2 and pair[1] - pair[0] < 1e-5 for pair in fits):
        reject()
    owner = {p: max((fit, m) for q, m, fit, _ in chosen if q == p)[1] for p, *_ in chosen}
    held = [row for row in chosen if owner[row[0]] == row[1]]
    out = {}
    for p, m, _, merit in held:
        mine = [row for row in held if row[1] == m]
        out[p] = (m, merit / max(row[3] for row in mine) * max(row[2] for row in mine))
    return out


@given(st.integers(0, 10**6), st.integers(1, 12), st.sampled_from([4, 8]))
def test_the_sparse_assignment_is_the_dense_one(seed: int, many: int, stride: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    grid = (9, 12)
    centres = places(*grid, stride, torch.device("cpu"))
    middle = torch.rand((many, 2), generator=generator) * torch.tensor([12.0, 9.0]) * stride
    half = (0.3 + 2.5 * torch.rand((many, 2), generator=generator)) * stride
    cells = torch.cat([middle - half, middle + half], 1)
    classes = torch.randint(0, 3, (many,), generator=generator)
    said = torch.randn((108, 4), generator=generator) * 0.4 + torch.tensor([0.0, 0.0, 0.9, 0.9])
    boxes = decode_boxes(said, centres, stride)
    scores = torch.rand((108, 3), generator=generator)
    found = assign(scores, boxes, grid, stride, cells, classes, torch.zeros(many, dtype=torch.long))
    expected = dense(scores, boxes, centres, stride, cells, classes)
    assert sorted(found.place.tolist()) == sorted(expected)
    for place, cell, score in zip(found.place.tolist(), found.cell.tolist(), found.score.tolist(), strict=True):
        assert cell == expected[place][0]
        assert score == pytest.approx(expected[place][1], rel=1e-3, abs=1e-6)


def test_slots_do_not_see_each_other() -> None:
    generator = torch.Generator().manual_seed(3)
    centres = places(8, 8, 4, torch.device("cpu"))
    scores = torch.rand((64, 2), generator=generator)
    boxes = decode_boxes(torch.randn((64, 4), generator=generator), centres, 4)
    cells = torch.tensor([[4.0, 4.0, 16.0, 17.0], [10.0, 12.0, 30.0, 26.0]])
    classes = torch.tensor([0, 1])
    alone = assign(scores, boxes, (8, 8), 4, cells, classes, torch.zeros(2, dtype=torch.long))
    twice = assign(
        scores.repeat(2, 1),
        boxes.repeat(2, 1),
        (8, 8),
        4,
        cells.repeat(2, 1),
        classes.repeat(2),
        torch.tensor([0, 0, 1, 1]),
    )
    second = twice.place >= 64
    assert twice.place[~second].tolist() == alone.place.tolist()
    assert (twice.place[second] - 64).tolist() == alone.place.tolist()
    assert torch.equal(twice.score[second], alone.score)


def test_no_cells_no_places() -> None:
    none = assign(
        torch.rand(16, 3), torch.rand(16, 4), (4, 4), 8,
        torch.zeros((0, 4)), torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long),
    )  # fmt: skip
    assert len(none.place) == len(none.cell) == len(none.score) == 0


def test_a_cell_smaller_than_the_grid_still_has_a_place() -> None:
    cells = torch.tensor([[15.0, 15.0, 17.0, 17.0]])  # on the corner of four places
    boxes = decode_boxes(torch.zeros((16, 4)), places(4, 4, 8, torch.device("cpu")), 8)
    found = assign(torch.full((16, 1), 0.5), boxes, (4, 4), 8, cells, torch.tensor([0]), torch.tensor([0]))
    assert sorted(found.place.tolist()) == [5, 6, 9, 10]
