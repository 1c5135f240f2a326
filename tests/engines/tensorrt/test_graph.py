"""Graphs for TensorRT compute what the model folder's own do, in the precision that is asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from pbsbatch.engines.tensorrt.graph import PRECISIONS, baked
from pbsbatch.errors import EngineError
from pbsbatch.models.folder import ModelFolder, write_folder
from pbsbatch.testing.engines import tiles
from tests.engines.tiny import FACTS, tiny_onnx, tiny_weights


def ran(graph: bytes) -> list[np.ndarray]:
    ort = pytest.importorskip("onnxruntime")
    found: list[np.ndarray] = ort.InferenceSession(graph, providers=["CPUExecutionProvider"]).run(
        None, {"pixels": tiles(2, (64, 96))}
    )
    return found


@pytest.mark.parametrize(("precision", "most"), [("fp32", 1e-6), ("fp16", 0.003), ("int8", 0.05)])
def test_a_graph_in_another_precision_is_the_same_network(
    precision: str, most: float, int8_folder: ModelFolder
) -> None:
    graph = baked(int8_folder, precision)
    assert graph == baked(int8_folder, precision)
    for found, wanted in zip(ran(graph), ran(tiny_onnx()), strict=True):
        assert found.dtype == np.float32 and found.shape == wanted.shape
        assert np.sqrt(np.mean((found - wanted) ** 2)) <= most * np.ptp(wanted)


def test_pixels_become_floats_before_anything_else(folder: ModelFolder) -> None:
    nodes = onnx.load_from_string(baked(folder, "fp32")).graph.node
    assert [n.op_type for n in nodes[:2]] == ["Cast", "Transpose"]
    assert list(nodes[0].input) == ["pixels"]


def test_fp16_begins_at_the_first_convolution_and_ends_at_the_outputs(folder: ModelFolder) -> None:
    model = onnx.load_from_string(baked(folder, "fp16"))
    kinds = {c.name: c.data_type for c in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Conv":
            assert {kinds[name] for name in node.input[1:]} == {onnx.TensorProto.FLOAT16}
    assert kinds["scale"] == kinds["shift"] == onnx.TensorProto.FLOAT
    assert {p.type.tensor_type.elem_type for p in model.graph.output} == {onnx.TensorProto.FLOAT}


def test_int8_is_signed_and_symmetric_everywhere(int8_folder: ModelFolder) -> None:
    model = onnx.load_from_string(baked(int8_folder, "int8"))
    constants = {c.name: onnx.numpy_helper.to_array(c) for c in model.graph.initializer}
    points = [constants[n.input[2]] for n in model.graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert len(points) > 10 and all(p.dtype == np.int8 and not p.any() for p in points)


def test_what_cannot_be_had_is_an_error(folder: ModelFolder, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"'bf16'.*fp16, fp32, int8"):
        baked(folder, "bf16")
    with pytest.raises(EngineError, match=r"no model\.int8\.onnx.*fp16"):
        baked(folder, "int8")
    huge = onnx.load_from_string(tiny_onnx())
    weights = next(c for c in huge.graph.initializer if c.name.endswith("weight"))
    weights.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weights) * np.float32(1e9), weights.name))
    other = write_folder(tmp_path / "huge", FACTS, onnx=huge.SerializeToString(), weights=tiny_weights())
    with pytest.raises(EngineError, match=r"huge/model\.onnx.*numbers that fp16 cannot"):
        baked(other, "fp16")
    assert set(PRECISIONS) == {"fp16", "fp32", "int8"}


def test_a_graph_that_is_none_is_refused(tmp_path: Path) -> None:
    graph = onnx.load_from_string(tiny_onnx())
    graph.graph.node[1].op_type = "Wobble"
    other = write_folder(tmp_path / "m", FACTS, onnx=graph.SerializeToString(), weights=tiny_weights())
    with pytest.raises(EngineError, match=r"cannot be made ready for TensorRT.*followed by one Cast"):
        baked(other, "fp32")
