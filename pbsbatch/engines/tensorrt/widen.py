"""Give a graph whose weights are stored in two bytes its plain form: four bytes, norms folded into convolutions.

Law: what it computes is the same but for rounding in float32; a graph in plain form already is left as it is.
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

__all__ = ["widen"]


def widen(model: ModelProto) -> None:
    """Change the model in place."""
    _cast_constants(model)
    _fold_norms(model)


def _cast_constants(model: ModelProto) -> None:
    constants = {c.name: c for c in model.graph.initializer}
    for node in list(model.graph.node):
        to = next((a.i for a in node.attribute if a.name == "to"), None)
        if node.op_type == "Cast" and to == TensorProto.FLOAT and node.input[0] in constants:
            stored = constants[node.input[0]]
            values = numpy_helper.to_array(stored).astype(np.float32)
            stored.CopyFrom(numpy_helper.from_array(values, node.output[0]))
            model.graph.node.remove(node)


def _fold_norms(model: ModelProto) -> None:
    """Fold each batch norm that alone follows a convolution into that convolution."""
    constants = {c.name: c for c in model.graph.initializer}
    makers = {node.output[0]: node for node in model.graph.node}
    for norm in [n for n in model.graph.node if n.op_type == "BatchNormalization"]:
        before = makers.get(norm.input[0])
        users = sum(norm.input[0] in n.input for n in model.graph.node)
        if before is None or before.op_type != "Conv" or users != 1 or not constants.keys() >= set(norm.input[1:]):
            continue
        _fold(model, before, norm)


def _fold(model: ModelProto, before: NodeProto, norm: NodeProto) -> None:
    constants = {c.name: c for c in model.graph.initializer}
    scale, shift, mean, var = (numpy_helper.to_array(constants[name]).astype(np.float64) for name in norm.input[1:])
    epsilon = next((a.f for a in norm.attribute if a.name == "epsilon"), 1e-5)
    factor = scale / np.sqrt(var + epsilon)
    weight = constants[before.input[1]]
    values = numpy_helper.to_array(weight).astype(np.float64) * factor[:, None, None, None]
    weight.CopyFrom(numpy_helper.from_array(values.astype(np.float32), weight.name))
    bias = numpy_helper.to_array(constants[before.input[2]]).astype(np.float64) if len(before.input) > 2 else 0.0
    name = f"{before.output[0]}.bias"
    model.graph.initializer.append(numpy_helper.from_array(((bias - mean) * factor + shift).astype(np.float32), name))
    inputs = [*before.input[:2], name]
    made = helper.make_node("Conv", inputs, list(norm.output), name=before.name)
    made.attribute.extend(before.attribute)
    at = list(model.graph.node).index(norm)
    model.graph.node.insert(at, made)
    model.graph.node.remove(before)
    model.graph.node.remove(norm)
    for unused in norm.input[1:]:
        model.graph.initializer.remove(constants[unused])
