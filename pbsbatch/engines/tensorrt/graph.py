"""A model folder's network as TensorRT takes it: the precision baked into the graph, so that nothing chooses another.

Laws. Pixels are made floats before anything else touches them, because TensorRT takes bytes at its border alone.
Normalisation stays in fp32, outputs leave in fp32; between the first convolution and the outputs everything has the
precision asked for. The same bytes in give the same bytes out. int8 is the folder's own calibration: its unsigned
ranges become symmetric ones of twice the step, which is all that TensorRT has.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from pbsbatch.engines.tensorrt.widen import widen
from pbsbatch.errors import EngineError, one_line
from pbsbatch.models.folder import INT8, ONNX, Folder

__all__ = ["PRECISIONS", "baked"]

PRECISIONS = ("fp16", "fp32", "int8")
"""The fastest that loses nothing first."""
_HEAVY = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""From the first of these on a graph computes in the precision asked for."""


def baked(folder: Folder, precision: str) -> bytes:
    """Return the ONNX bytes that TensorRT is given. Law: what cannot be had in that precision is an error."""
    if precision not in PRECISIONS:
        raise EngineError(
            f"TensorRT engines are not built in {precision!r} here", cure=f"Precisions: {', '.join(PRECISIONS)}"
        )
    name = INT8 if precision == "int8" else ONNX
    if name not in folder.files:
        raise EngineError(f"the model has no {INT8}", path=folder.path, cure="Use fp16 or fp32")
    try:
        model = onnx.load_from_string(folder.read(name))
        widen(model)
        _floats_first(model)
        if precision == "int8":
            _symmetric(model)
        elif precision == "fp16":
            _narrow(model)
        onnx.checker.check_model(model, full_check=True)
    except (ValueError, TypeError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise _cannot(folder.path / name, error) from error
    return bytes(model.SerializeToString(deterministic=True))


def _cannot(path: Path, error: Exception) -> EngineError:
    return EngineError(
        f"it cannot be made ready for TensorRT: {one_line(error)[:300]}", path=path,
        cure="Export the model again with plain operators",
    )  # fmt: skip


def _floats_first(model: ModelProto) -> None:
    """Turn transpose-then-cast of the input into cast-then-transpose."""
    nodes = model.graph.node
    source = model.graph.input[0].name
    users = [n for n in nodes if source in n.input]
    if [n.op_type for n in users] != ["Transpose"]:
        return
    transpose = users[0]
    casts = [n for n in nodes if transpose.output[0] in n.input]
    if [n.op_type for n in casts] != ["Cast"]:
        raise ValueError(f"{transpose.name} must be followed by one Cast to float")
    cast, between, end = casts[0], f"{source}.float", casts[0].output[0]
    cast.input[0], cast.output[0] = source, between
    transpose.input[0], transpose.output[0] = between, end
    _in_order(model)


def _symmetric(model: ModelProto) -> None:
    """Make every quantisation of activations signed and symmetric: the same range in half as many steps."""
    constants = {c.name: c for c in model.graph.initializer}
    done: set[str] = set()
    for node in model.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        if len(node.input) < 3 or node.input[1] not in constants or node.input[2] not in constants:
            raise ValueError(f"{node.name or node.op_type}: scale and zero point must be constants")
        scale, zero = (numpy_helper.to_array(constants[name]) for name in node.input[1:])
        if zero.dtype == np.int8 and not zero.any():
            continue
        if zero.dtype != np.uint8 or (node.input[0] in constants):
            raise ValueError(f"{node.name or node.op_type}: no symmetric range is known for {zero.dtype} {zero}")
        if node.input[1] in done:
            continue
        reach = np.maximum(zero.astype(np.float32), 255 - zero.astype(np.float32))
        constants[node.input[1]].CopyFrom(
            numpy_helper.from_array((scale * reach / 127).astype(np.float32), node.input[1])
        )
        constants[node.input[2]].CopyFrom(numpy_helper.from_array(np.zeros_like(zero, np.int8), node.input[2]))
        done.add(node.input[1])
    _forget_shapes(model)


def _narrow(model: ModelProto) -> None:
    """Compute in fp16 from the first convolution on."""
    late = _after_the_first(model)
    made = {name for node in late for name in node.output}
    early = {name for node in model.graph.node if node.output[0] not in made for name in node.input}
    constants = {c.name: c for c in model.graph.initializer}
    used_late = {name for node in late for name in _float_inputs(node)}
    for name in used_late & set(constants):
        values = numpy_helper.to_array(constants[name])
        if values.dtype == np.float32:
            if not np.abs(values).max(initial=0) <= np.finfo(np.float16).max:  # nor what is no number
                raise ValueError(f"{name} holds numbers that fp16 cannot")
            if name in early:
                raise ValueError(f"{name} is used before and after the first convolution")
            constants[name].CopyFrom(numpy_helper.from_array(values.astype(np.float16), name))
    entering = sorted(name for name in used_late if name not in made and name not in constants)
    for node in late:
        for at, name in enumerate(node.input):
            if name in entering:
                node.input[at] = f"{name}.narrow"
    for name in entering:
        model.graph.node.append(_cast(name, f"{name}.narrow", TensorProto.FLOAT16))
    for port in model.graph.output:
        _rename(late, port.name, f"{port.name}.narrow")
        model.graph.node.append(_cast(f"{port.name}.narrow", port.name, TensorProto.FLOAT))
    _forget_shapes(model)
    _in_order(model)


def _after_the_first(model: ModelProto) -> list[NodeProto]:
    """Return every node that a convolution's result reaches, and the convolutions."""
    reached: set[str] = set()
    late: list[NodeProto] = []
    for node in model.graph.node:
        if node.op_type in _HEAVY or reached & set(node.input):
            late.append(node)
            reached |= set(node.output)
    if not late:
        raise ValueError("it holds no convolution")
    return late


def _float_inputs(node: NodeProto) -> Iterable[str]:
    """Return the inputs that carry values; an enlargement's factors are none, ONNX wants them in fp32."""
    return [name for name in node.input[:1] if name] if node.op_type == "Resize" else [n for n in node.input if n]


def _rename(nodes: list[NodeProto], old: str, new: str) -> None:
    for node in nodes:
        for names in (node.input, node.output):
            for at, name in enumerate(names):
                if name == old:
                    names[at] = new


def _cast(source: str, result: str, kind: int) -> NodeProto:
    return helper.make_node("Cast", [source], [result], name=f"{result}.Cast", to=kind)


def _forget_shapes(model: ModelProto) -> None:
    """Drop notes on values in between: their types have changed."""
    del model.graph.value_info[:]


def _in_order(model: ModelProto) -> None:
    """Put every node behind those that it needs, the earliest first."""
    waiting = [NodeProto.FromString(node.SerializeToString()) for node in model.graph.node]
    known = {c.name for c in model.graph.initializer} | {p.name for p in model.graph.input} | {""}
    del model.graph.node[:]
    while waiting:
        left: list[NodeProto] = []
        for node in waiting:
            if known >= set(node.input):
                model.graph.node.append(node)
                known |= set(node.output)
            else:
                left.append(node)
        if len(left) == len(waiting):
            raise ValueError("its nodes form a circle")
        waiting = left
