"""From a checkpoint of torchvision's to a model folder."""

from __future__ import annotations

from pathlib import Path

from pbsbatch.models.rcnn_folder import RcnnFolder
from pbsbatch.nets.rcnn import arch_of, build
from pbsbatch.nets.rcnn_checkpoint import fill_whole, tensors_of
from pbsbatch.nets.rcnn_export import export_rcnn
from pbsbatch.train.rcnn.presets import Preset
from pbsbatch.train.rcnn.shape import facts_of, read_shape

__all__ = ["export_weights_of"]


def export_weights_of(path: Path, output: Path, arch: str, settings: Path, preset: Preset | None) -> RcnnFolder:
    """Write the folder of a checkpoint, an architecture, and what a TOML file says of them."""
    facts = facts_of(read_shape(settings), arch, masks=arch_of(arch).masks, preset=preset)
    net = build(facts)
    fill_whole(net, tensors_of(path), path)
    return export_rcnn(net, facts, output)
