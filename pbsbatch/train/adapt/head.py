"""Teach the last layer a few labelled cells of the target, for methods that teach nothing else.

Law: without labelled cells the network stays as it was; with few it stays near, for it is pulled back to where it was.
"""

from __future__ import annotations

import math

import torch

from pbsbatch.nets.classifier import ClassifierNet
from pbsbatch.train.adapt.task import Model
from pbsbatch.train.classifier.look import look
from pbsbatch.train.classifier.loss import label_loss
from pbsbatch.train.classifier.pictures import Split

__all__ = ["with_known"]

VIEWS, SMOOTHING, FINE = 16, 0.05, 0.3
PULL = 2.0
"""Of the squared way of the weights, against the mean loss of the cells."""
STEPS = 60


def with_known(model: Model, net: ClassifierNet, known: Split, seed: int) -> ClassifierNet:
    """Return the network with its last layer taught by the known cells; it itself is changed."""
    if not len(known.cells):
        return net
    cutter = model.cutter(known.cells, known.weights(1.0), 0.0)
    made = [cutter.cut(seed, number) for number in range(VIEWS * len(known.cells))]
    features = torch.from_numpy(look(net.eval(), [crop for crop, _ in made])[1]).float()
    kinds = torch.from_numpy(known.kinds[[which for _, which in made]])
    was = net.kinds.weight.detach().clone()
    wide = features.pow(2).mean(0)  # a weight of a feature that is large moves logits more
    pull = PULL / math.sqrt(len(known.cells))
    weights = [p.requires_grad_(True) for p in net.kinds.parameters()]
    optimiser = torch.optim.LBFGS(weights, max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        way = ((net.kinds.weight - was).pow(2) * wide).sum() / len(was)
        whole: torch.Tensor = label_loss(net.kinds(features), kinds, SMOOTHING, FINE) + pull * way
        whole.backward()  # type: ignore[no-untyped-call]
        return whole

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    return net
