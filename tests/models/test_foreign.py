"""Another project's ONNX: heads decoded from hand-made arrays, real small graphs run, misfits named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from pbsbatch.cli.models import app
from pbsbatch.config import Config
from pbsbatch.engines.load import load as load_engine
from pbsbatch.errors import EngineError, ModelError, PlanError
from pbsbatch.geometry import Level
from pbsbatch.models.foreign import ForeignModel
from pbsbatch.models.foreign_facts import foreign_from_json
from pbsbatch.models.foreign_heads import rows_of
from pbsbatch.models.load import load
from pbsbatch.plan import Needs, make_plan

SIDE = 128
TABLE = {
    "kind": "foreign-detector", "head": "yolo", "name": "my-yolo", "classes": ["WBC", "RBC", "", "Platelet"],
    "input_px": SIDE, "work_mpp": 0.25, "threshold": 0.3,
}  # fmt: skip
CELLS = [(40.0, 40.0, 28.0, 28.0, 1), (42.0, 41.0, 28.0, 28.0, 1), (90.0, 60.0, 48.0, 56.0, 0), (20, 100, 9, 9, 2)]
"""x, y, width, height, the network's class: two of one cell, a white cell, something that is left out."""


def rows(objectness: bool) -> np.ndarray:
    """Return CELLS as a YOLO head gives them, among places that saw nothing."""
    out = np.zeros((50, (5 if objectness else 4) + 4), np.float32)
    out[:, :4] = 30
    for n, (x, y, w, h, kind) in enumerate(CELLS):
        out[7 * n, :4] = x, y, w, h
        out[7 * n, -4 + kind] = 0.9 - n / 10
        if objectness:
            out[7 * n, 4] = 1.0
    return out


def graph_of(output: np.ndarray, side: int | str = SIDE, name: str = "output0") -> bytes:
    """Return a network that says the same of every picture, plus nothing of its pixels."""
    values = numpy_helper.from_array(output[None], "values")
    zero = numpy_helper.from_array(np.zeros(1, np.float32), "zero")
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["values", "nothing"], [name]),
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, side, side])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, *output.shape])], [values, zero],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def write(path: Path, data: bytes, **changes: object) -> Path:
    path.mkdir()
    table = {k: v for k, v in {**TABLE, **changes}.items() if v is not None}
    (path / "model.json").write_text(json.dumps(table))
    (path / "model.onnx").write_bytes(data)
    return path


HEADS = {
    "yolo of version 8 and later": ("yolo", rows(False).T),
    "yolo of version 5": ("yolo", rows(True)),
    "rtdetr": ("rtdetr", rows(False) / np.array([SIDE] * 4 + [1] * 4, np.float32)),
}


@pytest.mark.parametrize("title", HEADS)
def test_a_head_is_run_and_decoded(title: str, tmp_path: Path) -> None:
    head, output = HEADS[title]
    model = load(str(write(tmp_path / "m", graph_of(np.ascontiguousarray(output)), head=head)))
    assert isinstance(model, ForeignModel) and model.spec.classes == ("WBC", "RBC", "Platelet")
    engine = load_engine(model, threads=1)
    assert (engine.name, engine.precision) == ("openvino", "fp32")
    raw = engine(np.full((2, SIDE, SIDE, 3), 200, np.uint8))
    for slot in range(2):
        found = model.decode(raw, slot, {})
        assert found.classes.tolist() == [1, 0]
        np.testing.assert_allclose(found.boxes, [[26, 26, 54, 54], [66, 32, 114, 88]], atol=1e-3)
        np.testing.assert_allclose(found.scores, [0.9, 0.7], atol=1e-5)
        for box, mask in zip(found.boxes, found.masks, strict=True):
            area = np.pi / 4 * np.prod(box[2:] - box[:2])
            assert mask.sum() == pytest.approx(area, rel=0.05)  # the ellipse within the box
    engine.close()


