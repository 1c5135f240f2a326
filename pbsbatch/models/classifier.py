"""The classifier of white cells: from a crop's raw output to a type, or to the word that it is none for certain."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pbsbatch.errors import EngineError
from pbsbatch.models.base import Raw
from pbsbatch.models.classifier_facts import CLASSIFIER_OUTPUTS
from pbsbatch.models.folder import ONNX, ClassifierFolder
from pbsbatch.models.taxonomy import CALLED, chances_of, labels, name_cells, of_types

__all__ = ["CLASSIFIER_VERSION", "Asked", "CellClassifier"]

CLASSIFIER_VERSION = 1
"""Raise it with every change of cutting or naming that can change a result: it is part of the resume key."""


WEIGHTS_TIMES, BESIDE_BYTES, BYTES_PER_CROP_PX = 6, 50_000_000, 2000
"""Memory of a classifier beside a detector, by its model.onnx, which holds weights in halves, and by its crop. Measured
in OpenVINO beside the shipped one, on two cores: 252 MB for a ResNet50 of 46 MB, 161 for a VGG16 of 28, at 96 px."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a classifier says of cells."""

    called: NDArray[np.uint8]  # index in taxonomy.CALLED
    chances: NDArray[np.float32]  # of the likeliest type
    margins: NDArray[np.float64]  # by how much that is likelier than the next one


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

    @property
    def memory_bytes(self) -> int:
        """Return what a run needs to have it beside the detector."""
        weights = sum((self.folder.path / name).stat().st_size for name in self.folder.files if name == ONNX)
        return BESIDE_BYTES + WEIGHTS_TIMES * weights + BYTES_PER_CROP_PX * self.folder.facts.crop_px**2

    def names(self, raw: Raw) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Return the index in taxonomy.CALLED of each cell of a batch, and the chance of its likeliest type."""
        asked = self.asked(raw)
        return asked.called, asked.chances

    def asked(self, raw: Raw) -> Asked:
        """Return what the network's output says of each cell of a batch."""
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
        best = np.partition(of_types(chances), -2, axis=1)
        return Asked(called, named.chances.astype(np.float32), best[:, -1] - best[:, -2])
