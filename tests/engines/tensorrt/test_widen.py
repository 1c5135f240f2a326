"""A widened graph computes what the stored one does, with plain convolutions alone."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from pbsbatch.engines.tensorrt.widen import widen
from pbsbatch.testing.engines import tiles
from tests.engines.tiny import FACTS, tiny_net, tiny_onnx


def test_a_widened_graph_is_the_same_network() -> None:
    ort = pytest.importorskip("onnxruntime")
    model = onnx.load_from_string(tiny_onnx())
    widen(model)
    onnx.checker.check_model(model, full_check=True)
    assert "BatchNormalization" not in {n.op_type for n in model.graph.node}
    assert all(c.data_type == onnx.TensorProto.FLOAT for c in model.graph.initializer)
    pixels = tiles(2, (48, 80))
    found, wanted = (
        ort.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, {"pixels": pixels})
        for data in (model.SerializeToString(), tiny_onnx())
    )
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


def test_a_plain_graph_is_left_as_it_is() -> None:
    pytest.importorskip("torch")
    from pbsbatch.nets.export import export_onnx

    data = export_onnx(tiny_net(), FACTS.mean, FACTS.std, half=False)
    model = onnx.load_from_string(data)
    widen(model)
    assert model.SerializeToString(deterministic=True) == data
