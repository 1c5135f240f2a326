"""A two-stage network's parts as ONNX graphs, and its weights as safetensors.

Law: each graph holds plain operators alone and gives what its part gives; batch and, of the first, tile sides may vary.
Weights keep four bytes: a folder holds a checkpoint's own numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path

from onnx import TensorProto, helper
from safetensors.torch import save
from torch import fx, nn
from torchvision.models.detection import FasterRCNN

from pbsbatch.models.rcnn_facts import RcnnFacts
from pbsbatch.models.rcnn_folder import (
    BOX_BINS,
    BOX_OUTPUTS,
    DELTAS,
    FEATURE_OUTPUTS,
    MAPS,
    MASK_BINS,
    MASK_OUTPUTS,
    OBJECTNESS,
    RcnnFolder,
    write_rcnn,
)
from pbsbatch.nets.detector import Served
from pbsbatch.nets.export import IR_VERSION, OPSET, GraphWriter, checked_model
from pbsbatch.nets.rcnn import BoxNet, FeaturesNet, MaskNet, arch_of, thawed

__all__ = ["export_rcnn"]

Shape = Sequence[int | str]


def export_rcnn(net: FasterRCNN, facts: RcnnFacts, path: Path) -> RcnnFolder:
    """Write a network as a model folder."""
    copy = thawed(deepcopy(net).cpu().float().eval().requires_grad_(False))
    channels, count = arch_of(facts.arch).pyramid, len(facts.network_classes) + 1
    pixels = ("pixels", TensorProto.UINT8, ("batch", "height", "width", 3))
    features = _graph(Served(FeaturesNet(copy), facts.mean, facts.std), pixels, _first_ports(facts, channels))
    box = _graph(
        BoxNet(copy), ("cut", TensorProto.FLOAT, ("boxes", BOX_BINS, BOX_BINS, channels)),
        dict(zip(BOX_OUTPUTS, (("boxes", count), ("boxes", 4 * count)), strict=True)),
    )  # fmt: skip
    mask = None
    if facts.masks:
        ports = {MASK_OUTPUTS[0]: ("boxes", count, 2 * MASK_BINS, 2 * MASK_BINS)}
        cut = ("cut", TensorProto.FLOAT, ("boxes", MASK_BINS, MASK_BINS, channels))
        mask = _graph(MaskNet(copy), cut, ports)
    tensors = {name: t.detach().cpu().contiguous() for name, t in copy.state_dict().items()}
    return write_rcnn(path, facts, features=features, box=box, mask=mask, weights=bytes(save(tensors)))


def _first_ports(facts: RcnnFacts, channels: int) -> dict[str, Shape]:
    anchors = len(facts.anchors[0]) * len(facts.ratios)
    wide = dict.fromkeys(MAPS, channels) | dict.fromkeys(OBJECTNESS, anchors) | dict.fromkeys(DELTAS, 4 * anchors)
    return {name: ("batch", f"{name}_rows", f"{name}_columns", wide[name]) for name in FEATURE_OUTPUTS}


def _graph(part: nn.Module, given: tuple[str, int, Shape], ports: Mapping[str, Shape]) -> bytes:
    """Return a part as the bytes of an ONNX file; its one input is called as `given` says."""
    part = part.eval().requires_grad_(False)
    writer = GraphWriter(part)
    for node in fx.symbolic_trace(part).graph.nodes:
        if node.op == "placeholder":
            writer.names[node] = given[0]
        else:
            writer.add(node, list(ports))
    graph = helper.make_graph(
        writer.nodes, "part", [helper.make_tensor_value_info(*given)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in ports.items()],
        writer.constants,
    )  # fmt: skip
    return checked_model(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    )
