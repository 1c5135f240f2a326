"""From a trained classifier to the bytes of a model folder's files, by the laws of nets.export.

Law: pixels uint8 (batch, side, side, 3) in; out come logits (batch, kinds), whose softmax is calibrated, and
strangeness (batch). What a run needs to name a cell beside them are two thresholds.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field

import torch
from onnx import TensorProto, helper
from torch import fx, nn

from pbsbatch.models.taxonomy import TYPES
from pbsbatch.nets.classifier import CalibratedNet, ClassifierNet
from pbsbatch.nets.detector import Served
from pbsbatch.nets.export import IR_VERSION, OPSET, GraphWriter, checked_model
from pbsbatch.train.batches import MEAN, STD
from pbsbatch.train.classifier.finish import Calibrated
from pbsbatch.train.classifier.strange import Strangeness

__all__ = ["calibrated_net", "export_classifier"]

FAR = 1e6
"""No cell's features are so far from any other's."""


def export_classifier(net: ClassifierNet, calibrated: Calibrated, *, half: bool = True) -> bytes:
    """Return a calibrated network as engines run it; half as in export_onnx."""
    served = Served(calibrated_net(net, calibrated).net, MEAN, STD).eval().requires_grad_(False)
    writer = ClassifierWriter(served, half)
    for node in fx.symbolic_trace(served).graph.nodes:
        writer.add(node, ["logits", "features"])
    writer.strangeness(calibrated.strangeness)
    side, kinds = net.size.crop_px, net.kinds.out_features
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


def calibrated_net(net: ClassifierNet, calibrated: Calibrated) -> CalibratedNet:
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
        elif isinstance(module, nn.Dropout):
            self.names[node] = source  # nothing is dropped once training is over
        elif isinstance(module, nn.Linear):
            weights = [self.constant(f"{node.name}.{k}", getattr(module, k)) for k in ("weight", "bias")]
            self.names[node] = self.emit("Gemm", [source, *weights], node.name, transB=1)
        else:
            GraphWriter.module(self, node, module)

    def rename(self, result: str, name: str) -> None:
        if name == "features":
            self.features = result
        else:
            GraphWriter.rename(self, result, name)

    def strangeness(self, ordinary: Strangeness) -> None:
        """Add the distance from the nearest mean. Differences are squared: squares apart would cancel in float32."""
        whiten = self.constant("whiten", torch.from_numpy(ordinary.whiten).float())
        means = self.constant("means", torch.from_numpy(ordinary.means).float()[None])
        first, second = (self.constant(f"axis{i}", torch.tensor([i])) for i in (1, 2))
        white = self.emit("MatMul", [self.features, whiten], "white")
        off = self.emit("Sub", [self.emit("Unsqueeze", [white, first], "apart"), means], "off")
        squares = self.emit("ReduceSumSquare", [off, second], "squares", keepdims=0)
        nearest = self.emit("ReduceMin", [squares, first], "nearest", keepdims=0)
        self.emit("Sqrt", [nearest], "strangeness")
