"""A model at other thresholds than its own: what `tune` found, as a config file says it, or a study's by name.

Law: the network stays; what is chosen from its output follows the settings. Thresholds that are said win over a
preset's. A model that chooses within its network keeps its suppression, and thresholds can only raise its own; it is
refused by name where more is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pbsbatch.config import Config
from pbsbatch.errors import UsageError
from pbsbatch.models.base import Model
from pbsbatch.models.candidates import OffersCandidates
from pbsbatch.models.presets import point_of

__all__ = ["Adjustable", "at_operating_point", "least_scores"]


@runtime_checkable
class Adjustable(Protocol):
    """A model whose thresholds and suppression can be set."""

    def at(self, thresholds: Mapping[str, float], nms_iou: float | None) -> Model:
        """Return the same network with other thresholds of some classes, and another suppression unless None."""
        ...


def least_scores(model: Model, config: Config) -> NDArray[np.float32]:
    """Return the score below which cells of each class are left out of what the model gives."""
    asked, floor = _asked(model, config), config.score_threshold or 0.0
    return np.array([max(floor, asked.get(name, 0.0)) for name in model.spec.classes], np.float32)


def at_operating_point(model: Model, config: Config) -> Model:
    """Return the model as the settings want it: itself where they want nothing."""
    if config.keep_candidates and not isinstance(model, OffersCandidates):
        raise UsageError(
            f"the model {model.spec.name} keeps no candidates: it chooses within its network",
            cure="Leave out --keep-candidates; tune its thresholds on what it found",
        )
    asked, nms_iou = _asked(model, config), config.nms_iou
    if nms_iou is None and config.preset is not None:
        nms_iou = point_of(config.preset).nms_iou
    if not asked and nms_iou is None:
        return model
    unknown = [name for name in asked if name not in model.spec.classes]
    if unknown:
        raise UsageError(
            f"thresholds name the class {unknown[0]!r}",
            cure=f"The model {model.spec.name} has {', '.join(model.spec.classes)}",
        )
    if not isinstance(model, Adjustable):
        if nms_iou is None:
            return model  # `least_scores` cuts what it gives
        raise UsageError(
            f"the model {model.spec.name} takes no nms_iou: it chooses within its network",
            cure="Leave out nms_iou, or the preset that has one; thresholds work with every model",
        )
    return model.at(asked, nms_iou)


def _asked(model: Model, config: Config) -> dict[str, float]:
    """Return the thresholds that the settings say, by class."""
    preset = {} if config.preset is None else point_of(config.preset).thresholds(model.spec.classes)
    return preset | dict(config.thresholds)
