"""`pbsbatch models` from outside: help, clear errors, a training that is interrupted, resumed, finished and shown."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pbsbatch.cli.models import app
from pbsbatch.errors import ModelError, PbsbatchError, UsageError
from tests.train.classifier.tiny import SETTINGS as CELLS
from tests.train.classifier.tiny import write_cells
from tests.train.tiny import SETTINGS, write_set

PROGRAM = (
    "import sys\nfrom pbsbatch.cli.models import app\nfrom pbsbatch.errors import PbsbatchError\n"
    "try:\n    app()\nexcept PbsbatchError as error:\n    sys.exit(f'pbsbatch: {error}')"
)


def models(*arguments: object) -> str:
    """Run a command in this process and return what it prints; what a person can act on is raised."""
    done = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=True)
    if isinstance(done.exception, PbsbatchError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_set(tmp_path_factory.mktemp("command"))
    (root / "tiny.toml").write_text(
        SETTINGS.replace("steps = 20", "steps = 100000").replace("loaders = 0", "loaders = 1")
    )
    return root


@pytest.mark.parametrize("command", ["train detector", "train classifier", "sweep", "list", "show", "check", "export"])
def test_every_commands_help_has_an_example(command: str) -> None:
    assert f"pbsbatch models {command}" in " ".join(models(*command.split(), "--help").split())


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_an_interrupted_training_goes_on_and_ends_in_a_model(root: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    command = ["train", "detector", "--data", root, "--config", root / "tiny.toml", "-o", output, "--device", "cpu"]
    arguments = [sys.executable, "-c", PROGRAM, *map(str, command)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        for line in process.stdout:
            if "validation" in line:
                os.kill(process.pid, signal.SIGTERM)
                break
        said, errors = process.stdout.read(), process.stderr.read()
        assert process.wait(60) == 130, errors
    assert "go on with the same command and --resume" in said
    with pytest.raises(UsageError, match="a run stands there already"):
        models(*command)
    told = models(*command, "--resume", "--steps", 40)
    assert "mAP50-95" in told and str(output / "model") in told
    assert {p.name for p in output.iterdir()} == {
        "checkpoint.safetensors", "best.safetensors", "metrics.jsonl", "training.png", "model",
    }  # fmt: skip
    assert json.loads(models("show", output / "model", "--json"))["classes"] == ["RBC", "WBC", "Platelet"]
    assert "validation on 3 fields" in models("show", output / "model")
    assert "files are whole, runs on openvino" in models("check", output / "model")
    (output / "model/weights.safetensors").write_bytes(b"x")
    with pytest.raises(ModelError, match="its bytes are not those"):
        models("check", output / "model")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "none"], "none: no such folder"),
        (["--minutes", "1", "--steps", "1"], "exclude each other"),
        (["--format", "folder"], "--format must be one of voc, yolo, coco"),
        (["--device", "tpu"], "--device must be one of auto, cpu, cuda"),
        (["--config", "none.toml"], "none.toml: cannot read the settings"),
        (["--weights", "none"], "none: no weights that can be read"),
        (["--format", "yolo"], "classes.txt: cannot be read"),  # the root holds the set, and is none
    ],
)
def test_what_is_wrong_is_said(root: Path, tmp_path: Path, arguments: list[str], said: str) -> None:
    base = [] if "--data" in arguments else ["--data", str(root)]
    with pytest.raises(UsageError, match=said):
        models("train", "detector", "-o", tmp_path / "out", *base, *arguments)


def test_a_classifier_is_taught_shown_checked_and_exported(tmp_path: Path) -> None:
    root = write_cells(tmp_path / "data")
    (tmp_path / "tiny.toml").write_text(CELLS)
    output, copy = tmp_path / "out", tmp_path / "copy"
    command = ["train", "classifier", "--data", root, "--config", tmp_path / "tiny.toml", "-o", output]
    told = models(*command, "--device", "cpu", "--steps", 6)
    assert "held out: accuracy" in told and "unsure" in told and str(output / "model") in told
    assert {p.name for p in output.iterdir()} == {
        "checkpoint.safetensors", "best.safetensors", "metrics.jsonl", "training.png", "model", "table.csv",
        "confusion.csv", "confusion.png", "features.png",
    }  # fmt: skip
    shown = json.loads(models("show", output / "model", "--json"))
    assert (shown["kind"], shown["name"], shown["crop_px"]) == ("classifier", "tiny", 32)
    assert "cells held out, step 6: accuracy" in models("show", output / "model")
    assert "a classifier, files are whole, runs on openvino" in models("check", output / "model")
    assert "model.json, model.onnx, weights.safetensors" in models("export", output / "model", "-o", copy)
    assert json.loads(models("show", copy, "--json")) == shown
    with pytest.raises(ModelError, match="something stands there already"):
        models("export", output / "model", "-o", copy)
    with pytest.raises(ModelError, match="no network that could be exported"):
        models("export", "classical", "-o", tmp_path / "classical")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--format", "yolo"], "--format must be folder, not 'yolo'"),
        (["--format", "folder"], "--format folder needs --mpp"),
        (["--mpp", "0.2"], "--mpp and --rename go with --format folder"),
        (["--minutes", "1", "--steps", "1"], "exclude each other"),
    ],
)
def test_what_is_wrong_with_pictures_is_said(root: Path, tmp_path: Path, arguments: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        models("train", "classifier", "-o", tmp_path / "out", "--data", root, *arguments)


def test_list_names_what_is_shipped() -> None:
    assert "classical" in models("list")
    assert {"name", "kind", "version", "work_mpp"} <= set(json.loads(models("list", "--json"))[0])


def test_help_starts_nothing_heavy() -> None:
    program = (
        "import sys, pbsbatch.cli.models\nprint([m for m in ('numpy', 'cv2', 'torch', 'numba') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_without_torch_the_cure_is_said(root: Path, tmp_path: Path) -> None:
    hide = f"import sys\nsys.modules['torch'] = None\nsys.argv[1:] = {['train', 'detector', '--data', str(root), '-o', str(tmp_path)]}\n"  # noqa: E501
    done = subprocess.run([sys.executable, "-c", hide + PROGRAM], capture_output=True, text=True, check=False)
    assert "training needs torch" in done.stderr and 'pip install "pbsbatch[train]"' in done.stderr
    assert "Traceback" not in done.stderr


def test_a_studys_classifier_is_taught_by_name_and_what_its_cells_are_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pbsbatch.train.classifier import finish

    monkeypatch.setattr(finish, "OUTLIERS", 2)
    monkeypatch.setattr(finish, "TAUGHT", 60)
    root = write_cells(tmp_path / "data") / "cells"
    (tmp_path / "tiny.toml").write_text(CELLS)
    base = [
        "train",
        "classifier",
        "--data",
        root,
        "--format",
        "folder",
        "--mpp",
        "0.4",
        "--config",
        tmp_path / "tiny.toml",
    ]
    with pytest.raises(PbsbatchError, match=r"no type or kind of cell is called 'ig'; there are.*--rename ig="):
        models(*base, "-o", tmp_path / "none", "--steps", 2)
    base += ["--rename", "ig=immature_granulocyte"]
    told = models(*base, "--show-augmentation", tmp_path / "sheet.png", "--augment", "small")
    assert "8 augmentations of 10 cells" in told and (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
    (root / "ig/x_0.png").write_bytes(b"no")
    output = tmp_path / "out"
    told = models(*base, "-o", output, "--arch", "crp-2", "--preset", "adam-42", "--steps", 4, "--device", "cpu")
    assert "1 picture skipped: ig/x_0.png (it cannot be decoded)" in told.replace("\n", "")
    shown = json.loads(models("show", output / "model", "--json"))
    assert (shown["arch"], shown["metrics"]["split"]) == ("crp-2", "64/16/20 groups, seed 42")
    assert shown["metrics"]["pictures"]["skipped"] == 1
    assert "a classifier, files are whole, runs on openvino" in models("check", output / "model")
    told = models(*base, "-o", tmp_path / "rivals", "--features", output / "model", "--classifier", "knn")
    assert "knn" in told and "accuracy" in told and (tmp_path / "rivals/table.csv").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--arch", "crp-9"], "arch must be one of small, crp-2"),
        (["--preset", "adadelt"], "no preset is called 'adadelt'. Did you mean 'adadelta'?"),
        (["--freeze", "backbone"], "small has no backbone to freeze"),
        (["--augment", "sheer"], "no augmentation is called 'sheer'"),
        (["--features", "resnet50"], "--features and --classifier go together"),
        (["--features", "resnet50", "--classifier", "svm", "--rename", "a"], "--rename go with --format folder"),
        (["--format", "folder", "--mpp", "0.4", "--rename", "a"], "--rename must be FOLDER=TYPE, not 'a'"),
        (["--arch", "xception", "--weights", "none.pth"], "timm|none.pth"),
    ],
)
def test_what_is_wrong_with_a_studys_classifier_is_said(tmp_path: Path, arguments: list[str], said: str) -> None:
    with pytest.raises(PbsbatchError, match=said.replace("?", r"\?")):
        models("train", "classifier", "--data", tmp_path, "-o", tmp_path / "out", "--device", "cpu", *arguments)


def test_a_sweep_is_said_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from contextlib import nullcontext

    from pbsbatch.train.sweep import run
    from tests.train.sweep.test_sweep import Here, config

    monkeypatch.setattr(run, "connect_bare", lambda config: nullcontext(Here()))
    root, file = write_cells(tmp_path / "data"), config(tmp_path, 'arch = ["crp-2", "microcell"]\nbatch = [4]')
    (root / "cells/ig/x_3.png").write_bytes(b"no")
    command = ["sweep", file, "--data", root, "-o", tmp_path / "out"]
    told = models(*command)
    assert "2 trials over arch, batch" in told and "2 of 2" in told and "1 picture skipped: cells/ig/x_3.png" in told
    assert "nothing left to search closer: train the best" in told
    assert "2 trials done before" in models(*command)
    with pytest.raises(UsageError, match="no such folder"):
        models("sweep", file, "--data", tmp_path / "none", "-o", tmp_path / "out")


def test_a_network_of_ones_own_does_not_bear_the_shipped_ones_name(tmp_path: Path) -> None:
    from pbsbatch.cli.train import Wish
    from pbsbatch.cli.train_classifier import CellWish, settings_of

    common = Wish(tmp_path, tmp_path / "out", None, None, None, False, "cpu", 1, None, None)
    names = [settings_of(CellWish(common, arch=a, preset=p)).name for a, p in (("crp-2", "adam-42"), ("vgg16", None))]
    assert names == ["crp-2-adam-42", "vgg16"] and settings_of(CellWish(common)).name == "differential"
