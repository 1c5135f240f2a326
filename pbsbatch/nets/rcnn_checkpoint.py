"""Read a two-stage network's weights from elsewhere: safetensors, or a file of torch.save that holds tensors alone.

Laws. No pickled object is ever made: torch's own reader of weights refuses whatever is no tensor. Weights that do not
fit are named with both shapes; nothing is left random without being told.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN

from pbsbatch.errors import ModelError, one_line

__all__ = ["fill_body", "fill_known", "fill_whole", "tensors_of"]

WITHIN = ("model", "state_dict", "model_state_dict")
"""Where training scripts keep the weights beside the rest."""
MOST_BYTES = 2 << 30
COUNTERS = "num_batches_tracked"
SHOWN = 4
HEADS = ("roi_heads.box_predictor.", "roi_heads.mask_predictor.mask_fcn_logits.", "rpn.head.cls_logits.",
    "rpn.head.bbox_pred.")  # fmt: skip
"""Layers whose sizes follow classes and anchors."""


def tensors_of(path: Path) -> dict[str, Tensor]:
    """Return a file's tensors by name."""
    cure = "Save model.state_dict() with torch.save, or as safetensors"
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ModelError(f"it is larger than {MOST_BYTES >> 30} GB", path=path, cure=cure)
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        told: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ModelError(
            f"cannot read it ({error.strerror})", path=path, cure="Give the path of a checkpoint"
        ) from error
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, zipfile.BadZipFile, EOFError) as error:
        said = "it holds more than weights, or is damaged"
        raise ModelError(f"{said}: {one_line(error)[:160]}", path=path, cure=cure) from error
    for name in WITHIN:
        if isinstance(told, Mapping) and isinstance(told.get(name), Mapping):
            told = told[name]
            break
    if not isinstance(told, Mapping) or not any(isinstance(v, Tensor) for v in told.values()):
        raise ModelError("it holds no weights by name", path=path, cure=cure)
    return {str(k).removeprefix("module."): v for k, v in told.items() if isinstance(v, Tensor)}


def fill_whole(net: FasterRCNN, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Give a network every weight of a file, or say which do not fit."""
    wrong = _misfits(net, tensors)
    if wrong:
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise ModelError(
            f"its weights are of another network: {'; '.join(wrong[:SHOWN])}{more}", path=path,
            cure="Give the architecture, classes and anchors that it was trained with",
        )  # fmt: skip


def fill_known(net: FasterRCNN, tensors: Mapping[str, Tensor], path: Path) -> list[str]:
    """Give a network all of a file's weights but those that follow classes and anchors where these differ.

    Return the names of what is left random.
    """
    own = net.state_dict()
    random = [n for n in tensors if n.startswith(HEADS) and n in own and own[n].shape != tensors[n].shape]
    fill_whole(net, {name: own[name] if name in random else t for name, t in tensors.items()}, path)
    return random


def fill_body(net: FasterRCNN, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Give a network's body the weights of a classifier of pictures, whose last layer is left out."""
    fill_whole(net.backbone.body, {n: t for n, t in tensors.items() if not n.startswith("fc.")}, path)


def _misfits(net: nn.Module, tensors: Mapping[str, Tensor]) -> list[str]:
    """Load what fits; say of each weight that does not what it should be."""
    shapes = {name: tuple(t.shape) for name, t in net.state_dict().items()}
    try:
        told = net.load_state_dict(dict(tensors), strict=False)
    except RuntimeError:
        sizes = [
            f"{name} is {tuple(t.shape)}, not {shapes[name]}" for name, t in tensors.items()
            if name in shapes and tuple(t.shape) != shapes[name]
        ]  # fmt: skip
        return sizes or ["its layers are named otherwise"]
    missing = [f"{n} {shapes[n]} is missing" for n in told.missing_keys if not n.endswith(COUNTERS)]
    unknown = [f"{n} {tuple(tensors[n].shape)} is unknown" for n in told.unexpected_keys]
    return [said for pair in zip_longest(missing, unknown) for said in pair if said is not None]
