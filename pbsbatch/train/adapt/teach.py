"""Teach a network a little more: the loop that every method of adaptation shares.

Law: the same steps give the same weights. What comes out are the averaged weights; a loss that is not finite ends it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from pbsbatch.nets.classifier import ClassifierNet
from pbsbatch.train.detector import TrainingError
from pbsbatch.train.ema import Ema

__all__ = ["teach"]

DECAY, CLIP, WEIGHT_DECAY, WARM_UP = 0.97, 5.0, 0.01, 10


def teach(
    net: ClassifierNet, loss_of: Callable[[int], Tensor], steps: int, rate: float, *, norms: bool,
    more: nn.Module | None = None,
) -> ClassifierNet:  # fmt: skip
    """Return the network after so many steps of a loss; it itself is changed. `more` learns along.

    norms: whether the means and variances of batch norms move along.
    """
    average = Ema(net, DECAY)
    weights = [*net.parameters(), *(more.parameters() if more is not None else ())]
    optimiser = torch.optim.AdamW(weights, lr=rate, weight_decay=WEIGHT_DECAY)
    net.train()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d) and not norms:
            module.eval()
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / steps))
        loss = loss_of(step)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(weights, CLIP)
        if not math.isfinite(loss.item()):
            raise TrainingError(f"the loss of adapting is not finite in step {step + 1}", cure="Try another --method")
        optimiser.step()
        average.follow(step)
    return average.net.eval()
