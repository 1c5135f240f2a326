"""Classes of the data's own: taught as they are, counted as what they are, and a cell's type in a run's results."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from pbsbatch import store
from pbsbatch.cli import app
from pbsbatch.config import Config, resolve
from pbsbatch.datasets.readers import DataError, DataSet, read
from pbsbatch.datasets.readers.problems import RecordError
from pbsbatch.datasets.readers.vocabulary import Vocabulary
from pbsbatch.detections import UNTYPED
from pbsbatch.engines.rcnn import RcnnEngine
from pbsbatch.errors import ModelError, UsageError
from pbsbatch.models.load import load
from pbsbatch.models.operating import at_operating_point, least_scores
from pbsbatch.models.rcnn import RcnnModel
from pbsbatch.models.rcnn_facts import RcnnFacts, rcnn_from_json, rcnn_to_json
from pbsbatch.models.rcnn_folder import RcnnFolder
from pbsbatch.run.key import key_facts, resume_key
from pbsbatch.run.rows import slide_rows
from pbsbatch.run.second_look import room, second_look
from pbsbatch.testing.oracle import cell_class
from pbsbatch.train.detector import Data
from pbsbatch.train.fields import load_training, load_validation
from pbsbatch.train.rcnn.data import facts_for
from pbsbatch.train.rcnn.finish import finish
from pbsbatch.train.rcnn.loop import Judged, teach
from pbsbatch.train.rcnn.run import begin
from tests.rcnn.fake_parts import FACTS, FakeParts
from tests.rcnn.test_train import CPU, settings_of
from tests.run.inline import run_one
from tests.train.tiny import write_set

TYPED = replace(
    FACTS, network_classes=("Teardrop", "Neutrophils", "Schistocyte"), count_as={"Teardrop": "RBC"},
    thresholds=(0.3, 0.4, 0.5),
)  # fmt: skip


def model_of(facts: RcnnFacts) -> RcnnModel:
    return RcnnModel(RcnnFolder(Path(), "fake", {}, facts))


def test_a_run_counts_classes_and_keeps_types(labels: np.ndarray, slide: Path, tmp_path: Path) -> None:
    model = model_of(TYPED)
    result = run_one(slide, tmp_path, Config(), model=model, engine=RcnnEngine(FakeParts(), TYPED))
    assert result.store is not None
    stored = store.open(result.store)
    assert stored.classes == ("RBC", "WBC", "Schistocyte") and stored.types == ("Teardrop", "Neutrophils")
    truth = np.bincount(cell_class(np.unique(labels[labels > 0])), minlength=3)
    cells = stored.cells
    kinds = {(c, t): int(n) for (c, t), n in zip(*_counted(cells), strict=True)}
    assert kinds == {(0, 0): truth[0], (1, 1): truth[1], (2, UNTYPED): truth[2]}
    typed = cells["type"] != UNTYPED
    assert (cells["type_score"][typed] == cells["score"][typed]).all() and not cells["type_score"][~typed].any()
    (row,) = slide_rows([result], tmp_path, "fake", "fake")
    assert (row["n_rbc"], row["n_wbc"], row["n_neutrophil"]) == (str(truth[0]), str(truth[1]), str(truth[1]))
    assert row["n_wbc_diff"] == str(truth[1]) and row["n_lymphocyte"] == "0"
    assert row["n_platelet"] == row["n_nrbc"] == "", "nothing in the network tells them"


def _counted(cells: dict[str, np.ndarray]) -> tuple[list[tuple[int, int]], list[int]]:
    pairs, counts = np.unique(np.stack([cells["class"], cells["type"]], 1), axis=0, return_counts=True)
    return [(int(c), int(t)) for c, t in pairs], counts.tolist()


def test_types_of_red_cells_alone_are_no_differential() -> None:
    only = model_of(replace(TYPED, network_classes=("Teardrop", "WBC", "PLT")))
    assert only.spec.classes == ("RBC", "WBC", "Platelet") and only.spec.types == ("Teardrop",)
    assert second_look(Config(), only) is None and room(Config(), only) == (0, 0), "its types are its own"
    plain = model_of(replace(TYPED, network_classes=("red blood cells", "WBC", ""), count_as={}, thresholds=(0.3,) * 2))
    assert plain.spec.classes == ("RBC", "WBC") and plain.spec.types == ()


def test_settings_move_the_thresholds_of_what_is_counted() -> None:
    model = model_of(TYPED)
    moved = at_operating_point(model, Config(preset="cbc-2023", thresholds=(("WBC", 0.25),)))
    assert isinstance(moved, RcnnModel)
    assert moved.folder.facts.thresholds == (0.70, 0.25, 0.5) and moved.folder.facts.nms_iou == (0.45,) * 3
    assert least_scores(model, Config(preset="smear-2021")).tolist() == [np.float32(0.7)] * 3
    assert at_operating_point(model, Config()) is model
    with pytest.raises(UsageError, match=r"thresholds name the class 'Teardrop'. The model tiny has RBC, WBC, Schisto"):
        at_operating_point(model, Config(thresholds=(("Teardrop", 0.2),)))
    with pytest.raises(UsageError, match=r"there is no preset 'mine'. Presets: cbc-2023"):
        at_operating_point(model, Config(preset="mine"))


def test_a_preset_is_said_by_flag_or_file_and_is_part_of_what_results_depend_on(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('preset = "smear-2021"')
    from_file, flag = resolve({}, tmp_path / "c.toml"), resolve({"preset": "cbc-2023"}, tmp_path / "c.toml")
    assert (from_file.preset, flag.preset) == ("smear-2021", "cbc-2023")
    keys = [
        resume_key(key_facts(
            content="c", mpp=0.25, mpp_source="given", spec=model_of(TYPED).spec, config=config,
            engine=RcnnEngine(FakeParts(), TYPED),
        ))
        for config in (Config(), from_file, flag)
    ]  # fmt: skip
    assert len(set(keys)) == 3
    helped = CliRunner().invoke(app, ["run", "--help"]).output
    assert all(name in " ".join(helped.split()) for name in ("--preset", "cbc-2023", "smear-2021"))


def test_what_a_class_is_counted_as_is_checked() -> None:
    assert rcnn_from_json(rcnn_to_json(TYPED) | _lists(TYPED), Path("model.json")) == TYPED
    for wrong in ({"Ovalocyte": "RBC"}, {"Teardrop": "red"}):
        with pytest.raises(ModelError, match=r"count_as must say of some of the classes which of RBC, WBC, Platelet"):
            rcnn_from_json(rcnn_to_json(TYPED) | _lists(TYPED) | {"count_as": wrong}, Path("model.json"))


def _lists(facts: RcnnFacts) -> dict[str, object]:
    return dict(json.loads(json.dumps(rcnn_to_json(facts))))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_set(tmp_path_factory.mktemp("words"))
    (root / "set/classes.txt").write_text("Teardrop\nLymphocyte\nOdd one\n")
    return root


def test_words_are_taken_where_they_are_allowed(root: Path) -> None:
    with pytest.raises(DataError, match="unknown class 'Teardrop'"):
        read(DataSet(root / "set", "yolo", "train"))
    with pytest.raises(DataError, match="no red cell tells the scale"):
        read(DataSet(root / "set", "yolo", "train"), words=Vocabulary(own=True))
    words = Vocabulary(own=True, count_as={"teardrop": "RBC"})
    samples, _ = read(DataSet(root / "set", "yolo", "train"), words=words)
    assert set(words.names) == {"RBC", "WBC", "Platelet", "Teardrop", "Lymphocyte", "Odd one"}
    for sample in samples:
        assert sample.names == words.names[: len(sample.names)], "a number never changes its meaning"
        assert set(sample.alike.tolist()) <= {0, 1, -1}
    assert words.number("odd-one") == words.names.index("Odd one") and words.number("RBCs") == 0
    for bad in ("", " ", "a\x07", "x" * 201):
        with pytest.raises(RecordError, match="no name of a class"):
            words.number(bad)


def test_a_network_learns_the_words_of_its_data(root: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    settings = settings_of(count_as={"Teardrop": "RBC"}, epochs=1, epoch_steps=2)
    words = Vocabulary(own=True, count_as=settings.count_as)
    data = Data(*load_training(settings, root, words), load_validation(settings, root, words))
    facts = facts_for(settings, data.fields, masks=False)
    assert set(facts.network_classes) == {"Teardrop", "Lymphocyte", "Odd one"}
    assert [facts.counted(n) for n in sorted(facts.classes)] == ["WBC", "Odd one", "RBC"]
    assert facts.count_as == {"Teardrop": "RBC"}, "what a name tells needs no saying"
    run = begin(settings, facts, len(data.fields), tmp_path, CPU, resume=False)
    judged = [e for e in teach(run, data, tmp_path) if isinstance(e, Judged)]
    assert judged[-1].report.classes["Teardrop"].cells == sum(
        int((f.classes == words.number("Teardrop")).sum()) for f in data.validation
    )
    assert judged[-1].report.classes["RBC"].cells == 0
    model = load(str(finish(settings, tmp_path, data.validation, CPU).folder))
    assert set(model.spec.classes) == {"RBC", "WBC", "Odd one"} and set(model.spec.types) == {"Teardrop", "Lymphocyte"}
