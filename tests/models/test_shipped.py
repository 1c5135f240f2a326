"""The models that come with the package: whole, small, and good on smears that training never saw."""

from __future__ import annotations

import re

import numpy as np
import pytest

from pbsbatch import engines, models
from pbsbatch.evaluate import fields_found, fields_truth, verdicts
from pbsbatch.models.dense import DenseModel
from pbsbatch.models.load import SHIPPED, built_in
from pbsbatch.synth import CLASSES, STAINS, Scene

DETECTORS = [name for name in built_in() if name != "classical"]
MARGIN = 48


def test_there_is_a_detector_and_all_weights_are_small() -> None:
    assert "smear" in DETECTORS
    assert sum(f.stat().st_size for f in SHIPPED.rglob("*") if f.is_file()) < 15e6


@pytest.mark.parametrize("name", DETECTORS)
def test_its_facts_say_where_it_comes_from_and_how_good_it_is(name: str) -> None:
    model = models.load(name)
    assert isinstance(model, DenseModel)
    facts = model.folder.facts
    assert facts.training_data and facts.licence
    assert facts.metrics["validation"]["map50"] > 0.9
    assert all(0.05 < threshold < 0.99 for threshold in facts.thresholds)


@pytest.mark.parametrize("name", DETECTORS)
def test_its_card_is_of_this_version_and_shows_its_picture(name: str) -> None:
    model = models.load(name)
    assert isinstance(model, DenseModel)
    card = model.folder.path / "CARD.md"
    text = card.read_text(encoding="utf-8")
    assert text.splitlines()[0] == f"# {name} {model.spec.version}"
    shown = [card.parent / link for link in re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)]
    assert shown and all(picture.stat().st_size < 400_000 for picture in shown)


@pytest.mark.parametrize("precision", ["fp32", "auto"])
@pytest.mark.parametrize("name", DETECTORS)
def test_it_counts_and_outlines_drawn_smears(name: str, precision: str) -> None:
    """A fall of the shipped model by an export, an engine or a decoding would show here."""
    model = models.load(name)
    engine = engines.load(model, precision=precision, threads=1)
    side = 608
    true_boxes, true_classes, boxes, classes, scores, ious = [], [], [], [], [], []
    for seed, stain in enumerate(STAINS[:3]):
        scene = Scene(side, side, model.spec.work_mpp, 4000 + seed, stain=stain)
        pixels = np.pad(
            scene.render(0, 0, side, side), ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), constant_values=255
        )
        found = model.decode(engine(pixels[None]), 0, {})
        truth = scene.cells(0, 0, side, side)
        whole = (truth.boxes[:, :2] >= 0).all(1) & (truth.boxes[:, 2:] <= side).all(1)
        true_boxes.append(truth.boxes.clip(0, side).astype(float))
        true_classes.append(truth.classes)
        boxes.append((found.boxes - MARGIN).clip(0, side).astype(float))
        classes.append(found.classes)
        scores.append(found.scores)
        ids = np.full((side, side), -1)
        for i, (x, y, w, h) in enumerate(found.windows.tolist()):
            part = ids[max(0, y - MARGIN) : max(0, y - MARGIN + h), max(0, x - MARGIN) : max(0, x - MARGIN + w)]
            mask = found.masks[i][max(0, MARGIN - y) :, max(0, MARGIN - x) :][: part.shape[0], : part.shape[1]]
            part[: mask.shape[0], : mask.shape[1]][mask] = i
        for j in np.flatnonzero(whole):
            x0, y0, x1, y1 = truth.boxes[j].tolist()
            mask = truth.mask(j)
            inside = ids[y0:y1, x0:x1][mask]
            best = np.bincount(inside[inside >= 0], minlength=1).argmax() if (inside >= 0).any() else -1
            if best >= 0:
                both = (inside == best).sum()
                ious.append(both / (mask.sum() + (ids == best).sum() - both))
    engine.close()
    seen = verdicts(fields_truth(true_boxes, true_classes), fields_found(boxes, classes, scores), len(CLASSES)).at(
        [0.0]
    )
    assert (seen.f1[:, 0] > [0.95, 0.9, 0.8]).all(), seen.f1[:, 0]
    assert np.median(ious) > 0.88
