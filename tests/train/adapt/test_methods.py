"""Adapted networks know the other laboratory's cells better and do not forget their own; each part holds its law."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pbsbatch.errors import UsageError
from pbsbatch.models.taxonomy import KINDS, TYPES, kinds_of
from pbsbatch.nets.classifier import ClassifierNet
from pbsbatch.train.adapt.adversarial import Adversary, weight_of
from pbsbatch.train.adapt.glasses import PLAIN, Glasses, best_glasses, common_look
from pbsbatch.train.adapt.guard import Measure, balanced, between, by_agreement, by_source, guarded
from pbsbatch.train.adapt.head import with_known
from pbsbatch.train.adapt.methods import DEFAULT, METHODS, adapted
from pbsbatch.train.adapt.selftrain import chosen
from pbsbatch.train.adapt.strangers import strangers
from pbsbatch.train.adapt.task import Model, Task
from pbsbatch.train.classifier.look import look
from pbsbatch.train.classifier.pictures import Split
from tests.train.adapt.drawn import abroad, home, model_of, strip, taught, unnamed


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return model_of(taught(tmp_path_factory.mktemp("drawn") / "model"))


def right(model: Model, net: ClassifierNet, split: Split) -> float:
    return balanced(look(net, model.crops(split.cells))[0], split.types)


def task(model: Model, labels: int = 0, **more: object) -> Task:
    return Task(model, unnamed(abroad(20, 100)), abroad(labels, 300), steps=40, **more)


def test_the_default_cures_another_laboratory_and_does_not_forget_its_own(model: Model) -> None:
    there, here = abroad(30, 500), home(25, 9000)
    before = right(model, model.net, there)
    weights = {name: t.clone() for name, t in model.net.state_dict().items()}
    asked = task(model)
    net = adapted(DEFAULT, asked, best_glasses(model, asked.cells))
    assert before < 0.8 < 0.93 < right(model, net, there)
    assert right(model, net, here) >= right(model, model.net, here) - 0.02
    assert all(torch.equal(t, weights[name]) for name, t in model.net.state_dict().items())


@pytest.mark.parametrize("method", [name for name in METHODS if name != DEFAULT])
def test_every_method_gains_abroad_with_a_few_labels(model: Model, method: str) -> None:
    asked = task(model, labels=5, source=home(20))
    net = adapted(method, asked, PLAIN)
    assert right(model, net, abroad(30, 500)) > right(model, model.net, abroad(30, 500)) + 0.05


def test_the_adversarial_method_needs_the_source(model: Model) -> None:
    with pytest.raises(UsageError, match="needs cells of the source"):
        adapted("adversarial", task(model), PLAIN)
    shares = [weight_of(share) for share in (0.0, 0.1, 0.5, 1.0)]
    assert shares[0] == 0 and shares == sorted(shares) and shares[-1] > 0.999


def test_an_adversary_learns_and_its_gradient_comes_back_turned_around() -> None:
    torch.manual_seed(1)
    adversary, features = Adversary(3), torch.randn(5, 3, requires_grad=True)
    plain = torch.autograd.grad(adversary.net(features)[:, 0].sum(), features)[0]
    turned = torch.autograd.grad(adversary(features, 0.5).sum(), features)[0]
    torch.testing.assert_close(turned, -0.5 * plain)


def test_glasses_undo_what_was_done_to_cells(model: Model) -> None:
    glasses = best_glasses(model, abroad(20, 100).cells)
    assert glasses.zoom < 1 and glasses.was is not None
    own = best_glasses(model, home(20, 100).cells)
    assert 0.85 < own.zoom < 1.15
    cell = home(1).cells[0]
    assert PLAIN.seen(cell) == cell and np.array_equal(model.crops([cell])[0], PLAIN.crops([cell], model)[0])
    larger = Glasses(1.25, common_look([cell])).seen(cell)
    assert larger.mpp == 1.25 * cell.mpp and larger.pixels.shape == cell.pixels.shape


def test_chosen_are_the_surest_of_each_type_and_types_weigh_alike() -> None:
    chances = np.full((30, len(TYPES)), 0.01)
    called = np.array([0] * 20 + [1] * 8 + [2] * 2)
    chances[np.arange(30), called] = np.linspace(0.6, 0.9, 30)
    chances[29, 2] = 0.4  # too unsure to teach
    told = chosen(chances, 0.5)
    assert told.which.tolist() == [*range(10, 20), *range(24, 28), 28]
    assert told.types.tolist() == [0] * 10 + [1] * 4 + [2]
    assert [round(float(told.weights[told.types == t].sum()), 6) for t in range(3)] == [0.333333] * 3


def test_the_last_layer_stays_without_labels(model: Model) -> None:
    net = with_known(model, model.copy(), Split([]), 1)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), model.net.parameters(), strict=True))


def test_a_network_that_forgets_is_taken_back_as_far_as_needed(model: Model) -> None:
    asked = task(model)
    net = adapted("statistics", asked, PLAIN)
    held = home(25, 9000)
    kept = guarded(model, net, by_source(model, held))
    assert kept.kept >= kept.before - 0.01 and kept.cells == 100 and "held-out" in kept.what
    assert kept.adapted < kept.before - 0.01 and kept.share < 1  # it had forgotten, the whole way
    assert kept.kept == right(model, kept.net, held)
    worse = guarded(model, net, Measure("never good", 1, lambda n: float(n is model.net)))
    assert (worse.share, worse.before, worse.kept) == (0.0, 1.0, 1.0)
    assert right(model, worse.net, held) == right(model, model.net, held)
    there = between(model.net, net, 1.0)
    assert all(torch.equal(a, b) for a, b in zip(there.parameters(), net.parameters(), strict=True))


def test_cells_of_the_source_keep_self_training_from_forgetting(model: Model) -> None:
    there, here = abroad(30, 500), home(25, 9000)
    net = adapted(DEFAULT, task(model, source=home(20)), PLAIN)
    assert right(model, net, there) > right(model, model.net, there) + 0.05
    assert right(model, net, here) >= right(model, model.net, here) - 0.01


def test_what_a_label_calls_otherwise_is_not_agreed_upon(model: Model) -> None:
    cells = home(20, 100).cells
    whole = by_agreement(model, unnamed(Split(cells)), PLAIN)
    assert by_agreement(model, cells, PLAIN).cells in range(whole.cells - 4, whole.cells + 1)
    wrong = [replace(cell, label="basophil") for cell in cells[:20]]
    assert by_agreement(model, [*wrong, *cells[20:]], PLAIN).cells <= whole.cells - 10


def test_agreement_is_whole_with_itself_and_asks_of_sure_cells_alone(model: Model) -> None:
    cells = unnamed(home(20, 100))
    measure = by_agreement(model, cells, PLAIN)
    assert measure.of(model.net) == 1.0 and 40 <= measure.cells <= 80
    broken = model.copy()
    torch.nn.init.zeros_(broken.kinds.weight)
    assert measure.of(broken) <= 0.3


def test_what_is_no_cell_is_left_out_and_what_has_a_label_is_not(model: Model) -> None:
    cells = unnamed(abroad(20, 100))
    glasses = best_glasses(model, cells)
    others = [replace(c, name=f"stripes-{i}", pixels=strip(c.pixels)) for i, c in enumerate(cells[:3])]
    named = replace(others[0], label="neutrophil")
    none, unlike = strangers(model, [*cells, *others, named], glasses)
    assert none[len(cells) :].tolist() == [True, True, True, False]
    assert none[: len(cells)].mean() <= 0.05 and unlike < 0.5


def test_one_cell_of_a_rare_type_does_not_undo_all() -> None:
    types = np.array([0] * 40 + [1] * 40 + [2, 3])
    called = types.copy()
    called[-1] = 0
    logits = np.where(np.arange(len(KINDS)) == np.array([kinds_of(TYPES[t])[0] for t in called])[:, None], 9.0, 0.0)
    assert balanced(logits, types) == 0.75 and balanced(logits, types, 20) == pytest.approx((1 + 1 + 0.5) / 3)


def test_labels_alone_teach_and_nothing_sure_without_labels_is_said(model: Model) -> None:
    net = adapted(DEFAULT, Task(model, [], abroad(10, 300), steps=20), PLAIN)
    assert right(model, net, abroad(30, 500)) > right(model, model.net, abroad(30, 500)) + 0.05
    doubtful = replace(model, net=model.copy())
    torch.nn.init.zeros_(doubtful.net.kinds.weight)
    torch.nn.init.zeros_(doubtful.net.kinds.bias)
    cells = unnamed(abroad(10, 100))
    with pytest.raises(UsageError, match=r"none of 40 cells is called anything.*--labels"):
        adapted(DEFAULT, Task(doubtful, cells, Split([]), steps=2), PLAIN)
    adapted(DEFAULT, Task(doubtful, cells, abroad(1, 300), steps=2), PLAIN)
