"""Which of a target's crops show no cell: by how strange they are to the classifier, beside the others.

Laws. A whole laboratory may look strange; left out is what is strange among its own: beyond what the classifier calls
strange, and far beyond the middle of the target's cells. A cell that a person labelled is never left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pbsbatch.train.adapt.glasses import Glasses
from pbsbatch.train.adapt.task import Model
from pbsbatch.train.classifier.pictures import Cell

__all__ = ["strangers"]

FAR = 5.0
"""Scaled median deviations from the middle."""


def strangers(model: Model, cells: Sequence[Cell], glasses: Glasses) -> tuple[NDArray[np.bool_], float]:
    """Say which cells are none, and which share of all the classifier calls strange."""
    strange = model.ordinary.of(model.look(glasses.crops(cells, model))[1])
    middle = np.median(strange)
    spread = 1.4826 * np.median(np.abs(strange - middle))
    unnamed = np.array([not cell.label for cell in cells])
    none = unnamed & (strange > max(model.facts.strange_from, middle + FAR * spread))
    return np.asarray(none, np.bool_), float((strange > model.facts.strange_from).mean())
