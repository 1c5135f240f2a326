"""A model at other thresholds than its own: what `tune` found, as a config file says it.

Law: the network stays; what is chosen from its output follows the settings. A model that chooses within its network
keeps its suppression, and thresholds can only raise its own; it is refused by name where more is asked.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pbsbatch.config import Config
from pbsbatch.errors import UsageError
from pbsbatch.models.base import Model
from pbsbatch.models.candidates import OffersCandidates

__all__ = ["Adjustable", "at_operating_point", "least_scores"]


@runtime_checkable
class Adjustable(OffersCandidates, Protocol):
    """A model whose thresholds and suppression can be set."""

    def at(self, thresholds: tuple[float, ...], nms_iou: float) -> Model:
        """Return the same network with other thresholds, one for each class, and another suppression."""
        ...


def least_scores(model: Model, config: Config) -> NDArray[np.float32]:
    """Return the score below which cells of each class are left out of what the model gives."""
    asked = dict(config.thresholds)
    floor = config.score_threshold or 0.0
    return np.array([max(floor, asked.get(name, 0.0)) for name in model.spec.classes], np.float32)


def at_operating_point(model: Model, config: Config) -> Model:
    """Return the model as the settings want it: itself where they want nothing."""
    if config.keep_candidates and not isinstance(model, OffersCandidates):
        raise UsageError(
            f"the model {model.spec.name} keeps no candidates: it chooses within its network",
            cure="Leave out --keep-candidates; tune its thresholds on what it found",
        )
    if not config.thresholds and config.nms_iou is None:
        return model
    classes = model.spec.classes
    unknown = [name for name, _ in config.thresholds if name not in classes]
    if unknown:
        raise UsageError(
            f"thresholds name the class {unknown[0]!r}", cure=f"The model {model.spec.name} has {', '.join(classes)}"
        )
    if not isinstance(model, Adjustable):
        if config.nms_iou is None:
            return model  # `least_scores` cuts what it gives
        raise UsageError(
            f"the model {model.spec.name} takes no nms_iou: it chooses within its network",
            cure="Leave it out of the config file; thresholds work with every model",
        )
    asked = dict(config.thresholds)
    least = tuple(asked.get(name, own) for name, own in zip(classes, model.thresholds, strict=True))
    return model.at(least, model.limits[0] if config.nms_iou is None else config.nms_iou)
