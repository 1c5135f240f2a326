"""A model folder reads back as written; everything that does not fit is refused by file and cure."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from pbsbatch import models
from pbsbatch.errors import ModelError
from pbsbatch.models.folder import MOST_BYTES, ModelFolder, _digest, read_folder, write_folder
from pbsbatch.models.onnx_file import OnnxError, interface
from tests.engines.tiny import FACTS, tiny_folder, tiny_onnx, tiny_weights


@pytest.fixture
def folder(tmp_path: Path) -> ModelFolder:
    return tiny_folder(tmp_path / "m")


def rewrite(folder: ModelFolder, change: Callable[[dict[str, Any]], None]) -> None:
    """Change model.json and give it the digest that it then needs."""
    file = folder.path / "model.json"
    table = json.loads(file.read_text())
    change(table)
    inner = {k: v for k, v in table.items() if k not in ("format", "digest")}
    file.write_text(json.dumps({**table, "digest": _digest(inner)}))


def test_what_is_written_is_read_and_found_by_its_path(folder: ModelFolder) -> None:
    assert read_folder(folder.path) == folder
    assert folder.facts == FACTS
    assert sorted(p.name for p in folder.path.iterdir()) == ["model.json", "model.onnx", "weights.safetensors"]
    model = models.load(str(folder.path))
    assert pickle.loads(pickle.dumps(model)) == model
    assert (model.spec.name, model.spec.engine, model.spec.classes) == ("tiny", "openvino", FACTS.classes)
    assert len(model.spec.digest) == 64
    assert list(folder.path.parent.iterdir()) == [folder.path]


def test_the_digest_holds_all_that_decides_results(tmp_path: Path, folder: ModelFolder) -> None:
    changes: list[dict[str, Any]] = [
        {"thresholds": (0.5, 0.5, 0.41)}, {"nms_iou": 0.56}, {"work_mpp": 0.26}, {"calibration": ((1.0, 0.1),) * 3},
    ]  # fmt: skip
    digests = {models.load(str(folder.path)).spec.digest}
    for n, change in enumerate(changes):
        made = write_folder(tmp_path / str(n), replace(FACTS, **change), onnx=tiny_onnx(), weights=tiny_weights())
        digests.add(models.load(str(made.path)).spec.digest)
    made = write_folder(tmp_path / "w", FACTS, onnx=tiny_onnx(), weights=tiny_weights() + b"\0")
    digests.add(models.load(str(made.path)).spec.digest)
    assert len(digests) == len(changes) + 2


def test_what_stands_there_already_is_left_alone(folder: ModelFolder) -> None:
    with pytest.raises(ModelError, match="something stands there already"):
        write_folder(folder.path, FACTS, onnx=tiny_onnx(), weights=tiny_weights())
    assert read_folder(folder.path) == folder


def test_a_folder_that_could_not_be_read_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no protocol buffer"):
        write_folder(tmp_path / "m", FACTS, onnx=b"\x0frubbish", weights=tiny_weights())
    with pytest.raises(ModelError, match="thresholds of RBC must be a number from"):
        write_folder(
            tmp_path / "m", replace(FACTS, thresholds=(0.0, 0.5, 0.5)), onnx=tiny_onnx(), weights=tiny_weights()
        )
    for metrics in ({"ap50": float("nan")}, {"ap50": object()}):
        with pytest.raises(ModelError, match="cannot be written as JSON"):
            write_folder(tmp_path / "m", replace(FACTS, metrics=metrics), onnx=tiny_onnx(), weights=tiny_weights())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("kind", "oracle", "kind must be"),
        ("kind", "classifier", "a classifier of cells, not a detector"),
        ("head", {"name": "yolo", "version": 8}, "another head cannot be decoded"),
        ("surprise", 1, "surprise is unknown"),
        ("classes", ["RBC", "RBC", "Platelet"], "different names"),
        ("classes", "RBC", "classes must be a list"),
        ("name", "a\nb", "control characters"),
        ("version", 1, "version must be text"),
        ("work_mpp", "0.25", "work_mpp must be a number from 0.02 to 4"),
        ("work_mpp", True, "work_mpp must be a number"),
        ("max_cell_um", 0, "max_cell_um must be"),
        ("context_px", 1.5, "context_px must be a whole number"),
        ("stride", "4", "stride must be 4 or 8"),
        ("stride", 5, "stride must be 4 or 8"),
        ("channels", [8, 8, 16], "channels must be a list of 4"),
        ("blocks", [1, 1, -1], "blocks must be a whole number"),
        ("std", [0, 50, 50], "std must be a number from 1"),
        ("thresholds", {"RBC": 0.5}, "one entry for each of RBC, WBC, Platelet"),
        ("thresholds", {"RBC": 0.5, "WBC": 0.5, "Platelet": 1}, "thresholds of Platelet"),
        ("calibration", {"RBC": [-1, 0], "WBC": [1, 0], "Platelet": [1, 0]}, "calibration of RBC"),
        ("calibration", {"RBC": [1], "WBC": [1, 0], "Platelet": [1, 0]}, "must be two numbers"),
        ("nms_iou", 0, "nms_iou must be"),
        ("training_data", [["a"]], "pairs of name and licence"),
        ("metrics", [], "metrics must be a table"),
    ],
)
def test_every_wrong_value_is_named(folder: ModelFolder, name: str, value: object, said: str) -> None:
    rewrite(folder, lambda table: table.update({name: value}))
    with pytest.raises(ModelError, match=said) as caught:
        read_folder(folder.path)
    assert caught.value.path == str(folder.path / "model.json") and caught.value.cure


def test_every_missing_value_is_named(folder: ModelFolder) -> None:
    whole = (folder.path / "model.json").read_text()
    for name in json.loads(whole):
        (folder.path / "model.json").write_text(whole)
        rewrite(folder, lambda table, name=name: table.pop(name))
        if name == "digest":  # rewrite gives a new one
            continue
        with pytest.raises(ModelError, match=name):
            read_folder(folder.path)


def test_edits_damage_and_loss_are_told_apart(folder: ModelFolder) -> None:
    file = folder.path / "model.json"
    whole = file.read_text()
    file.write_text(whole.replace('"nms_iou": 0.55', '"nms_iou": 0.5'))
    with pytest.raises(ModelError, match=r"changed after it was written.*set digest to [0-9a-f]{64}") as caught:
        read_folder(folder.path)
    meant = str(caught.value)[-64:]
    file.write_text(file.read_text().replace(folder.digest, meant))
    assert read_folder(folder.path).facts.nms_iou == 0.5
    file.write_text(whole)
    for name in ("model.onnx", "weights.safetensors"):
        kept = (folder.path / name).read_bytes()
        (folder.path / name).write_bytes(kept[:-1])
        with pytest.raises(ModelError, match=f"{name}: its bytes are not those"):
            read_folder(folder.path)
        (folder.path / name).unlink()
        with pytest.raises(ModelError, match=f"{name}: cannot read it .No such file"):
            read_folder(folder.path)
        (folder.path / name).write_bytes(kept)


@pytest.mark.parametrize("text", ["", "[]", '{"format": 2}', '{"format": 1, "mean": NaN}', "[" * 100_000, "\xff"])
def test_a_model_json_that_is_none_is_refused(folder: ModelFolder, text: str) -> None:
    (folder.path / "model.json").write_text(text, encoding="latin-1")
    with pytest.raises(ModelError, match=r"model\.json"):
        read_folder(folder.path)


@pytest.mark.parametrize("files", [None, {}, {"model.onnx": "0"}, {"../../etc/passwd": "0"}])
def test_only_the_files_of_a_model_may_be_named(folder: ModelFolder, files: object) -> None:
    rewrite(folder, lambda table: table.update(files=files))
    with pytest.raises(ModelError, match="and nothing else"):
        read_folder(folder.path)


def test_links_out_of_the_folder_and_huge_files_are_refused(
    folder: ModelFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = (folder.path / "weights.safetensors").rename(tmp_path / "elsewhere")
    (folder.path / "weights.safetensors").symlink_to(outside)
    with pytest.raises(ModelError, match="a link that leads out"):
        read_folder(folder.path)
    (folder.path / "weights.safetensors").unlink()
    outside.rename(folder.path / "weights.safetensors")
    (folder.path / "loop").symlink_to(folder.path / "loop")
    monkeypatch.setitem(MOST_BYTES, "weights.safetensors", 1000)
    with pytest.raises(ModelError, match="larger than"):
        read_folder(folder.path)


def test_a_folder_without_model_json_lists_what_exists(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"classical, smear; or give a folder with a model\.json"):
        models.load(str(tmp_path))


def changed(change: Callable[[onnx.ModelProto], None]) -> bytes:
    graph = onnx.load_from_string(tiny_onnx())
    change(graph)
    return bytes(graph.SerializeToString())


def external(tensor: TensorProto) -> None:
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def hidden_in_a_branch(model: onnx.ModelProto) -> None:
    constant = helper.make_node("Constant", [], ["k"], value=helper.make_tensor("k", TensorProto.FLOAT, [1], [1.0]))
    external(constant.attribute[0].t)
    branch = helper.make_graph([constant], "b", [], [helper.make_tensor_value_info("k", TensorProto.FLOAT, [1])])
    model.graph.node.append(helper.make_node("If", ["c"], ["r"], then_branch=branch, else_branch=branch))


def in_a_function(model: onnx.ModelProto) -> None:
    constant = helper.make_node("Constant", [], ["k"], value=helper.make_tensor("k", TensorProto.FLOAT, [1], [1.0]))
    external(constant.attribute[0].t)
    model.functions.append(helper.make_function("x", "f", [], ["k"], [constant], model.opset_import))


@pytest.mark.parametrize("hide", [lambda m: external(m.graph.initializer[0]), hidden_in_a_branch, in_a_function])
def test_tensors_in_other_files_are_refused_wherever_they_hide(
    tmp_path: Path, hide: Callable[[onnx.ModelProto], None]
) -> None:
    with pytest.raises(ModelError, match=r"model\.onnx: its tensors lie in another file"):
        write_folder(tmp_path / "m", FACTS, onnx=changed(hide), weights=tiny_weights())


def test_ports_that_do_not_fit_model_json_are_refused(tmp_path: Path) -> None:
    four = replace(
        FACTS, classes=("A", "B", "C", "D"), thresholds=(0.5,) * 4, calibration=((1.0, 0.0),) * 4,
    )  # fmt: skip
    with pytest.raises(ModelError, match=r"scores must be float32 \(batch, 4, rows, columns\); it has the shape"):
        write_folder(tmp_path / "m", four, onnx=tiny_onnx(), weights=tiny_weights())

    def rename(model: onnx.ModelProto) -> None:
        model.graph.input[0].name = "images"

    def drop(model: onnx.ModelProto) -> None:
        del model.graph.output[1]

    for change, said in ((rename, "one input must be pixels"), (drop, "output boxes must be .* there is none")):
        with pytest.raises(ModelError, match=said):
            write_folder(tmp_path / "m", FACTS, onnx=changed(change), weights=tiny_weights())


@given(data=st.data())
def test_damaged_onnx_is_refused_or_read_but_never_crashes(data: st.DataObject) -> None:
    whole = tiny_onnx()
    cut = data.draw(st.integers(0, len(whole)))
    flip = data.draw(st.integers(0, len(whole) - 1))
    for damaged in (
        whole[:cut],
        whole[:flip] + bytes([whole[flip] ^ data.draw(st.integers(1, 255))]) + whole[flip + 1 :],
    ):
        try:
            assert interface(damaged).outputs
        except OnnxError as error:
            assert str(error)


def test_an_onnx_file_of_millions_of_fields_or_graphs_in_graphs_is_refused() -> None:
    with pytest.raises(OnnxError, match="more than"):
        interface(b"\x08\x01" * 600_000)
    nested = b""
    for _ in range(40):
        attribute = b"\x32" + varint(len(nested)) + nested
        node = b"\x2a" + varint(len(attribute)) + attribute
        nested = b"\x0a" + varint(len(node)) + node
    with pytest.raises(OnnxError, match="too deep"):
        interface(b"\x3a" + varint(len(nested)) + nested)


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])
