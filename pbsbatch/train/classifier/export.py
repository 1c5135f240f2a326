"""From a trained classifier to the bytes of a model folder's files, by the laws of nets.export.

Law: pixels uint8 (batch, side, side, 3) in; out come logits (batch, kinds), whose softmax is calibrated, and
strangeness (batch). What a run needs to name a cell beside them are two thresholds.
"""

from __future__ import annotations

import operator
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from onnx import TensorProto, helper
from torch import fx, nn

from pbsbatch.models.taxonomy import TYPES
from pbsbatch.nets.classifier import CalibratedNet, KindsNet
from pbsbatch.nets.detector import Served
from pbsbatch.nets.export import IR_VERSION, OPSET, GraphWriter, checked_model
from pbsbatch.train.classifier.finish import Calibrated
from pbsbatch.train.classifier.strange import Strangeness

__all__ = ["calibrated_net", "export_classifier"]

FAR = 1e6
"""No cell's features are so far from any other's."""


def export_classifier(net: KindsNet, calibrated: Calibrated, *, half: bool = True) -> bytes:
    """Return a calibrated network as engines run it; half as in export_onnx."""
    served = Served(calibrated_net(net, calibrated).net, net.mean, net.std).eval().requires_grad_(False)
    writer = ClassifierWriter(served, half)
    for node in _Layers().trace(served).nodes:
        writer.add(node, ["logits", "features"])
    writer.strangeness(calibrated.strangeness)
    side, kinds = net.crop_px, net.kinds.out_features
    graph = helper.make_graph(
        writer.nodes, "classifier",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", side, side, 3])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", kinds]),
            helper.make_tensor_value_info("strangeness", TensorProto.FLOAT, ["batch"]),
        ],
        writer.constants,
    )  # fmt: skip
    return checked_model(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    )


def calibrated_net(net: KindsNet, calibrated: Calibrated) -> CalibratedNet:
    """Return a network whose logits are calibrated and that knows what is strange."""
    out = CalibratedNet(deepcopy(net).cpu().float(), len(TYPES))  # a network in training is not to be changed
    known = calibrated.strangeness.means
    with torch.no_grad():
        out.net.kinds.weight.div_(calibrated.temperature)
        out.net.kinds.bias.div_(calibrated.temperature)
        out.whiten.copy_(torch.from_numpy(calibrated.strangeness.whiten))
        out.means.fill_(FAR)  # of a type that was not among the taught cells
        out.means[: len(known)] = torch.from_numpy(known)
    return out.eval()


class _Layers(fx.Tracer):
    """Take convolutions and poolings as they are, also timm's own, which look at the size of what comes."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        known = isinstance(m, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d)
        return known or super().is_leaf_module(m, module_qualified_name)


@dataclass(slots=True)
class ClassifierWriter(GraphWriter):
    """Knows the layers that only a classifier has. (super() finds no class here: slots make it anew.)"""

    features: str = field(default="")

    def module(self, node: fx.Node, module: nn.Module) -> None:
        source = self.names[node.all_input_nodes[0]]
        if isinstance(module, nn.AdaptiveAvgPool2d):
            self.names[node] = self.emit("GlobalAveragePool", [source], node.name)
        elif isinstance(module, nn.Flatten):
            self.names[node] = self.emit("Flatten", [source], node.name, axis=1)
        elif isinstance(module, nn.Dropout | nn.Identity):
            self.names[node] = source  # nothing is dropped once training is over
        elif isinstance(module, nn.MaxPool2d):
            self.names[node] = self.emit("MaxPool", [source], node.name, **_pooling(module))
        elif isinstance(module, nn.AvgPool2d):
            counts = {"count_include_pad": int(module.count_include_pad or _pads_itself(module))}
            self.names[node] = self.emit("AveragePool", [source], node.name, **_pooling(module), **counts)
        elif isinstance(module, nn.ZeroPad2d):
            left, right, top, bottom = (int(v) for v in module.padding)
            edges = self.constant(f"{node.name}.pads", torch.tensor([0, 0, top, left, 0, 0, bottom, right]))
            self.names[node] = self.emit("Pad", [source, edges], node.name)
        elif isinstance(module, nn.Linear):
            weights = [self.constant(f"{node.name}.{k}", getattr(module, k)) for k in ("weight", "bias")]
            self.names[node] = self.emit("Gemm", [source, *weights], node.name, transB=1)
        else:
            GraphWriter.module(self, node, module)

    def step(self, node: fx.Node) -> None:
        """Add a step; a tensor times a number is one with that constant."""
        numbers = [a for a in node.args if isinstance(a, float)]
        if node.target is not operator.mul or not numbers:
            GraphWriter.step(self, node)
            return
        factor = self.constant(f"{node.name}.factor", torch.tensor(numbers[0]))
        self.names[node] = self.emit("Mul", [self.names[node.all_input_nodes[0]], factor], node.name)

    def convolution(self, name: str, source: str, module: nn.Conv2d) -> str:
        made = GraphWriter.convolution(self, name, source, module)
        if _pads_itself(module):
            pads = next(a for a in self.nodes[-1].attribute if a.name == "pads")
            self.nodes[-1].attribute.remove(pads)
            self.nodes[-1].attribute.append(helper.make_attribute("auto_pad", "SAME_UPPER"))
        return made

    def rename(self, result: str, name: str) -> None:
        if name == "features":
            self.features = result
        else:
            GraphWriter.rename(self, result, name)

    def strangeness(self, ordinary: Strangeness) -> None:
        """Add the distance from the nearest mean. Differences are squared: squares apart would cancel in float32.

        Features are whitened by a product and a sum, not by a MatMul: what follows the last convolution or MatMul
        stays in float32 where an engine computes in bf16.
        """
        whiten = self.constant("whiten", torch.from_numpy(ordinary.whiten).float())
        means = self.constant("means", torch.from_numpy(ordinary.means).float()[None])
        first, second = (self.constant(f"axis{i}", torch.tensor([i])) for i in (1, 2))
        column = self.emit("Unsqueeze", [self.features, second], "column")
        white = self.emit("ReduceSum", [self.emit("Mul", [column, whiten], "parts"), first], "white", keepdims=0)
        off = self.emit("Sub", [self.emit("Unsqueeze", [white, first], "apart"), means], "off")
        squares = self.emit("ReduceSumSquare", [off, second], "squares", keepdims=0)
        nearest = self.emit("ReduceMin", [squares, first], "nearest", keepdims=0)
        self.emit("Sqrt", [nearest], "strangeness")


def _pads_itself(module: nn.Module) -> bool:
    """Say whether a layer is one of timm's that pad so that strides divide evenly."""
    return type(module).__name__.endswith("2dSame")


def _pooling(module: nn.MaxPool2d | nn.AvgPool2d) -> dict[str, Any]:
    """Return the settings of a pooling layer."""
    kernel, stride, pad = (_two(v) for v in (module.kernel_size, module.stride, module.padding))
    settings: dict[str, Any] = {"kernel_shape": kernel, "strides": stride, "ceil_mode": int(module.ceil_mode)}
    return {**settings, **({"auto_pad": "SAME_UPPER"} if _pads_itself(module) else {"pads": [*pad, *pad]})}


def _two(value: Any) -> list[int]:
    return [int(v) for v in value] if isinstance(value, tuple | list) else [int(value)] * 2
