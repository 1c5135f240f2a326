"""A checkpoint becomes a model: torchvision's own names, what does not fit is named, nothing is unpickled."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

import pbsbatch
from pbsbatch.cli.models import app
from pbsbatch.engines.load import load as load_engine
from pbsbatch.errors import ModelError, UsageError
from pbsbatch.models.load import load
from pbsbatch.models.rcnn import RcnnModel
from pbsbatch.nets.rcnn import ARCHS, build
from pbsbatch.nets.rcnn_checkpoint import tensors_of
from pbsbatch.testing.engines import tiles
from pbsbatch.train.rcnn.export import export_weights_of
from pbsbatch.train.rcnn.shape import read_shape
from tests.rcnn.tiny import FACTS, random_net

SETTINGS = """
classes = ["RBC", "WBC", "Platelet"]
work_mpp = 0.4
input_px = 192
anchors = [[8.0], [16.0], [24.0], [40.0], [64.0]]
ratios = [0.7, 1.0, 1.4]
"""


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "my.toml"
    path.write_text(SETTINGS)
    return path


def test_a_checkpoint_becomes_a_model_that_runs(tmp_path: Path, settings: Path) -> None:
    torch.save(
        {"epoch": 3, "model": {f"module.{k}": v for k, v in random_net(FACTS).state_dict().items()}}, tmp_path / "a.pth"
    )
    save_file(random_net(FACTS).state_dict(), tmp_path / "a.safetensors")
    for name in ("a.pth", "a.safetensors"):
        export_weights_of(tmp_path / name, tmp_path / f"m-{name}", "fasterrcnn-tiny", settings, None)
    one, other = (load(str(tmp_path / f"m-{name}")) for name in ("a.pth", "a.safetensors"))
    assert one.spec.digest == other.spec.digest and one.spec.tile_px == 192
    engine = load_engine(one, "openvino", threads=1)
    assert engine(tiles(1, (192, 192)))["count"][0, 0] > 5
    engine.close()


def test_the_command(tmp_path: Path, settings: Path) -> None:
    save_file(random_net(FACTS).state_dict(), tmp_path / "a.safetensors")
    told = ["export", str(tmp_path / "a.safetensors"), "--output", str(tmp_path / "m")]
    refused = CliRunner().invoke(app, told)
    assert isinstance(refused.exception, UsageError) and "needs --arch and --settings" in str(refused.exception)
    done = CliRunner().invoke(
        app, [*told, "--arch", "fasterrcnn-tiny", "--settings", str(settings), "--preset", "cbc-2023"]
    )
    assert done.exit_code == 0, done.output
    assert "box.onnx, model.json, model.onnx, weights.safetensors" in done.output
    model = load(str(tmp_path / "m"))
    assert isinstance(model, RcnnModel)
    assert model.folder.facts.thresholds == (0.70, 0.80, 0.55) and model.folder.facts.nms_iou == (0.45,) * 3
    again = CliRunner().invoke(app, ["export", str(tmp_path / "m"), "--output", str(tmp_path / "copy")])
    assert again.exit_code == 0 and load(str(tmp_path / "copy")).spec.digest == model.spec.digest


def test_another_class_count_or_architecture_is_named(tmp_path: Path, settings: Path) -> None:
    from dataclasses import replace

    more = replace(FACTS, network_classes=("a", "b", "c", "d"), thresholds=(0.3,) * 4, nms_iou=(0.5,) * 4)
    save_file(random_net(more).state_dict(), tmp_path / "a.safetensors")
    with pytest.raises(ModelError, match=r"box_predictor.cls_score.weight is \(5, 48\), not \(4, 48\)"):
        export_weights_of(tmp_path / "a.safetensors", tmp_path / "m", "fasterrcnn-tiny", settings, None)
    with pytest.raises(ModelError, match=r"fpn.inner_blocks.0.0.bias is \(24,\), not \(256,\).*more"):
        export_weights_of(tmp_path / "a.safetensors", tmp_path / "m", "fasterrcnn-r50-fpn", settings, None)
    with pytest.raises(ModelError, match="there is no architecture"):
        export_weights_of(tmp_path / "a.safetensors", tmp_path / "m", "yolo", settings, None)
    assert not (tmp_path / "m").exists()


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.mkdir, ("/tmp/pbsbatch-evil",)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    torch.save({"model": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ModelError, match=r"more than weights.*state_dict"):
        tensors_of(tmp_path / "evil.pth")
    assert not Path("/tmp/pbsbatch-evil").exists()
    torch.save({"lr": 0.1}, tmp_path / "none.pth")
    with pytest.raises(ModelError, match="no weights by name"):
        tensors_of(tmp_path / "none.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "none.pth").read_bytes()[:100])
    with pytest.raises(ModelError, match=r"damaged"):
        tensors_of(tmp_path / "cut.pth")
    with pytest.raises(ModelError, match="No such file"):
        tensors_of(tmp_path / "absent.pth")


def test_torchs_files_are_read_as_weights_alone_everywhere() -> None:
    """Law: whoever calls torch.load says weights_only=True."""
    calls = [
        (path.name, {k.arg: k.value for k in node.keywords})
        for path in Path(pbsbatch.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"
    ]
    assert [name for name, _ in calls] == ["rcnn_checkpoint.py"]
    assert all(isinstance(v := said.get("weights_only"), ast.Constant) and v.value is True for _, said in calls)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('classes = ["RBC", "RBC"]\nwork_mpp = 0.4', "each class once"),
        ('classes = ["RBC"]', "work_mpp or red_cell_px"),
        ('classes = ["RBC"]\nwork_mpp = 0.4\nred_cell_px = 30', "not both"),
        ('classes = ["RBC"]\nwork_mpp = 0.4\ninput_px = 1000', "multiple of 64"),
        ('classes = ["RBC"]\nwork_mpp = 0.4\nanchors = [[8.0]]', "5 lists of sides"),
        ('classes = ["RBC"]\nwork_mpp = 0.4\nthresholds = [0.1, 0.2]', "must hold 1 numbers"),
        ('classes = ["RBC"]\nwork_mpp = 0.4\nthreshhold = 0.1', "Did you mean 'threshold'"),
        ("work_mpp = 0.4", "classes is missing"),
    ],
)
def test_settings_that_cannot_be_meant_are_named(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "s.toml").write_text(line)
    with pytest.raises(UsageError, match=said):
        read_shape(tmp_path / "s.toml")


def test_the_architectures_are_torchvisions() -> None:
    """Law: its own builders have the same weights under the same names; its checkpoints fit."""
    from torchvision.models import detection

    theirs = {
        "fasterrcnn-r50-fpn": detection.fasterrcnn_resnet50_fpn,
        "fasterrcnn-r50-fpn-v2": detection.fasterrcnn_resnet50_fpn_v2,
        "maskrcnn-r50-fpn-v2": detection.maskrcnn_resnet50_fpn_v2,
    }
    assert set(ARCHS) >= {*theirs, "maskrcnn-r101-fpn"}
    for name, maker in theirs.items():
        from dataclasses import replace

        with torch.device("meta"):
            own = build(replace(FACTS, arch=name, masks=ARCHS[name].masks)).state_dict()
            wanted = maker(weights=None, weights_backbone=None, num_classes=4).state_dict()
        assert {k: v.shape for k, v in own.items()} == {k: v.shape for k, v in wanted.items()}


def test_numbers_survive(tmp_path: Path, settings: Path) -> None:
    """Frozen norms of a checkpoint without counters: the folder computes what the checkpoint computed."""
    net = random_net(FACTS)
    save_file({k: v for k, v in net.state_dict().items() if "num_batches" not in k}, tmp_path / "a.safetensors")
    settings.write_text(SETTINGS + "norm_eps = 0.0\npost_nms = 300\ndetections = 300\nthreshold = 0.3\n")
    folder = export_weights_of(tmp_path / "a.safetensors", tmp_path / "m", "fasterrcnn-tiny", settings, None)
    for module in net.backbone.body.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eps = 0.0
    pixels = tiles(1, (192, 192), seed=4)
    with torch.inference_mode():
        wanted = net([torch.from_numpy(pixels[0]).permute(2, 0, 1).float() / 255])[0]
    for name in ("openvino", "torch"):
        engine = load_engine(RcnnModel(folder), name, threads=1)
        raw = engine(pixels)
        engine.close()
        count = (wanted["scores"] > 0.9).sum()
        np.testing.assert_allclose(raw["scores"][0, :count], wanted["scores"][:count], atol=1e-4)
