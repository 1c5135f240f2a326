"""The classifier that comes with the package names cells that its training never saw, on every engine."""

from __future__ import annotations

from importlib import resources

import numpy as np
import pytest

from pbsbatch.engines.load import load_classifier as load_engine
from pbsbatch.engines.processor import has_bf16
from pbsbatch.models import load_classifier
from pbsbatch.models.load import classifiers
from pbsbatch.models.taxonomy import CALLED, KINDS, TYPES, UNSURE
from tests.data import data

EACH = 25
"""Held-out cells of each type that are looked at."""


@pytest.mark.parametrize("name", classifiers())
def test_its_facts_say_where_it_comes_from_and_how_good_it_is(name: str) -> None:
    facts = load_classifier(name).folder.facts
    assert facts.kinds == KINDS and facts.training_data and facts.licence
    assert facts.metrics["hold_out"]["accuracy"] > 0.95 and facts.metrics["hold_out"]["calibration_error"] < 0.03
    assert 0.5 < facts.sure_from < 1 and facts.strange_from > 0


@pytest.mark.skipif(not has_bf16(), reason="this processor does not compute in bf16")
def test_the_gate_lets_it_through_in_bf16() -> None:
    engine = load_engine(load_classifier("differential"), threads=1)
    assert engine.precision == "bf16" and any("runs on openvino bf16" in note for note in engine.notes), engine.notes
    engine.close()


@pytest.mark.parametrize("asked", ["auto", "openvino:fp32", "torch"])
def test_it_names_cells_that_it_never_saw(asked: str) -> None:
    """A fall of the shipped classifier by an export, an engine or a crop would show here."""
    pbc = data("pbc")
    from pbsbatch.train.classifier.crops import plain
    from pbsbatch.train.classifier.pictures import load
    from pbsbatch.train.classifier.settings import read_settings

    classifier = load_classifier("differential")
    facts = classifier.folder.facts
    with resources.as_file(resources.files("pbsbatch.train") / "configs") as folder:
        held = load(read_settings(folder / "classifier.toml"), pbc.parent)[0]["hold-out"]
    chosen = np.concatenate([np.flatnonzero(held.types == t)[:EACH] for t in range(len(TYPES))])
    crops = np.stack([plain(held.cells[i], facts.crop_px, facts.crop_mpp) for i in chosen])
    name, _, precision = asked.partition(":")
    engine = load_engine(classifier, name, precision=precision or "auto", threads=1)
    called, chances = classifier.names(engine(crops))
    engine.close()
    sure = called < CALLED.index(UNSURE)
    right = (called == held.types[chosen])[sure].mean()
    assert sure.mean() > 0.85 and right > 0.97, f"{sure.mean():.3f} sure, of which {right:.3f} right"
    assert chances.min() > 1 / len(TYPES)
