"""What a classifier is taught by: the chance that it gives to all that a label may stand for."""

from __future__ import annotations

import torch
from torch import Tensor

from pbsbatch.models.taxonomy import SIBLINGS

__all__ = ["kinds_loss", "label_loss"]


def label_loss(logits: Tensor, kinds: Tensor, smoothing: float, fine: float) -> Tensor:
    """Return the loss of a label on both levels: of its type, and with the weight `fine` of its kind.

    Experts disagree about kinds (bands, above all): asked for alone, their noise drowns what tells types apart.
    """
    siblings = torch.from_numpy(SIBLINGS).to(logits.device, logits.dtype)
    types = kinds.to(logits.dtype) @ siblings > 0
    return (1 - fine) * kinds_loss(logits, types, smoothing) + fine * kinds_loss(logits, kinds, smoothing)


def kinds_loss(logits: Tensor, kinds: Tensor, smoothing: float) -> Tensor:
    """Return the mean of -log of the summed chance of the kinds (B, K) that a label may be.

    Laws. A label of one kind is plain cross-entropy; a label of a type asks nothing about which of its kinds it is.
    Smoothing asks for a little of every kind, so that no logit grows without end.
    """
    if kinds.shape != logits.shape or not bool(kinds.any(1).all()):
        raise ValueError(f"every label needs a kind, (B, K) as the logits {tuple(logits.shape)}")
    whole = logits.logsumexp(1)
    named = whole - logits.masked_fill(~kinds, float("-inf")).logsumexp(1)
    every = whole - logits.mean(1)
    return ((1 - smoothing) * named + smoothing * every).mean()
