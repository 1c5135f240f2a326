"""A second opinion on white cells: another classifier looks at them, and what it says stands beside the first's word.

Laws. The first's word stays as it is, and every count with it. An opinion depends on the cell's own crop alone. They
disagree where both name a type and not the same; "unsure" and "abnormal_suspect" name none, and neither does a word of
a detector that was said to mean none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbsbatch.detections import DISAGREE, LOW_MARGIN, UNTYPED, Detections, unasked
from pbsbatch.differential import Differential
from pbsbatch.geometry import Tile
from pbsbatch.models.taxonomy import CALLED, TYPES
from pbsbatch.plan import Plan
from pbsbatch.rules import CLOSE_CHANCES

__all__ = ["SecondLook", "SecondOpinion"]


@dataclass(frozen=True, slots=True)
class SecondOpinion:
    """The first classifier, or none where the detector names types itself, and the one that is asked too."""

    first: Differential | None
    opinion: Differential
    types: tuple[str, ...]  # what the first's types are indices of
    means: tuple[int, ...]  # what each of them is in CALLED, UNTYPED where it is nothing that can be compared

    @property
    def second_types(self) -> tuple[str, ...]:
        """Return what the second types are indices of."""
        return CALLED

    @property
    def name(self) -> str:
        """Return who is asked."""
        asked = f"second opinion {self.opinion.name}"
        return f"the detector, {asked}" if self.first is None else f"{self.first.name}, {asked}"

    @property
    def reach_um(self) -> float:
        """Return the side of the larger crop."""
        return max(self.opinion.reach_um, self.first.reach_um if self.first else 0.0)

    @property
    def beside_bytes(self) -> int:
        """Return the memory that the second classifier takes; a worker's own holds the first."""
        return self.opinion.classifier.memory_bytes

    @property
    def identity(self) -> dict[str, Any]:
        """Return what decides types and opinions: part of the resume key, and told in every store."""
        asked = {name.removeprefix("classifier_"): said for name, said in self.opinion.identity.items()}
        asked["name"] = asked.pop("classifier")
        if self.first is None:
            asked["means"] = ",".join(
                f"{word}={'-' if i == UNTYPED else CALLED[i]}" for word, i in zip(self.types, self.means, strict=True)
            )
        return {**(self.first.identity if self.first else {}), "second_opinion": asked}

    def close(self) -> None:
        """Let go of the engines."""
        for one in (self.first, self.opinion):
            if one is not None:
                one.close()

    def look(self, cells: Detections, tile: Tile, plan: Plan, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """Return a crop for each white cell; where the two want other crops, a pair of them as `first` and `second`."""
        asked = self.opinion.look(cells, tile, plan, pixels)
        if self.first is None or self._alike:
            return asked
        own = self.first.look(cells, tile, plan, pixels)
        pairs = np.empty(len(own), [("first", "u1", own.shape[1:]), ("second", "u1", asked.shape[1:])])
        pairs["first"], pairs["second"] = own, asked
        return pairs

    def refine(self, cells: Detections, crops: NDArray[Any]) -> Detections:
        """Return the cells with types and opinions of those that `look` gave crops for."""
        if not len(crops):
            return cells
        paired = crops.dtype.names is not None
        white = cells.classes == self.opinion.white
        close = np.zeros(len(crops), np.bool_)
        if self.first is not None:
            own = self.first.ask(np.ascontiguousarray(crops["first"]) if paired else crops)
            cells, close = self.first.told(cells, own), own.margins < CLOSE_CHANCES
        asked = self.opinion.ask(np.ascontiguousarray(crops["second"]) if paired else crops)
        means = np.full(UNTYPED + 1, UNTYPED, np.uint8)
        means[: len(self.means)] = self.means
        said = means[cells.types[white]]
        differ = (said < len(TYPES)) & (asked.called < len(TYPES)) & (said != asked.called)
        close |= asked.margins < CLOSE_CHANCES
        second = unasked(len(cells))
        told = second[white]
        told["second_type"], told["second_score"] = asked.called, asked.chances
        told["second_flags"] = differ * DISAGREE | close * LOW_MARGIN
        second[white] = told
        return replace(cells, second=second)

    @property
    def _alike(self) -> bool:
        """Say whether both want the same crops."""
        assert self.first is not None
        one, other = self.first.classifier.folder.facts, self.opinion.classifier.folder.facts
        return (one.crop_px, one.crop_mpp) == (other.crop_px, other.crop_mpp)


SecondLook = Differential | SecondOpinion
"""Who looks at white cells again."""
