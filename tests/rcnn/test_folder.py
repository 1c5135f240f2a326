"""A two-stage folder: written whole, read checked, found by name, refused by name."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pbsbatch.cli.models import app
from pbsbatch.engines.load import load as load_engine
from pbsbatch.errors import EngineError, ModelError
from pbsbatch.models.load import load
from pbsbatch.models.rcnn import RcnnModel
from pbsbatch.models.rcnn_facts import STEP_PX, rcnn_from_json, rcnn_to_json
from tests.rcnn.tiny import FACTS, MASKED, folder_of


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder_of("masks").path, tmp_path / "m"))


def test_facts_survive_being_written() -> None:
    for facts in (FACTS, MASKED):
        assert rcnn_from_json(json.loads(json.dumps(rcnn_to_json(facts))), Path("model.json")) == facts


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"input_px": 200}, "input_px must be a multiple of 64"),
        ({"anchors": ((8.0,),) * 4}, "anchors must be a list of 5"),
        ({"anchors": ((8.0, 9.0), *((8.0,),) * 4)}, "anchors must hold as many sides for each level"),
        ({"ratios": ()}, "ratios must hold at least one"),
        ({"network_classes": ("RBC", "RBC", "WBC")}, "must name 1 to 250 different classes"),
        ({"detections": 0}, "detections must be a whole number from 1"),
        ({"masks": "yes"}, "masks must be true or false"),
        ({"nms_iou": (0.5, 0.5, 1.5)}, "nms_iou of Platelet"),
    ],
)
def test_facts_out_of_bounds_are_named(changes: dict[str, object], said: str) -> None:
    table = json.loads(json.dumps(rcnn_to_json(replace(FACTS, **changes))))  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=said):
        rcnn_from_json(table, Path("model.json"))


def test_a_class_may_be_left_out() -> None:
    facts = replace(FACTS, network_classes=("RBC", "", "Platelet"), thresholds=(0.3, 0.3), nms_iou=(0.5, 0.5))
    assert rcnn_from_json(json.loads(json.dumps(rcnn_to_json(facts))), Path("model.json")).classes == (
        "RBC",
        "Platelet",
    )


def test_the_plan_is_told_what_a_two_stage_model_needs(copy: Path) -> None:
    model = load(str(copy))
    assert isinstance(model, RcnnModel)
    spec = model.spec
    assert (spec.tile_px, spec.step_px) == (FACTS.input_px, STEP_PX)
    assert spec.lane_bytes_px > 90, "the maps alone take 90 bytes"


@pytest.mark.parametrize("file", ["model.onnx", "box.onnx", "mask.onnx", "weights.safetensors"])
def test_a_damaged_or_missing_file_is_named(copy: Path, file: str) -> None:
    data = bytearray((copy / file).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / file).write_bytes(data)
    with pytest.raises(ModelError, match=rf"{file}.*damaged or was changed"):
        load(str(copy))
    (copy / file).unlink()
    with pytest.raises(ModelError, match=rf"{file}.*cannot read"):
        load(str(copy))


def test_graphs_of_another_model_are_named(copy: Path) -> None:
    """Whoever writes the digests anew still cannot give a graph that does not fit."""
    table = json.loads((copy / "model.json").read_text())
    table["network_classes"].append("Schistocyte")
    table["thresholds"]["Schistocyte"] = table["nms_iou"]["Schistocyte"] = 0.5
    (copy / "model.json").write_text(json.dumps(table))
    with pytest.raises(ModelError, match="digest does not match"):
        load(str(copy))
    import hashlib

    plain = {k: v for k, v in table.items() if k not in ("format", "digest")}
    table["digest"] = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
    (copy / "model.json").write_text(json.dumps(table))
    with pytest.raises(ModelError, match=r"box.onnx.*logits must be float32 with a last side of 5"):
        load(str(copy))


def test_engines_by_name(copy: Path) -> None:
    model = load(str(copy))
    with pytest.raises(EngineError, match="cannot run on the engine 'tensorrt'"):
        load_engine(model, "tensorrt")
    with pytest.raises(EngineError, match="does not run two-stage models in bf16"):
        load_engine(model, "torch:bf16")
    engine = load_engine(model, "auto", threads=1)
    assert (engine.name, engine.precision, engine.lanes) == ("openvino", "fp32", 1)
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine(np.zeros((1, 64, 64, 3), np.uint8))


def test_the_gate_refuses_a_second_stage_that_computes_otherwise(copy: Path) -> None:
    """It looks at the heads too, by fixed boxes."""
    from pbsbatch.engines.gate import Wanted, judge
    from pbsbatch.engines.rcnn import Probed, RcnnEngine
    from pbsbatch.engines.rcnn_openvino import OpenVINOParts

    folder = folder_of("masks")
    sound, wrong = (RcnnEngine(OpenVINOParts(folder, threads=1), folder.facts) for _ in range(2))
    wanted = Wanted(folder.digest, folder.facts.work_mpp)
    assert judge(Probed(wrong), Probed(sound), wanted)
    honest = wrong.parts.outlined
    wrong.parts.outlined = lambda first, boxes, kinds: honest(first, boxes, kinds)[::-1]  # type: ignore[method-assign]
    verdict = judge(Probed(wrong), Probed(sound), wanted)
    assert not verdict and "masks" in verdict.where


def test_the_commands_know_it(copy: Path) -> None:
    shown = CliRunner().invoke(app, ["show", str(copy)])
    assert shown.exit_code == 0 and "maskrcnn-tiny" in shown.output
    checked = CliRunner().invoke(app, ["check", str(copy)])
    assert checked.exit_code == 0 and "runs on openvino fp32" in checked.output