def test_what_the_network_sees_is_what_model_json_says(tmp_path: Path) -> None:
    """A network that returns its own mean colours, in the place of a box, shows order and normalisation."""
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("Concat", ["mean", "one"], ["row"], axis=1),
        helper.make_node("Unsqueeze", ["row", "axis"], ["output0"]),
    ]
    ones = [numpy_helper.from_array(np.array([[7, 0, 0, 0, 0]], np.float32), "one"),
            numpy_helper.from_array(np.array([2]), "axis")]  # fmt: skip
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 8, 1])], ones,
    )  # fmt: skip
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    pixels = np.broadcast_to(np.array([200, 100, 50], np.uint8), (1, SIDE, SIDE, 3))
    for n, (colours, wanted) in enumerate({"RGB": [200, 100, 50], "BGR": [50, 100, 200]}.items()):
        path = write(tmp_path / str(n), data, colours=colours, mean=[10, 20, 30], std=[2, 4, 5])
        model = load(str(path))
        engine = load_engine(model, threads=1)
        seen = engine(pixels)["output0"][0, :3, 0]
        np.testing.assert_allclose(seen, (np.array(wanted) - [10, 20, 30]) / [2, 4, 5], rtol=1e-4)
        engine.close()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"head": "ssd"}, "head must be one of yolo, rtdetr, fcos, retinanet"),
        ({"surprise": 1}, "surprise is unknown"),
        ({"input_px": 640}, r"its input is \(1, 3, 128, 128\); by model.json it is float32 \(1, 3, 640, 640\)"),
        ({"classes": ["RBC"]}, r"output0 has the shape \(1, 8, 50\).*\(1, 5, N\) or \(1, N, 6\)"),
        ({"head": "rtdetr"}, r"the head rtdetr with 4 classes has float32 \(1, N, 8\)"),
        ({"classes": ["", ""]}, "must name at least one class"),
        ({"work_mpp": None}, "work_mpp or red_cell_px must be given"),
        ({"red_cell_px": 29}, "work_mpp or red_cell_px must be given, not both"),
        ({"threshold": None}, "threshold is missing"),
        ({"colours": "HSV"}, "colours must be RGB or BGR"),
    ],
)
def test_a_model_json_that_does_not_fit_says_why(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    path = write(tmp_path / "m", graph_of(np.ascontiguousarray(rows(False).T)), **changes)
    with pytest.raises(ModelError, match=said):
        load(str(path))


def test_a_graph_that_does_not_fit_says_why(tmp_path: Path) -> None:
    output = np.ascontiguousarray(rows(False).T)
    with pytest.raises(ModelError, match=r"no fixed shape: \(1, 3, None, None\)"):
        load(str(write(tmp_path / "dynamic", graph_of(output, "side"))))
    model = onnx.load_from_string(graph_of(output))
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    model.graph.initializer[0].external_data.add(key="location", value="../../etc/passwd")
    with pytest.raises(ModelError, match=r"external data"):
        load(str(write(tmp_path / "external", model.SerializeToString())))
    model = onnx.load_from_string(graph_of(output))
    model.graph.node[0].op_type = "Sorcery"
    strange = load(str(write(tmp_path / "strange", model.SerializeToString())))
    with pytest.raises(EngineError, match=r"OpenVINO cannot run it.*Sorcery"):
        load_engine(strange, threads=1)
    with pytest.raises(EngineError, match="cannot run on the engine 'torch'"):
        load_engine(load(str(write(tmp_path / "good", graph_of(output)))), "torch")
    (tmp_path / "good" / "model.onnx").write_bytes(b"\x80\x04 no pickle is ever read")
    with pytest.raises(ModelError, match="no protocol buffer"):
        load(str(tmp_path / "good"))


def test_the_commands_know_it(tmp_path: Path) -> None:
    path = write(tmp_path / "m", graph_of(np.ascontiguousarray(rows(False).T)))
    shown = CliRunner().invoke(app, ["show", str(path), "--json"])
    facts = json.loads(shown.output)
    assert facts["classes"] == ["WBC", "RBC", "Platelet"] and facts["masks"] == "ellipses within the boxes"
    checked = CliRunner().invoke(app, ["check", str(path)])
    assert checked.exit_code == 0 and "runs on openvino fp32" in checked.output


def test_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    facts = foreign_from_json(TABLE, tmp_path)
    with pytest.raises(ValueError, match="two axes"):
        rows_of({"output0": np.zeros(8, np.float32)}, facts)
    with pytest.raises(ValueError, match="none of the head yolo"):
        rows_of({"output0": np.zeros((7, 50), np.float32)}, facts)
    model = load(str(write(tmp_path / "m", graph_of(np.ascontiguousarray(rows(False).T)))))
    with pytest.raises(EngineError, match="not finite"):
        model.decode({"output0": np.full((1, 8, 50), np.nan, np.float32)}, 0, {})
    empty = model.decode({"output0": np.zeros((1, 8, 50), np.float32)}, 0, {})
    assert len(empty.scores) == 0


def test_tiles_have_the_networks_size_and_cores_cover() -> None:
    level = (Level(0, 1000, 300, 1.0),)
    plan = make_plan(
        slide_id="s", levels=level, mpp=0.25, mpp_source="given", needs=Needs(0.25, 20.0, 0, 256), config=Config()
    )
    assert plan.tile_shape == (256, 256)
    cores = [tile.core for s in range(plan.strips) for tile in plan.strip_tiles(s)]
    assert sum(core.area for core in cores) == 1000 * 300
    with pytest.raises(PlanError, match="tiles of 128 px are too small"):
        make_plan(
            slide_id="s", levels=level, mpp=0.25, mpp_source="given", needs=Needs(0.25, 30.0, 0, 128), config=Config()
        )
