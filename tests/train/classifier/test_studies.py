"""The studies' protocols from end to end on made-up cells: presets, optimisers, frozen bodies, classical rivals."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pbsbatch.datasets.readers import DataError
from pbsbatch.engines.load import load_classifier
from pbsbatch.errors import ModelError, UsageError
from pbsbatch.models.classifier import CellClassifier
from pbsbatch.models.folder import read_classifier, write_classifier
from pbsbatch.models.taxonomy import KINDS
from pbsbatch.nets.architectures import build
from pbsbatch.nets.backbones import BackboneNet
from pbsbatch.nets.classifier import ClassifierSize
from pbsbatch.nets.export import export_weights
from pbsbatch.train.adapt.task import opened
from pbsbatch.train.checkpoint import load_weights
from pbsbatch.train.classifier import by_features, finish
from pbsbatch.train.classifier.crops import StudyCutter
from pbsbatch.train.classifier.drawings import placed
from pbsbatch.train.classifier.export import calibrated_net, export_classifier
from pbsbatch.train.classifier.look import crops_of
from pbsbatch.train.classifier.loop import Taught, cutter_of
from pbsbatch.train.classifier.pictures import Split, load, read_all
from pbsbatch.train.classifier.presets import PRESETS, preset_of
from pbsbatch.train.classifier.report import f1_of
from pbsbatch.train.classifier.settings import Settings
from pbsbatch.train.classifier.strange import learn
from pbsbatch.train.classifier.train import in_steps, train
from pbsbatch.train.detector import CHECKPOINT
from pbsbatch.train.finish import MODEL
from tests.engines.tiny_classifier import FACTS
from tests.train.classifier.tiny import splits, tiny_settings, trained, write_cells

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cells(tmp_path_factory.mktemp("studies"))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finish, "OUTLIERS", 2)
    monkeypatch.setattr(finish, "TAUGHT", 60)


def study(tmp: Path, preset: str, **changes: object) -> Settings:
    return tiny_settings(tmp, **{**preset_of(preset), **changes})


def test_the_presets_are_the_published_settings(tmp_path: Path) -> None:
    for name in ("adadelta", "adadelta-leaky"):
        one = study(tmp_path, name)
        assert (one.optimiser, one.batch, one.epochs, one.shares) == ("adadelta", 30, 50, (0.6, 0.2, 0.2))
    assert (study(tmp_path, "adadelta").split, study(tmp_path, "adadelta-leaky").split) == ("groups", "augmented")
    adam = study(tmp_path, "adam-42")
    assert (adam.optimiser, adam.learning_rate, adam.batch) == ("adam", 1e-4, 16)
    assert (adam.shares, adam.split_seed) == ((0.64, 0.16, 0.2), 42)
    with pytest.raises(UsageError, match="no preset is called 'adadelta-leeky'"):
        preset_of("adadelta-leeky")
    assert in_steps(study(tmp_path, "adadelta"), 61).steps == 50 * 3


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("preset", PRESETS)
def test_a_study_ends_in_a_model_that_engines_run_and_a_table(root: Path, tmp_path: Path, preset: str) -> None:
    arch = {"adadelta": "crp-2", "adadelta-leaky": "microcell", "adam-42": "crp-3-fc"}[preset]
    settings = study(tmp_path, preset, arch=arch, epochs=2.0, dropout=0.3)
    output = tmp_path / "out"
    said: list[str] = []
    done = train(settings, root, output, CPU, say=said.append)
    assert done is not None and done.step > 0
    folder = read_classifier(output / MODEL)
    assert folder.facts.arch == arch and folder.facts.mean == (0.0, 0.0, 0.0)
    rows = list(csv.DictReader((output / "table.csv").read_text().splitlines()))
    assert rows[-1]["type"] == "mean" and {row["arch"] for row in rows} == {arch}
    assert all(("LEAKS" in row["split"]) == (preset == "adadelta-leaky") for row in rows)
    assert int(rows[0]["parameters"]) > 1000 and sum(int(r["support"]) for r in rows[:-1]) == int(rows[-1]["support"])
    classifier = CellClassifier(folder)
    cells = load(settings, root)[0]["hold-out"].cells
    crops = np.stack(crops_of(settings, cells))
    seen = []
    for asked in ("openvino", "torch"):
        engine = load_classifier(classifier, asked, precision="fp32", threads=1)
        seen.append(np.asarray(engine(crops)["logits"]))
        engine.close()
    np.testing.assert_allclose(seen[0], seen[1], atol=1e-3 * max(1.0, float(np.ptp(seen[1]))))
    for picture in ("confusion.png", "features.png"):
        assert (output / picture).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("optimiser", ["adadelta", "adam", "sgd"])
def test_any_optimiser_goes_on_where_it_stopped(root: Path, tmp_path: Path, optimiser: str) -> None:
    settings = tiny_settings(tmp_path, optimiser=optimiser, arch="crp-2", augment=["adaptation"], balance=0.0, steps=6)
    parts = splits(root)
    _, whole = trained(settings, parts, tmp_path / "whole")
    _, first = trained(settings, parts, tmp_path / "broken", until=3)
    _, second = trained(settings, parts, tmp_path / "broken", resume=True)
    losses = [[e.total for e in events if isinstance(e, Taught)] for events in (whole, first + second)]
    assert losses[0] == losses[1] and len(losses[0]) == 6
    a, b = (load_weights(tmp_path / folder / CHECKPOINT)[0] for folder in ("whole", "broken"))
    assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_a_frozen_body_keeps_its_files_weights_through_a_break(root: Path, tmp_path: Path) -> None:
    torch.manual_seed(9)
    body = BackboneNet("resnet50", 11, 32).body.state_dict()
    torch.save(body, tmp_path / "body.pth")
    how = {"arch": "resnet50", "freeze": "backbone", "weights": str(tmp_path / "body.pth"), "validate_every": 9}
    settings = tiny_settings(tmp_path, **how, steps=2, batch=2)
    parts = {name: Split(split.cells[:6]) for name, split in splits(root).items()}
    trained(settings, parts, tmp_path / "out", until=1)
    run, _ = trained(settings, parts, tmp_path / "out", resume=True)
    assert run.step == 2
    assert all(torch.equal(t, body[name]) for name, t in run.net.body.state_dict().items())  # type: ignore[union-attr]
    with pytest.raises(UsageError, match=r"crp-2 has no backbone"):
        tiny_settings(tmp_path, arch="crp-2", freeze="backbone")
    with pytest.raises(UsageError, match=r"there is no such file\. Torchvision's file is"):
        trained(tiny_settings(tmp_path, **{**how, "weights": str(tmp_path / "no.pth")}), parts, tmp_path / "other")


def test_each_cell_comes_once_in_an_epoch(root: Path, tmp_path: Path) -> None:
    parts = splits(root)
    cutter = cutter_of(tiny_settings(tmp_path, augment=["small"], balance=0.0), parts["train"])
    assert isinstance(cutter, StudyCutter)
    count = len(parts["train"].cells)
    orders = [[cutter.cut(3, epoch * count + i)[1] for i in range(count)] for epoch in range(2)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(count)) and orders[0] != orders[1]
    drawn = cutter_of(tiny_settings(tmp_path, augment=["small"], balance=1.0), parts["train"])
    assert len({drawn.cut(3, i)[1] for i in range(count)}) < count


def test_classical_classifiers_are_judged_on_groups_they_never_saw(root: Path, tmp_path: Path) -> None:
    renames = [{"begins": "ig", "is_a": "erythroblast"}, {"begins": "neutrophil/BNE", "is_a": "band_neutrophil"}]
    settings = tiny_settings(tmp_path, pictures=[{"path": "cells", "mpp": 0.4, "rename": renames}])
    cells, groups = read_all(settings, root)
    rows = by_features.compare(
        settings, Split(cells), groups, "differential", ("svm", "knn", "random-forest"), tmp_path / "out"
    )
    whole = {row["model"]: row["accuracy"] for row in rows if row["type"] == "all"}
    assert len(whole) == 3 and min(whole.values()) > 0.8
    alone = [row for row in rows if row["type"] == "erythroblast against the rest"]
    assert len(alone) == 3 and all(row["support"] == 24 and row["precision"] > 0.6 for row in alone)
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "table.csv", "features.png", "confusion-svm.png", "confusion-knn.png", "confusion-random-forest.png",
    }  # fmt: skip
    kept = [i for i, c in enumerate(cells) if c.label != "platelet" or int(c.name.split("_")[-1][:-4]) < 3]
    few, parted = Split([cells[i] for i in kept]), replace(groups, of=groups.of[kept])
    with pytest.raises(DataError, match=r"too few pictures for 5 folds: 3 of platelet.*Give 5 at least of each type"):
        by_features.compare(settings, few, parted, "differential", ("svm",), tmp_path / "few")
    with pytest.raises(
        UsageError, match=r"weights of resnet50: there is no such file\. Torchvision's file is resnet50"
    ):
        by_features.features_of(tiny_settings(tmp_path, arch="resnet50"), "resnet50", Split(cells))
    with pytest.raises(UsageError, match="no classifier is called 'forest'"):
        by_features.compare(settings, few, parted, "differential", ("forest",), tmp_path / "none")


def test_no_cell_is_judged_by_what_was_taught_on_its_group() -> None:
    rng = np.random.default_rng(1)
    types = np.repeat(np.arange(2), 40)
    groups = np.repeat(np.arange(20), 4)
    features = np.eye(20)[groups] * 9 + rng.normal(0, 0.01, (80, 20))  # a group says all of its type, others nothing
    judged = by_features.cross_validated("knn", features, types, groups, 1)
    assert (judged.called == types).mean() < 0.8
    parted = by_features.cross_validated("knn", features, types, np.arange(80), 1)
    assert (parted.called == types).mean() > 0.95


def test_the_map_of_features_takes_anything_and_parts_what_is_apart() -> None:
    rng = np.random.default_rng(2)
    features = rng.normal(0, 1, (60, 9)) + np.repeat([[0.0], [30.0]], 30, 0)
    at = placed(features)
    near = np.linalg.norm(at[:30] - at[:30].mean(0), axis=1).max()
    assert np.linalg.norm(at[:30].mean(0) - at[30:].mean(0)) > near
    np.testing.assert_array_equal(at, placed(features))
    for few in (np.zeros((5, 3)), rng.normal(0, 1, (2, 3)), np.ones((1, 1))):
        assert placed(few).shape == (len(few), 2) and np.isfinite(placed(few)).all()


def test_f1() -> None:
    assert f1_of(0.5, 1.0) == pytest.approx(2 / 3)
    assert (f1_of(None, None), f1_of(None, 0.0), f1_of(0.0, 0.0)) == (None, 0.0, 0.0)


def test_a_network_of_another_kind_is_not_adapted_and_says_so(tmp_path: Path) -> None:
    torch.manual_seed(3)
    net = build("crp-2", len(KINDS), ClassifierSize(32)).eval()
    ready = finish.Calibrated(1.0, 0.5, 9.0, learn(np.random.default_rng(0).normal(0, 1, (60, 128)), np.arange(60) % 8))
    facts = replace(FACTS, arch="crp-2", mean=net.mean, std=net.std)
    weights = export_weights(calibrated_net(net, ready))
    folder = write_classifier(tmp_path / "crp", facts, onnx=export_classifier(net, ready), weights=weights)
    with pytest.raises(ModelError, match=r"it is a crp-2: only networks of the shipped kind can be adapted"):
        opened(folder)
