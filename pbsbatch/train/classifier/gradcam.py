"""Weak masks from a classifier: where it looks when it names a cell (Grad-CAM), assembled over layers.

A layer's map is the sum of its channels, each weighted by the mean gradient of the named kind's logit, without what
speaks against the kind. Laws. Any torch module fits that takes normalised crops (1, 3, S, S) and gives logits, or
logits first. Layers go by their name in the module or by their number among its single layers as they are run, from 1
(a convolution, a ReLU and a pooling are three); the default is the last that still knows places. Whoever uses the
module at the same time would disturb it: one thread.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pbsbatch.datasets.crop.stained import disc, in_the_middle
from pbsbatch.datasets.weak.steps import Image, Plane, Steps, filled
from pbsbatch.engines.torch import served
from pbsbatch.errors import UsageError
from pbsbatch.models.load import load_classifier
from pbsbatch.nets.classifier import CalibratedNet
from pbsbatch.train.classifier.crops import plain
from pbsbatch.train.classifier.pictures import Cell
from pbsbatch_kernels.regions import extents

__all__ = ["GradCam", "Looker", "layers_of", "looker_of", "turned"]

CELL_UM = 12.0
"""What lengths are shares of, as the other methods have it of a white cell's diameter."""
MIDDLE, BORDER = 0.25, 0.375
"""The middle of a map reaches so far from its centre, its border begins there; in sides of the map."""
SHOWN = 40
"""Layer names told in one message."""


@dataclass(frozen=True, slots=True, eq=False)
class Looker:
    """A classifier to be asked where it looks."""

    net: nn.Module
    side: int  # pixels of its crops
    mpp: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def input(self, crop: Image) -> Tensor:
        """Return a crop as the module takes it."""
        pixels = torch.from_numpy(crop).permute(2, 0, 1)[None].float()
        mean, std = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (self.mean, self.std))
        return (pixels - mean) / std

    def maps(self, crop: Image, layers: Sequence[str]) -> dict[str, Plane]:
        """Return each layer's map, at its own size, at most 1; all 0 where nothing speaks for the kind."""
        modules = dict(self.net.named_modules())
        kept: dict[str, Tensor] = {}
        hooks = [modules[name].register_forward_hook(_keep(kept, name)) for name in layers]
        try:
            out = self.net(self.input(crop).requires_grad_(True))
        finally:
            for hook in hooks:
                hook.remove()
        logits = out[0] if isinstance(out, tuple) else out
        slopes = torch.autograd.grad(logits[0, int(logits[0].argmax())], [kept[name] for name in layers])
        found = {}
        for name, slope in zip(layers, slopes, strict=True):
            seen = (slope.mean((2, 3), keepdim=True) * kept[name]).sum(1)[0].clamp(min=0)
            found[name] = (seen / seen.max().clamp(min=1e-12)).detach().numpy().astype(np.float32)
        return found


