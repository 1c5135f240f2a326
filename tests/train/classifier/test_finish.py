"""Calibration holds what it promises on the cells that it was set by, and a whole run ends in figures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pbsbatch.engines.load import load_classifier
from pbsbatch.errors import UsageError
from pbsbatch.models.classifier import CellClassifier
from pbsbatch.models.folder import read_classifier
from pbsbatch.models.taxonomy import KINDS, TYPES, chances_of, kinds_of, of_types
from pbsbatch.train.classifier import finish as module
from pbsbatch.train.classifier.finish import calibrate, finish, temperature_of
from pbsbatch.train.classifier.look import crops_of
from pbsbatch.train.classifier.outliers import OUTLIERS, outliers
from pbsbatch.train.classifier.strange import learn
from pbsbatch.train.classifier.train import train
from pbsbatch.train.finish import MODEL
from tests.train.classifier.tiny import splits, tiny_settings, trained, write_cells

FIRST = np.array([kinds_of(each)[0] for each in TYPES])


def draw(seed: int, count: int, margin: float = 2.5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return logits, features and types of cells of which some are hard."""
    rng = np.random.default_rng(seed)
    types = rng.integers(0, 8, count)
    logits = rng.normal(0, 1, (count, len(KINDS)))
    logits[np.arange(count), FIRST[types]] += margin * rng.random(count) ** 0.5
    features = rng.normal(0, 1, (count, 6)) + types[:, None]
    return logits, features, types


@given(st.integers(0, 2**31), st.floats(0.5, 2))
def test_the_temperature_undoes_a_boast(seed: int, boast: float) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (2000, len(KINDS)))
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    kinds = (rng.random((2000, 1)) > chances.cumsum(1)).sum(1).clip(0, len(KINDS) - 1)
    types = np.array([t for t, each in enumerate(TYPES) for _ in kinds_of(each)])[kinds]
    assert temperature_of(logits * boast, types) == pytest.approx(boast, rel=0.15)


@given(st.integers(0, 2**31), st.floats(0.5, 8))
def test_the_sure_ones_are_right_and_few_are_strange(seed: int, margin: float) -> None:
    logits, features, types = draw(seed, 400, margin)
    made = calibrate(logits, features, types, learn(features[:200], types[:200]))
    named = made.names(logits, features)
    sure = ~named.unsure
    assert not sure.any() or (named.types == types)[sure].mean() >= 0.99
    assert named.abnormal.mean() <= 0.01
    order = np.argsort(-named.chances[~named.abnormal], kind="stable")
    right = (named.types == types)[~named.abnormal][order]
    share = np.cumsum(right) / np.arange(1, len(right) + 1)
    assert sure.sum() == (np.flatnonzero(share >= 0.99)[-1] + 1 if (share >= 0.99).any() else 0)


def test_where_nothing_is_right_enough_none_is_sure() -> None:
    logits, features, types = draw(1, 50)
    wrong = (types + 1) % 8
    named = calibrate(logits * 0, features, wrong * 0 + 7, learn(features, types)).names(logits * 0, features)
    assert named.unsure.all()


def test_far_away_is_abnormal_however_sure() -> None:
    logits, features, types = draw(1, 300, 9.0)
    made = calibrate(logits, features, types, learn(features, types))
    named = made.names(np.eye(len(KINDS))[:1] * 50, np.full((1, 6), 99.0))
    assert named.abnormal.all() and named.unsure.all() and named.chances[0] > 0.99


def test_a_whole_training_stops_goes_on_and_ends_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OUTLIERS", 2)
    root, output = write_cells(tmp_path / "data"), tmp_path / "run"
    settings, cpu = tiny_settings(tmp_path, steps=6, validate_every=3), torch.device("cpu")
    steps: list[int] = []
    assert (
        train(settings, root, output, cpu, stop=lambda: len(steps) == 2, on_event=lambda e: steps.append(e.step))
        is None
    )
    assert not (output / MODEL).exists()
    done = train(settings, root, output, cpu, resume=True)
    assert done is not None
    folder = read_classifier(output / MODEL)
    facts = folder.facts
    assert facts.metrics["pictures"]["pictures"] == 96
    assert facts.metrics["hold_out"]["accuracy"] == done.report.accuracy
    assert facts.training_data == (("cells", "CC0"),) and facts.crop_px == settings.crop_px
    classifier = CellClassifier(folder)
    crops = np.stack(crops_of(settings, splits(root)["hold-out"].cells))
    for asked in ("openvino", "torch"):
        engine = load_classifier(classifier, asked, precision="fp32", threads=1)
        raw = engine(crops)
        types = of_types(chances_of(np.asarray(raw["logits"], np.float64))).argmax(1)
        assert np.mean(types == splits(root)["hold-out"].types) == pytest.approx(done.report.accuracy, abs=0.06)
        assert len(classifier.names(raw)[0]) == len(crops)
        engine.close()


def test_a_run_ends_in_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OUTLIERS", 4)
    parts = splits(write_cells(tmp_path))
    settings = tiny_settings(tmp_path, steps=8)
    with pytest.raises(UsageError, match="nothing was judged yet"):
        finish(settings, tmp_path, parts, torch.device("cpu"))
    trained(settings, parts, tmp_path)
    done = finish(settings, tmp_path, parts, torch.device("cpu"))
    assert done.report.cells == done.sureness.cells == len(parts["hold-out"].cells)
    table = json.loads(json.dumps(done.metrics(), allow_nan=False))
    assert set(table["outliers"]) == set(OUTLIERS) and table["step"] in (6, 8)


def test_outliers_are_crops_and_the_same_each_time(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path)
    cells = splits(write_cells(tmp_path))["hold-out"].cells
    first, again = (outliers(settings, cells, 3, 5) for _ in range(2))
    for name, crops in first.items():
        assert len(crops) == 3 and all(c.shape == (32, 32, 3) and c.dtype == np.uint8 for c in crops)
        np.testing.assert_array_equal(np.stack(crops), np.stack(again[name]))
