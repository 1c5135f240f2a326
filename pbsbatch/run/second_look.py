"""Which classifier names the white cells of a run, if any: from settings to what the pipeline calls."""

from __future__ import annotations

from pbsbatch import models
from pbsbatch.config import Config
from pbsbatch.differential import WHITE, Differential
from pbsbatch.engines.load import load_classifier as load_engine
from pbsbatch.models.base import Model

__all__ = ["nobody", "reach_um", "second_look"]


def second_look(config: Config, model: Model, asked: str = "") -> Differential | None:
    """Return the second look at white cells, with an engine of this process; None where none is wanted.

    asked: the engine as NAME:PRECISION; "" is PyTorch where the detector's engine was asked to be that, else the
    fastest on this processor. A detector that knows no white cells gives nothing to look at again, one that gives cells
    types has said its own.
    """
    if not _wanted(config, model):
        return None
    classifier = models.load_classifier(config.classifier)
    usual = "torch" if config.engine.partition(":")[0] == "torch" else "auto"
    name, _, precision = (asked or usual).partition(":")
    engine = load_engine(classifier, name, precision=precision or "auto")
    return Differential(classifier, engine, model.spec.classes.index(WHITE))


def nobody(config: Config, model: Model, asked: str = "") -> Differential | None:
    """Leave white cells without a type."""
    return None


def reach_um(config: Config, model: Model) -> float:
    """Return the side of the crops that a run will cut, 0 where it cuts none; no engine is started."""
    if not _wanted(config, model):
        return 0.0
    facts = models.load_classifier(config.classifier).folder.facts
    return facts.crop_px * facts.crop_mpp


def _wanted(config: Config, model: Model) -> bool:
    return config.differential and WHITE in model.spec.classes and not model.spec.types