def _keep(kept: dict[str, Tensor], name: str) -> Any:
    def hook(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        kept[name] = output.clone()
        return kept[name].clone()  # what follows may write into its input, as ReLUs in place do

    return hook


def looker_of(model: str) -> Looker:
    """Return the classifier of that name, or of that model folder."""
    folder = load_classifier(model).folder
    facts = folder.facts
    net = served(folder).net
    return Looker(
        net.net if isinstance(net, CalibratedNet) else net, facts.crop_px, facts.crop_mpp, facts.mean, facts.std
    )


def layers_of(looker: Looker, asked: str = "") -> tuple[str, ...]:
    """Return the names of the layers that are asked for, as "stage8, stage16" or "3,4,7"."""
    shapes: dict[str, tuple[int, ...]] = {}  # in the order in which they are run

    def seen(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:  # what it returned would be the output
            shapes.setdefault(name, tuple(getattr(output, "shape", ())))

        return hook

    modules = {name: module for name, module in looker.net.named_modules() if name}
    hooks = [module.register_forward_hook(seen(name)) for name, module in modules.items()]
    try:
        with torch.no_grad():
            looker.net(looker.input(np.zeros((looker.side, looker.side, 3), np.uint8)))
    finally:
        for hook in hooks:
            hook.remove()
    placed = [name for name, shape in shapes.items() if len(shape) == 4 and min(shape[2:]) > 1]
    single = [name for name in shapes if not any(modules[name].children())]
    words = [w for w in re.split(r"[,\s]+", asked) if w] or placed[-1:]
    return tuple(dict.fromkeys(_named(word, placed, single) for word in words))


def _named(word: str, placed: Sequence[str], single: Sequence[str]) -> str:
    number = int(word) if word.isascii() and word.isdigit() else 0
    name = single[number - 1] if 1 <= number <= len(single) else word
    if name in placed:
        return name
    last = max(i for i, layer in enumerate(single, 1) if layer in placed)
    outer = [layer for layer in placed if "." not in layer]
    raise UsageError(
        f"there is no layer {word!r} with places",
        cure=f"Layers: 1 to {last}, or {', '.join(outer[:SHOWN])}, and what is in them, as {placed[0]}",
    )


@dataclass(frozen=True, slots=True)
class GradCam:
    """The method's settings; lengths are shares of a white cell's diameter."""

    looker: Looker
    layers: tuple[str, ...]
    mpp: float = field(default=float("nan"))  # of the pictures; NaN: their shorter side is a crop of the classifier's
    threshold: float = 0.5  # of the assembled map's highest
    dilate: float = 0.04

    def __call__(self, image: Image) -> Steps:
        """Return what came of a picture of one cell: the piece in its middle, or none."""
        looker = self.looker
        mpp = self.mpp if np.isfinite(self.mpp) else looker.side * looker.mpp / min(image.shape[:2])
        crop = plain(Cell("", "", image, mpp), looker.side, looker.mpp)
        maps = looker.maps(crop, self.layers)
        wide = {
            n: np.asarray(cv2.resize(m, crop.shape[1::-1], interpolation=cv2.INTER_LINEAR)) for n, m in maps.items()
        }
        sure = turned(np.mean(list(wide.values()), axis=0, dtype=np.float32))
        cut = ((sure >= self.threshold * sure.max()) & (sure > 0)).astype(np.uint8)
        cell = CELL_UM / looker.mpp
        mask = filled(np.asarray(cv2.dilate(cut, disc(self.dilate * cell)), np.uint8), cell)
        pieces = np.asarray(cv2.connectedComponents(mask, connectivity=4)[1], np.int32)
        grid = extents(pieces, int(pieces.max()) + 1)[1:]
        middle = in_the_middle(grid, pieces.shape, grid[:, 4] > 0)
        found = np.concatenate([[0], middle.astype(np.int32)]).astype(np.int32)[pieces]
        stages = (
            ("picture", image), ("crop", crop), *maps.items(), ("assembled", sure), ("threshold", cut),
            ("dilated", mask), ("mask", found),
        )  # fmt: skip
        return Steps(_back(found, image.shape[:2], looker.mpp / mpp), stages)


def turned(plane: Plane) -> Plane:
    """Return a map, turned around where its border is higher than its middle.

    Law: the cell lies in the middle. A network that knows a cell by how much glass is around it looks at the glass; the
    cell is then what it does not look at. The assembled map, not each layer's: layers that answer to noise lost by
    it. The study's network overlapped drawn cells by .28 before, and .52 turned around.
    """
    y, x = (np.abs((np.arange(n) + 0.5) / n - 0.5) for n in plane.shape)
    off = np.maximum(y[:, None], x[None, :])
    border, middle = plane[off > BORDER].mean(), plane[off < MIDDLE].mean()
    return np.asarray(plane.max() - plane if border > middle else plane, np.float32)


def _back(labels: NDArray[np.int32], size: tuple[int, ...], zoom: float) -> NDArray[np.int32]:
    """Return a crop's labels in the picture that it is the middle of."""
    out = np.zeros(size, np.int32)
    y, x = (
        np.floor((np.arange(n) - (n - 1) / 2) / zoom + length / 2).astype(np.int64)
        for n, length in zip(size, labels.shape, strict=True)
    )
    rows, cols = ((at >= 0) & (at < length) for at, length in zip((y, x), labels.shape, strict=True))
    out[np.ix_(rows, cols)] = labels[np.ix_(y[rows], x[cols])]
    return out
