"""`pbsbatch models train detector --arch` from outside: a tiny network ends as a folder, wrong wishes are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from pbsbatch.errors import PbsbatchError, UsageError
from tests.rcnn import tiny
from tests.train.test_command import models
from tests.train.tiny import write_set

SETTINGS = """
arch = "fasterrcnn-tiny"
work_mpp = 0.4
input_px = 128
canvas_px = 64
batch = 2
epochs = 2
epoch_steps = 2
loaders = 0

[[data]]
path = "set"
split = "train"

[[validation]]
path = "set"
split = "val"
"""


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_set(tmp_path_factory.mktemp("rcnn-command"))
    (root / "tiny.toml").write_text(SETTINGS)
    return root


def told(root: Path, output: Path, *more: object, arch: str = "fasterrcnn-tiny") -> str:
    files = ("--data", root, "--config", root / "tiny.toml", "-o", output)
    return models("train", "detector", "--arch", arch, *files, "--device", "cpu", *more)


def test_a_training_ends_as_a_folder_that_is_shown(root: Path, tmp_path: Path) -> None:
    said = told(root, tmp_path / "out", "--freeze", "heads-first", "--head-epochs", 1)
    assert "epoch 1 took" in said and "epoch 2 took" in said and str(tmp_path / "out" / "model") in said
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "checkpoint.safetensors", "best.safetensors", "metrics.jsonl", "training.png", "model",
    }  # fmt: skip
    assert "fasterrcnn-tiny" in models("show", tmp_path / "out" / "model")
    with pytest.raises(UsageError, match="a run stands there already"):
        told(root, tmp_path / "out")
    with pytest.raises(UsageError, match="begun with another head_epochs"):
        told(root, tmp_path / "out", "--resume")
    assert "epoch 3 took" not in told(
        root, tmp_path / "out", "--resume", "--freeze", "heads-first", "--head-epochs", 1
    ), "all of it is done"


@pytest.mark.parametrize(
    ("arch", "more", "said"),
    [
        ("yolo", (), "there is no architecture 'yolo'.*fasterrcnn-r50-fpn, .*maskrcnn-r101-fpn"),
        ("fasterrcnn-tiny", ("--preset", "mine"), "there is no preset 'mine'. Presets: cbc-2023"),
        ("fasterrcnn-tiny", ("--freeze", "all"), "freeze must be one of none, backbone, heads-first"),
        ("fasterrcnn-tiny", ("--freeze", "heads-first"), "head_epochs must be above 0"),
        ("fasterrcnn-tiny", ("--head-epochs", "3"), "head_epochs must be above 0 with freeze = heads-first, and 0"),
        ("maskrcnn-r101-fpn", ("--weights", "coco"), "torchvision has no coco weights of maskrcnn-r101-fpn"),
        ("maskrcnn-r101-fpn", ("--weights", "imagenet"), r"resnet101-\w+.pth are at none of .*get_model_weights"),
        (
            "fasterrcnn-tiny",
            ("--weights", "none.pth"),
            "none.pth: there is no such file. Give a checkpoint's path",
        ),
    ],
)
def test_wrong_wishes_are_named(root: Path, tmp_path: Path, arch: str, more: tuple[str, ...], said: str) -> None:
    with pytest.raises(PbsbatchError, match=said):
        told(root, tmp_path / "out", *more, arch=arch)
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir()), "nothing was begun"


def test_a_checkpoint_of_another_architecture_is_named_with_its_shapes(root: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file(tiny.random_net(tiny.MASKED).state_dict(), tmp_path / "mask.safetensors")
    with pytest.raises(PbsbatchError, match=r"mask.safetensors: its weights are of another network: .*is unknown"):
        told(root, tmp_path / "out", "--weights", tmp_path / "mask.safetensors")
