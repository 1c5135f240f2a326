"""A two-stage detector's networks in PyTorch: the reference, and what runs on a CUDA card; torchvision cuts boxes.

Maps and networks stay on the device; what crosses over are the grids' proposals and what is said of boxes.
"""

from __future__ import annotations

from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor
from torchvision.models.detection import FasterRCNN
from torchvision.ops import roi_align

from pbsbatch.engines.base import own_threads
from pbsbatch.engines.rcnn import First, chosen, in_parts
from pbsbatch.engines.torch import device_of, moving
from pbsbatch.errors import EngineError, GpuLostError, ModelError, one_line
from pbsbatch.models.folder import WEIGHTS
from pbsbatch.models.rcnn_facts import RcnnFacts
from pbsbatch.models.rcnn_folder import BOX_BINS, LEVELS_CUT, MASK_BINS, RcnnFolder
from pbsbatch.models.rcnn_stages import levels_of
from pbsbatch.nets.detector import Served
from pbsbatch.nets.rcnn import BoxNet, FeaturesNet, MaskNet, build

__all__ = ["TorchParts", "network_of", "torch_parts"]

F32 = NDArray[np.float32]
BOXES_AT_ONCE, MASKS_AT_ONCE = 1000, 100
"""On a card: what is cut for so many masks takes 20 MB. On the CPU too, where only a reference is run."""


def network_of(folder: RcnnFolder) -> FasterRCNN:
    """Return the folder's network, ready to run. No pickle is read: weights are safetensors."""
    net = build(folder.facts)
    try:
        net.load_state_dict(load_tensors(folder.read(WEIGHTS)))
    except (SafetensorError, RuntimeError) as error:
        raise ModelError(
            f"its weights do not fit model.json: {one_line(error)[:300]}", path=folder.path / WEIGHTS,
            cure="Copy the folder again from where it came",
        ) from error  # fmt: skip
    return net.eval().requires_grad_(False)


def torch_parts(
    folder: RcnnFolder, precision: str = "auto", device: str = "auto", threads: int | None = None
) -> TorchParts:
    """Return the parts of a folder on a device, in fp32."""
    if precision not in ("auto", "fp32"):
        raise EngineError(f"torch does not run two-stage models in {precision}", cure="Use fp32")
    place = device_of(device)
    if place.type == "cpu":
        torch.set_num_threads(own_threads() if threads is None else threads)  # of the whole process
    net = network_of(folder)
    with moving():
        return TorchParts(net, folder.facts, place)


class TorchParts:
    """Run a network's parts. One call at a time."""

    name, precision = "torch", "fp32"

    def __init__(self, net: FasterRCNN, facts: RcnnFacts, place: torch.device) -> None:
        self.notes: list[str] = []
        self.device = torch.cuda.get_device_name(place) if place.type == "cuda" else "cpu"
        self._place, self._lock, self._open = place, Lock(), True
        self._first = Served(FeaturesNet(net), facts.mean, facts.std).to(place)
        self._box = BoxNet(net).to(place)
        self._mask = MaskNet(net).to(place) if facts.masks else None

    @property
    def lanes(self) -> int:
        """Return 1 on the CPU, whose cores a single call uses already."""
        return 1 if self.device == "cpu" else 0

    def first(self, tile: NDArray[np.uint8]) -> First:
        out = self._run(self._first, torch.from_numpy(tile[None]).to(self._place))
        grids = [values[0].cpu().numpy() for values in out[LEVELS_CUT:]]
        half = len(grids) // 2
        return First(grids[:half], grids[half:], [one.permute(0, 3, 1, 2) for one in out[:LEVELS_CUT]])

    def judged(self, first: First, boxes: F32) -> tuple[F32, F32]:
        def run(part: slice) -> tuple[F32, ...]:
            cut = self._cut(first, boxes[part], BOX_BINS)
            return tuple(values.cpu().numpy() for values in self._run(self._box, cut))

        logits, moves = in_parts(boxes, BOXES_AT_ONCE, run)
        return logits, moves

    def outlined(self, first: First, boxes: F32, kinds: NDArray[np.int64]) -> F32:
        def run(part: slice) -> tuple[F32]:
            (logits,) = self._run(self._mask, self._cut(first, boxes[part], MASK_BINS))
            return (chosen(logits.cpu().numpy(), kinds[part]),)

        return in_parts(boxes, MASKS_AT_ONCE, run)[0]

    def close(self) -> None:
        self._open = False

    def _run(self, net: Any, given: Tensor) -> tuple[Tensor, ...]:
        with self._lock, torch.inference_mode():
            if not self._open:
                raise EngineError("the engine is closed")
            try:
                out: tuple[Tensor, ...] = net(given)
            except torch.OutOfMemoryError as error:
                raise EngineError("the memory is full", cure="Use fewer --workers, or a smaller input_px") from error
            except RuntimeError as error:
                kind = EngineError if self.device == "cpu" else GpuLostError  # an error of CUDA stays with its process
                raise kind(f"torch failed: {one_line(error)[:300]}") from error
        return out

    def _cut(self, first: First, boxes: F32, bins: int) -> Tensor:
        """Return what the boxes show on the maps, each on the map for its size, channels last."""
        maps: Any = first.maps
        levels = levels_of(boxes)
        out = torch.empty((len(boxes), maps[0].shape[1], bins, bins), device=self._place)
        for level, features in enumerate(maps):
            here = np.flatnonzero(levels == level)
            if len(here):
                there = torch.from_numpy(np.ascontiguousarray(boxes[here])).to(self._place)
                out[torch.from_numpy(here).to(self._place)] = roi_align(features, [there], bins, 0.25 / 2**level, 2)
        return out.permute(0, 2, 3, 1)
