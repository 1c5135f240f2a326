"""From a trained network to the files of a model folder: ONNX, safetensors, and ONNX in int8.

Laws. The graph holds plain operators of ONNX alone and no word of where or from what source it was made; the same
network gives the same bytes. Batch and tile sides may vary. Stored are weights of two bytes, the same in both files:
what engines compute with them differs by rounding in float32 alone. For that batch norms stay beside the convolutions,
whose runtimes fold them; only a graph that is to be quantised has them folded in.

torch.onnx.export was tried first: its older exporter is on its way out, its newer one takes half a minute for this
network and leaves the paths and source lines of its maker in the file.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from pbsbatch.apart import in_own_thread
from pbsbatch.nets.detector import RAYS, DetectorNet, Served

__all__ = ["GraphWriter", "checked_model", "export_onnx", "export_weights", "quantise_onnx"]

OPSET, IR_VERSION = 18, 9
"""Old enough for runtimes of two years ago."""


def export_onnx(
    net: DetectorNet, mean: tuple[float, float, float], std: tuple[float, float, float], *, half: bool = True
) -> bytes:
    """Return the network as engines run it as the bytes of an ONNX file: pixels uint8 (batch, height, width, 3) in.

    half: weights take two bytes; quantise_onnx wants four.
    """
    classes = net.scores.out_channels
    copy = deepcopy(net).cpu().float()  # a network in training is not to be changed
    served = Served(copy, mean, std).eval().requires_grad_(False)
    ports = {"scores": classes, "boxes": 4, "outlines": RAYS}
    writer = GraphWriter(served, half)
    for node in fx.symbolic_trace(served).graph.nodes:
        writer.add(node, list(ports))
    graph = helper.make_graph(
        writer.nodes, "detector",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", "height", "width", 3])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", channels, "rows", "columns"])
            for name, channels in ports.items()
        ],
        writer.constants,
    )  # fmt: skip
    return checked_model(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    )


def export_weights(net: nn.Module) -> bytes:
    """Return the network's weights as the bytes of a safetensors file: of convolutions two bytes each, else fp32."""
    tensors = {name: t.detach().float().cpu().contiguous() for name, t in net.state_dict().items()}
    return bytes(save({name: t.half() if t.ndim == 4 else t for name, t in tensors.items()}))


def quantise_onnx(data: bytes, tiles: Iterable[NDArray[np.uint8]]) -> bytes:
    """Return an exported network in int8, calibrated on tiles (H, W, 3) of one shape, as an ONNX file that says so.

    Weights keep one bit free, so that processors without dot products of bytes do not overflow: measured there, an
    error of .034 against .003.
    """
    import nncf

    batches = [np.ascontiguousarray(tile)[None] for tile in tiles]
    if not batches:
        raise ValueError("calibration needs at least one tile")
    quantise = partial(
        nncf.quantize, onnx.load_from_string(data), nncf.Dataset(batches, lambda tile: {"pixels": tile}),
        subset_size=len(batches),
        advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE),
    )  # fmt: skip
    made = in_own_thread(quantise)  # it runs OpenVINO
    for node in made.graph.node:
        node.ClearField("doc_string")
    made.ClearField("metadata_props")
    return checked_model(made)


def checked_model(model: onnx.ModelProto) -> bytes:
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


