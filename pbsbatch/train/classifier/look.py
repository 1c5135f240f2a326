"""Ask a classifier about cells as they are.

Law: in fp32 and without averaging over views, as engines run it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pbsbatch.nets.classifier import KindsNet
from pbsbatch.train.batches import normalised
from pbsbatch.train.classifier.crops import plain
from pbsbatch.train.classifier.pictures import Cell
from pbsbatch.train.classifier.settings import Settings

__all__ = ["crops_of", "look"]

AT_ONCE = 64
"""Crops in one batch."""


@torch.no_grad()
def look(net: KindsNet, crops: Sequence[NDArray[np.uint8]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return logits (N, K) and features (N, F) of crops, in fp32."""
    device = next(net.parameters()).device
    logits, features = [], []
    for start in range(0, len(crops), AT_ONCE):
        pixels = torch.from_numpy(np.stack(crops[start : start + AT_ONCE])).to(device)
        z, f = net(normalised(pixels, net.mean, net.std))
        logits.append(z.cpu())
        features.append(f.cpu())
    return torch.cat(logits).double().numpy(), torch.cat(features).double().numpy()


def crops_of(settings: Settings, cells: Sequence[Cell]) -> list[NDArray[np.uint8]]:
    """Return the cells as they are, at the classifier's scale."""
    return [plain(cell, settings.crop_px, settings.crop_mpp) for cell in cells]
