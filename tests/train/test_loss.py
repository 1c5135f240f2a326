"""What the loss rewards."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import Tensor  # noqa: E402

from pbsbatch.train.loss import Targets, detector_loss  # noqa: E402

STRIDE, GRID, RAYS = 4, 8, 32


def truth(boxes: list[list[float]], unsure: bool = False, outline: float = float("nan")) -> Targets:
    many = len(boxes)
    return Targets(
        boxes=torch.tensor(boxes).reshape(many, 4),
        classes=torch.zeros(many, dtype=torch.long),
        outlines=torch.full((many, RAYS), outline),
        slots=torch.zeros(many, dtype=torch.long),
        unsure=torch.full((1, GRID, GRID), unsure),
    )


def output(score: float = -4.0, size: float = 12.0) -> tuple[Tensor, Tensor, Tensor]:
    """Every place says the same: a cell of this size in its middle, with this logit."""
    boxes = torch.zeros(1, 4, GRID, GRID)
    boxes[:, 2:] = torch.log(torch.tensor(size / STRIDE))
    return torch.full((1, 2, GRID, GRID), score), boxes, torch.zeros(1, RAYS, GRID, GRID)


def test_a_perfect_box_costs_nothing() -> None:
    at_place = [[2.0 + 8 - 6, 8.0 + 2 - 6, 16.0, 16.0]]  # 12 px around the place (2, 2), whose centre is (10, 10)
    assert float(detector_loss(output(), truth(at_place), STRIDE).box) < float(
        detector_loss(output(size=9.0), truth(at_place), STRIDE).box
    )
    scores, boxes, outlines = output()
    centres = (torch.arange(GRID) + 0.5) * STRIDE
    boxes[0, 0] = ((10.0 - centres) / STRIDE)[None, :]
    boxes[0, 1] = ((10.0 - centres) / STRIDE)[:, None]
    assert float(detector_loss((scores, boxes, outlines), truth(at_place), STRIDE).box) == pytest.approx(0.0, abs=1e-5)


def test_nothing_is_taught_where_it_is_unsure() -> None:
    loud = output(score=4.0)
    assert float(detector_loss(loud, truth([]), STRIDE).score) > 100
    assert float(detector_loss(loud, truth([], unsure=True), STRIDE).score) == 0.0


def test_a_cell_is_taught_even_where_it_is_unsure() -> None:
    loss = detector_loss(output(), truth([[4.0, 4.0, 16.0, 16.0]], unsure=True), STRIDE)
    assert float(loss.score) > 0.1


def test_unknown_outlines_teach_nothing_and_known_ones_do() -> None:
    cell = [[4.0, 4.0, 16.0, 16.0]]
    assert float(detector_loss(output(), truth(cell), STRIDE).outline) == 0.0
    assert float(detector_loss(output(), truth(cell, outline=1.0), STRIDE).outline) == 0.0  # an ellipse is 0 to the net
    assert float(detector_loss(output(), truth(cell, outline=1.2), STRIDE).outline) == pytest.approx(0.2, abs=1e-5)


def test_gradients_are_finite_without_any_cell() -> None:
    raw = tuple(t.requires_grad_(True) for t in output())
    detector_loss(raw, truth([]), STRIDE).total.backward()  # type: ignore[arg-type]
    assert all(t.grad is None or bool(t.grad.isfinite().all()) for t in raw)
    assert raw[0].grad is not None


def test_a_box_weighs_as_much_as_is_asked() -> None:
    cell = truth([[4.0, 4.0, 16.0, 16.0]])
    light, heavy = (detector_loss(output(size=9.0), cell, STRIDE, weight) for weight in (5.0, 8.0))
    assert float(heavy.total - light.total) == pytest.approx(3 * float(light.box), rel=1e-4)
