"""`pbsbatch models adapt` from outside: a folder in, a model out that an engine runs; what is missing is said."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from pbsbatch.cli.adapt import adapt_model
from pbsbatch.datasets.duplicates import Groups
from pbsbatch.engines.load import load_classifier as load_engine
from pbsbatch.errors import UsageError
from pbsbatch.models.load import load_classifier
from pbsbatch.models.taxonomy import CALLED
from pbsbatch.train.adapt.guard import balanced
from pbsbatch.train.adapt.methods import DEFAULT
from pbsbatch.train.classifier import pictures
from pbsbatch.train.classifier.pictures import Split
from tests.train.adapt.drawn import NAMES, abroad, home, model_of, strip, taught, write_pictures
from tests.train.test_command import models


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and a folder of another laboratory's crops, some of which are none."""
    folder = tmp_path_factory.mktemp("command")
    taught(folder / "model")
    cells = abroad(20, 100)
    root = write_pictures(folder / "crops", cells)
    for n in range(3):
        cv2.imwrite(str(root / f"zz-stripes-{n}.png"), strip(cells.cells[n].pixels))
    (root / "broken.png").write_bytes(b"x")
    rows = [f"{cell.name},{cell.label}" for cell in cells.cells[::8]]
    (folder / "few.csv").write_text("\n".join(["crop,label", *rows, ""]))
    return folder


def adapt(there: Path, *more: object) -> str:
    return models("adapt", "--model", there / "model", "--mpp", 0.56, "--steps", 30, "--threads", 1, *more)


def test_a_folder_of_crops_becomes_a_better_model_that_runs(there: Path) -> None:
    said = adapt(there, "--target", there / "crops", "--labels", there / "few.csv", "-o", there / "new")
    assert "broken.png: it cannot be decoded" in said and "zz-stripes-0.png: no cell" in said
    assert "called otherwise than before" in said and "agreement with the source" in said
    assert "no label for" in said and "eosinophil" in said
    held = abroad(30, 500)
    right = {}
    for name in ("model", "new"):
        classifier = load_classifier(str(there / name))
        engine = load_engine(classifier, "openvino", threads=1)
        crops = np.stack(model_of(there / name).crops(held.cells))
        raw = engine(crops)
        engine.close()
        right[name] = balanced(np.asarray(raw["logits"], np.float64), held.types)
        assert (classifier.names(raw)[0] < len(CALLED)).all()
    assert right["new"] > right["model"] + 0.1
    facts = json.loads(models("show", there / "new", "--json"))
    about = facts["metrics"]["adapted"]
    assert facts["name"] == "drawn-adapted" and about["method"] == "self-training" and about["from"] == "drawn 1"
    assert about["labelled"] == 10 and about["guard_after"] >= about["guard_before"] - 0.01
    assert str(there) not in json.dumps(facts)  # nothing of where the cells lay
    with pytest.raises(UsageError, match="something stands there already"):
        adapt(there, "--target", there / "crops", "-o", there / "new")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--method", "magic"), "there is no method 'magic'. Methods: self-training"),
        (("--method", "adversarial"), "needs cells of the source. Give --source"),
    ],
)
def test_what_cannot_be_done_is_refused(there: Path, more: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        adapt(there, "--target", there / "crops", "-o", there / "other", *more)
    assert not (there / "other").exists()


def test_the_command_has_the_default_of_the_methods() -> None:
    assert inspect.signature(adapt_model).parameters["method"].default == DEFAULT


def test_the_source_guards_by_its_own_class_names_and_says_what_it_cannot_read(
    there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "group", _alone)
    for cell in home(40, 700).cells:
        write_pictures(tmp_path / "home" / f"Typ {cell.label[:4]}", Split([cell]))
    (tmp_path / "home" / "Typ plat" / "broken.png").write_bytes(b"x")
    asked = ("--target", there / "crops", "--source", tmp_path / "home", "--source-mpp", 0.4, "--steps", 3)
    with pytest.raises(UsageError, match=r"'Typ lymp'.*--map"):
        adapt(there, *asked, "-o", tmp_path / "new")
    names = "".join(f"Typ {name[:4]},{name}\n" for name in NAMES)
    (tmp_path / "map.csv").write_text(names)
    said = adapt(there, *asked, "--map", tmp_path / "map.csv", "--method", "adversarial", "-o", tmp_path / "new")
    assert "held-out cells of the source" in said and "Typ plat/broken.png: it cannot be decoded" in said


def _alone(pixels: Sequence[object]) -> Groups:
    """Say that no drawn cell is another's duplicate: all of a type look alike to who looks for duplicates."""
    return Groups(np.arange(len(pixels)), (), ())


def test_pictures_of_no_white_cells_are_doubted(there: Path, tmp_path: Path) -> None:
    cells = abroad(12)
    for n, cell in enumerate(cells.cells):
        if n % 4:
            cell.pixels[:] = np.random.default_rng(n).integers(0, 256, cell.pixels.shape)
    write_pictures(tmp_path / "noise", cells)
    said = adapt(there, "--target", tmp_path / "noise", "--steps", 2, "-o", tmp_path / "out")
    assert re.search(r"note: \d+ % of 48 pictures are unlike any cell", said)


def test_few_cells_and_one_type_are_refused(there: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path / "few", abroad(2))
    with pytest.raises(UsageError, match=r"8 cells are too few.*at least 30"):
        adapt(there, "--target", tmp_path / "few", "-o", tmp_path / "out")
    dots = Split([cell for cell in abroad(40).cells if cell.label == "platelet"])
    write_pictures(tmp_path / "one", dots)
    with pytest.raises(UsageError, match="40 cells are called platelet"):
        adapt(there, "--target", tmp_path / "one", "-o", tmp_path / "out")