@dataclass(slots=True)
class GraphWriter:
    """Turn a traced network into ONNX nodes, one kind of step after another; a step of another kind is an error."""

    served: nn.Module
    half: bool = False
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    names: dict[fx.Node, str] = field(default_factory=dict)  # where the result of each step is found

    def add(self, node: fx.Node, outputs: list[str]) -> None:
        """Add one step of the trace."""
        if node.op == "placeholder":
            self.names[node] = node.name
        elif node.op == "get_attr":
            self.names[node] = self.constant(str(node.target), self.served.get_buffer(str(node.target)))
        elif node.op == "output":
            for value, name in zip(node.args[0], outputs, strict=True):  # type: ignore[arg-type]
                self.rename(self.names[value], name)
        elif node.op == "call_module":
            self.module(node, self.served.get_submodule(str(node.target)))
        else:
            self.step(node)

    def step(self, node: fx.Node) -> None:
        """Add a call of a function or of a tensor's method."""
        kind = _STEPS.get(node.target)
        if kind is None:
            raise TypeError(f"no ONNX operator is known here for {node.target}")
        settings: dict[str, Any] = {}
        if kind == "Transpose":
            settings = {"perm": list(node.args[1:])}
        elif kind == "Cast":
            settings = {"to": TensorProto.FLOAT}
        elif kind == "Concat":
            settings = {"axis": node.args[1] if len(node.args) > 1 else node.kwargs["dim"]}
        elif kind in ("MaxPool", "AveragePool"):
            settings = _pooling(node, kind)
        inputs = [self.names[n] for n in node.all_input_nodes]
        self.names[node] = self.emit(kind, inputs, node.name, **settings)

    def module(self, node: fx.Node, module: nn.Module) -> None:
        """Add a layer."""
        (source,) = node.all_input_nodes
        if isinstance(module, nn.Conv2d):
            norm = self.norm_after(node)
            if norm is None or not self.half:
                module = module if norm is None else fuse_conv_bn_eval(module, norm)
                self.names[node] = self.convolution(node.name, self.names[source], module)
            else:
                self.names[node] = self.norm(node.name, self.convolution(node.name, self.names[source], module), norm)
        elif isinstance(module, nn.BatchNorm2d):
            written = source.op == "call_module" and self.is_convolution(source) and self.norm_after(source) is module
            self.names[node] = self.names[source] if written else self.norm(node.name, self.names[source], module)
        elif isinstance(module, nn.ReLU):
            self.names[node] = self.emit("Relu", [self.names[source]], node.name)
        elif isinstance(module, nn.Flatten) and (module.start_dim, module.end_dim) == (1, -1):
            self.names[node] = self.emit("Flatten", [self.names[source]], node.name, axis=1)
        elif isinstance(module, nn.Linear):
            self.names[node] = self.linear(node.name, self.names[source], module)
        elif isinstance(module, nn.MaxPool2d):
            self.names[node] = self.pooled(node.name, self.names[source], module)
        elif isinstance(module, nn.ConvTranspose2d):
            self.names[node] = self.spread(node.name, self.names[source], module)
        elif isinstance(module, nn.Upsample) and module.mode == "nearest":
            factor = float(module.scale_factor)  # type: ignore[arg-type]
            scales = self.constant(f"{node.name}.scales", torch.tensor([1.0, 1.0, factor, factor]))
            self.names[node] = self.emit(
                "Resize", [self.names[source], "", scales], node.name, mode="nearest", nearest_mode="floor",
                coordinate_transformation_mode="asymmetric",
            )  # fmt: skip
        else:
            raise TypeError(f"no ONNX operator is known here for {module}")

    def is_convolution(self, node: fx.Node) -> bool:
        return isinstance(self.served.get_submodule(str(node.target)), nn.Conv2d)

    def norm_after(self, node: fx.Node) -> nn.BatchNorm2d | None:
        """Return the batch norm that alone uses a convolution's result."""
        users = [u for u in node.users if u.op == "call_module"]
        modules = [self.served.get_submodule(str(u.target)) for u in users]
        alone = len(node.users) == len(modules) == 1
        return modules[0] if alone and isinstance(modules[0], nn.BatchNorm2d) else None

    def convolution(self, name: str, source: str, module: nn.Conv2d) -> str:
        assert isinstance(module.padding, tuple)
        weights = [self.weight(f"{name}.weight", module.weight)]
        weights += [] if module.bias is None else [self.constant(f"{name}.bias", module.bias)]
        return self.emit(
            "Conv", [source, *weights], name, kernel_shape=list(module.kernel_size), strides=list(module.stride),
            pads=[*module.padding, *module.padding], dilations=list(module.dilation), group=module.groups,
        )  # fmt: skip

    def linear(self, name: str, source: str, module: nn.Linear) -> str:
        weights = [self.weight(f"{name}.weight", module.weight), self.constant(f"{name}.bias", module.bias)]
        return self.emit("Gemm", [source, *weights], name, transB=1)

    def pooled(self, name: str, source: str, module: nn.MaxPool2d) -> str:
        kernel, stride, pad = (int(v) for v in (module.kernel_size, module.stride, module.padding))  # type: ignore[arg-type]
        return self.emit("MaxPool", [source], name, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4)

    def spread(self, name: str, source: str, module: nn.ConvTranspose2d) -> str:
        assert module.bias is not None and module.output_padding == (0, 0)
        weights = [self.weight(f"{name}.weight", module.weight), self.constant(f"{name}.bias", module.bias)]
        return self.emit(
            "ConvTranspose", [source, *weights], name, kernel_shape=list(module.kernel_size),
            strides=list(module.stride), pads=[*module.padding, *module.padding], group=module.groups,
        )  # fmt: skip

    def norm(self, name: str, source: str, module: nn.BatchNorm2d) -> str:
        parts = ("weight", "bias", "running_mean", "running_var")
        values = [self.constant(f"{name}.norm.{part}", getattr(module, part)) for part in parts]
        return self.emit("BatchNormalization", [source, *values], f"{name}.norm", epsilon=module.eps)

    def weight(self, name: str, value: Tensor) -> str:
        """Add a convolution's weights, stored in two bytes where that is asked for."""
        if not self.half:
            return self.constant(name, value)
        return self.emit("Cast", [self.constant(f"{name}.half", value.half())], name, to=TensorProto.FLOAT)

    def rename(self, result: str, name: str) -> None:
        """Give the result of a step, which no other step uses, the name of an output."""
        (maker,) = (n for n in self.nodes if list(n.output) == [result])
        maker.output[0] = name

    def constant(self, name: str, value: Tensor) -> str:
        self.constants.append(numpy_helper.from_array(value.detach().numpy(), name))
        return name

    def emit(self, kind: str, inputs: list[str], name: str, **settings: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [name], name=f"{name}.{kind}", **settings))
        return name


def _side(value: Any) -> int:
    """Return the one number of a length that is the same along both sides."""
    both = set(value) if isinstance(value, tuple | list) else {value or 0}
    (one,) = both
    return int(one)


def _pooling(node: fx.Node, kind: str) -> dict[str, Any]:
    """Return the settings of a pooling that is called as a function, all sides of which are alike."""
    given = {**dict(zip(("kernel_size", "stride", "padding"), node.args[1:], strict=False)), **node.kwargs}
    kernel, stride, pad = (_side(given.get(name)) for name in ("kernel_size", "stride", "padding"))
    settings = {"kernel_shape": [kernel] * 2, "strides": [stride or kernel] * 2, "pads": [pad] * 4}
    return {**settings, "count_include_pad": 1} if kind == "AveragePool" else settings


_STEPS: Mapping[Any, str] = {
    "permute": "Transpose", "to": "Cast", operator.mul: "Mul", operator.add: "Add", operator.iadd: "Add",
    torch.cat: "Concat", torch.nn.functional.relu: "Relu", torch.nn.functional.avg_pool2d: "AveragePool",
    torch.nn.functional.max_pool2d: "MaxPool",
}  # fmt: skip
