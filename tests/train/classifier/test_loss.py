"""A label asks for its kinds together and for nothing about which of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pbsbatch.models.taxonomy import KINDS, TYPES, kinds_of
from pbsbatch.train.classifier.loss import kinds_loss, label_loss


def draw(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    kinds = torch.rand(6, 5) < 0.4
    kinds[torch.arange(6), torch.randint(0, 5, (6,))] = True
    return torch.randn(6, 5, dtype=torch.float64), kinds


@given(st.integers(0, 2**31))
def test_it_is_minus_log_of_the_summed_chance(seed: int) -> None:
    logits, kinds = draw(seed)
    summed = (logits.softmax(1) * kinds).sum(1)
    torch.testing.assert_close(kinds_loss(logits, kinds, 0.0), -summed.log().mean())


@given(st.integers(0, 2**31), st.floats(0, 0.5))
def test_one_kind_is_cross_entropy_with_smoothed_labels(seed: int, smoothing: float) -> None:
    logits, _ = draw(seed)
    one = torch.arange(6) % 5
    kinds = torch.nn.functional.one_hot(one, 5).bool()
    wanted = torch.nn.functional.cross_entropy(logits, one, label_smoothing=smoothing)
    torch.testing.assert_close(kinds_loss(logits, kinds, smoothing), wanted)


@given(st.integers(0, 2**31))
def test_the_share_within_a_type_is_not_taught(seed: int) -> None:
    logits, kinds = draw(seed)
    logits.requires_grad_()
    kinds_loss(logits, kinds, 0.0).backward()
    assert logits.grad is not None
    within = (logits.softmax(1) * kinds).detach()
    within = within / within.sum(1, keepdim=True)
    pull = (logits.grad * kinds).sum(1, keepdim=True)
    torch.testing.assert_close(logits.grad * kinds, pull * within)


@given(st.integers(0, 2**31), st.floats(0, 1))
def test_a_label_is_asked_for_on_both_levels(seed: int, fine: float) -> None:
    rng = np.random.default_rng(seed)
    names = [(*TYPES, *KINDS)[i] for i in rng.integers(0, len(TYPES) + len(KINDS), 6)]
    chances = torch.from_numpy(rng.dirichlet(np.ones(len(KINDS)), 6))
    kinds = torch.zeros(6, len(KINDS), dtype=torch.bool)
    wanted = 0.0
    for i, label in enumerate(names):
        kinds[i, list(kinds_of(label))] = True
        (whole,) = [t for t in TYPES if set(kinds_of(label)) <= set(kinds_of(t))]
        for share, part in ((1 - fine, whole), (fine, label)):
            wanted -= share * float(chances[i, list(kinds_of(part))].sum().log()) / 6
    assert label_loss(chances.log(), kinds, 0.0, fine).item() == pytest.approx(wanted)


def test_a_label_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="every label needs a kind"):
        kinds_loss(torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.bool), 0.1)
    with pytest.raises(ValueError, match="every label needs a kind"):
        kinds_loss(torch.zeros(2, 3), torch.ones(2, 4, dtype=torch.bool), 0.1)
