"""Where a two-stage network begins: random, torchvision's files by name, or a file of one's own.

Laws. Nothing is fetched: a file that is not there is an error that says what it is called and where it is looked for.
What begins from torchvision's files keeps its batch norms as they are, as torchvision does.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torchvision.models import get_model_weights
from torchvision.models.detection import FasterRCNN

from pbsbatch.errors import UsageError
from pbsbatch.models.folder import MODEL_JSON, WEIGHTS, kind_of
from pbsbatch.models.rcnn_facts import RCNN, RcnnFacts
from pbsbatch.models.rcnn_folder import read_rcnn
from pbsbatch.nets.rcnn import arch_of
from pbsbatch.nets.rcnn_checkpoint import fill_body, fill_known, tensors_of

__all__ = ["NAMED", "Start", "as_taught", "begin_from", "find_weights", "has_masks"]

COCO, IMAGENET = "coco", "imagenet"
NAMED = (COCO, IMAGENET)
_COCO = {
    "fasterrcnn-r50-fpn": "fasterrcnn_resnet50_fpn", "fasterrcnn-r50-fpn-v2": "fasterrcnn_resnet50_fpn_v2",
    "maskrcnn-r50-fpn-v2": "maskrcnn_resnet50_fpn_v2",
}  # fmt: skip
_IMAGENET = {**dict.fromkeys(_COCO, "resnet50"), "maskrcnn-r101-fpn": "resnet101"}


def has_masks(arch: str) -> bool:
    """Say whether an architecture outlines cells; one that does not exist is an error that lists those that do."""
    return arch_of(arch).masks


Start = Path | None
"""The file that a network begins from."""


def find_weights(asked: str | None, arch: str, data: Path) -> Start:
    """Return the file that --weights means: a path, or coco or imagenet for torchvision's own of that architecture."""
    if asked is None:
        return None
    if asked not in NAMED:
        given = Path(asked) / WEIGHTS if Path(asked).is_dir() else Path(asked)
        if not given.is_file():
            raise UsageError("there is no such file", path=given, cure="Give a checkpoint's path, or coco, or imagenet")
        return given
    name = (_COCO if asked == COCO else _IMAGENET).get(arch)
    if name is None:
        raise UsageError(f"torchvision has no {asked} weights of {arch}", cure="Use --weights imagenet, or a file")
    known = get_model_weights(name)
    file = Path(known.DEFAULT.url if asked == COCO else known.IMAGENET1K_V1.url).name
    places = [data / file, Path(torch.hub.get_dir()) / "checkpoints" / file]
    for place in places:
        if place.is_file():
            return place
    raise UsageError(
        f"the weights {file} are at none of {', '.join(map(str, places))}",
        cure=f"Copy them there: torchvision.models.get_model_weights({name!r}) names their address",
    )


def as_taught(facts: RcnnFacts, start: Start) -> RcnnFacts:
    """Return the facts with what goes with a file's weights: the anchors and norms of a model's folder.

    The norms of torchvision's first COCO files have no epsilon.
    """
    if start is None:
        return facts
    if start.name.startswith("fasterrcnn_resnet50_fpn_coco"):
        return replace(facts, norm_eps=0.0)
    if start.name != WEIGHTS or not (start.parent / MODEL_JSON).is_file():
        return facts
    if kind_of(start.parent) != RCNN:
        raise UsageError("it is no two-stage model", path=start.parent, cure="Fine-tune it without --arch")
    own = read_rcnn(start.parent).facts
    return replace(facts, anchors=own.anchors, ratios=own.ratios, norm_eps=own.norm_eps)


def begin_from(net: FasterRCNN, start: Path) -> list[str]:
    """Give a network a file's weights, whole or of its body; return the names of what is left random."""
    tensors = tensors_of(start)
    if any(name.startswith("backbone.") for name in tensors):
        return fill_known(net, tensors, start)
    fill_body(net, tensors, start)
    return ["all but the body"]
