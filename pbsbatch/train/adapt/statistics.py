"""Move what a network takes for the mean and the spread to the target's: in its batch norms, or behind them all.

Laws. Nothing is learned by gradient, and the source's cells are not needed. `with_statistics` is AdaBN (Li 2016);
`aligned` gives the target's features the mean and covariance of the source's (CORAL, Sun 2016), of which the
classifier's folder keeps enough, and is folded into the last layer.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pbsbatch.nets.classifier import ClassifierNet
from pbsbatch.train.adapt.task import Model, Task
from pbsbatch.train.batches import normalised

__all__ = ["aligned", "with_statistics"]

F64 = NDArray[np.float64]
AT_ONCE = 64
SHRINK = 0.05
"""Share of the mean variance that is put on covariances' diagonals: a few hundred cells tell little of each pair."""


@torch.no_grad()
def with_statistics(task: Task) -> ClassifierNet:
    """Return the network whose batch norms hold the target's means and variances."""
    net = task.model.copy()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the plain mean over all batches
            module.train()
    crops = task.model.crops([*task.cells, *task.known.cells])
    order = np.random.default_rng(task.seed).permutation(len(crops))  # a folder is sorted by slide, or by type
    for part in np.array_split(order, max(1, len(order) // AT_ONCE)):
        net(normalised(torch.from_numpy(np.stack([crops[i] for i in part]))))
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1
    return net.eval()


@torch.no_grad()
def aligned(task: Task) -> ClassifierNet:
    """Return the network whose last layer takes the target's features for the source's."""
    net, model = task.model.copy(), task.model
    _, features = model.look(model.crops([*task.cells, *task.known.cells]))
    mean, spread = _of_source(model)
    mine = features.mean(0)
    turn = _root(spread, 0.5) @ _root(np.cov(features.T), -0.5)  # of columns
    weight = net.kinds.weight.double().numpy()
    net.kinds.bias.add_(torch.from_numpy(weight @ (mean - turn @ mine)).float())
    net.kinds.weight.copy_(torch.from_numpy(weight @ turn).float())
    return net


def _of_source(model: Model) -> tuple[F64, F64]:
    """Return mean and covariance of the source's features, each type as often: within types and between them."""
    white = model.ordinary.whiten
    means = model.ordinary.means @ np.linalg.inv(white)
    within = np.linalg.inv(white @ white.T)
    return means.mean(0), within + np.cov(means.T, bias=True)


def _root(covariance: F64, power: float) -> F64:
    shrunk = covariance + SHRINK * covariance.trace() / len(covariance) * np.eye(len(covariance))
    values, vectors = np.linalg.eigh(shrunk)
    return np.asarray((vectors * np.maximum(values, 1e-12) ** power) @ vectors.T, np.float64)
