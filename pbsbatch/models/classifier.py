"""The classifier of white cells: from a crop's raw output to a type, or to the word that it is none for certain."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pbsbatch.errors import EngineError
from pbsbatch.models.base import Raw
from pbsbatch.models.classifier_facts import CLASSIFIER_OUTPUTS
from pbsbatch.models.folder import ClassifierFolder
from pbsbatch.models.taxonomy import CALLED, chances_of, labels, name_cells

__all__ = ["CLASSIFIER_VERSION", "CellClassifier"]

CLASSIFIER_VERSION = 1
"""Raise it with every change of cutting or naming that can change a result: it is part of the resume key."""


@dataclass(frozen=True, slots=True)
class CellClassifier:
    """A classifier's folder as what names cells. Engines take the network from the folder. Picklable."""

    folder: ClassifierFolder

    @property
    def name(self) -> str:
        return self.folder.facts.name

    @property
    def digest(self) -> str:
        """Return what holds all that decides the results."""
        return hashlib.sha256(f"{CLASSIFIER_VERSION} {self.folder.digest}".encode()).hexdigest()

    def names(self, raw: Raw) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Return the index in taxonomy.CALLED of each cell of a batch, and the chance of its likeliest type."""
        facts = self.folder.facts
        try:
            logits, strangeness = (np.asarray(raw[name], np.float64) for name in CLASSIFIER_OUTPUTS)
            chances = chances_of(logits)
            named = name_cells(chances, strangeness, sure_from=facts.sure_from, strange_from=facts.strange_from)
        except (KeyError, IndexError, ValueError) as error:
            raise EngineError(
                f"the engine's output does not fit the classifier {facts.name}: {error}",
                cure="Try --engine torch, and report this",
            ) from error
        called = np.array([CALLED.index(word) for word in labels(named)], np.uint8)
        return called, named.chances.astype(np.float32)
