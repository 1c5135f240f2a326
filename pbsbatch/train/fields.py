"""Bring labelled fields into memory: chosen by name, outlined, shrunk towards the working scale, weighed.

Law: a field is decoded once. Fields of a small source count more than those of a large one, so that no laboratory
drowns another; those that show platelets, of which there are few, count as much more as the settings say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pbsbatch.datasets.pixels import resized
from pbsbatch.datasets.readers import DataSet, read
from pbsbatch.datasets.readers.vocabulary import Vocabulary
from pbsbatch.datasets.samples import PLATELET, RED, Sample
from pbsbatch.errors import UsageError
from pbsbatch.train.refine import refined_outlines
from pbsbatch.train.settings import DataTable, Synthetic

__all__ = ["Loaded", "load_training", "load_validation", "loaded"]

LARGEST = 2.5
"""Red cells are kept at most so much larger than at the working scale: shrinking twice blurs, and runs shrink once."""


@dataclass(frozen=True, slots=True, eq=False)
class Loaded(Sample):
    """A sample whose pixels lie decoded in memory."""

    pixels: NDArray[np.uint8]

    @property
    def image(self) -> NDArray[np.uint8]:
        """Return the pixels (H, W, 3) RGB."""
        return self.pixels


class FieldSettings(Protocol):
    """What the settings of any detector's training say of fields."""

    @property
    def data(self) -> tuple[DataTable, ...]: ...
    @property
    def validation(self) -> tuple[DataTable, ...]: ...
    @property
    def balance(self) -> float: ...
    @property
    def rare(self) -> float: ...
    @property
    def red_cell_px(self) -> float: ...
    @property
    def synthetic(self) -> Synthetic: ...
    @property
    def seed(self) -> int: ...


def load_training(
    settings: FieldSettings, root: Path, words: Vocabulary | None = None
) -> tuple[list[Loaded], NDArray[np.float64]]:
    """Return the fields to train on and how likely each is to be taken. words: see datasets.readers.read."""
    most = LARGEST * settings.red_cell_px
    out: list[Loaded] = []
    weights: list[NDArray[np.float64]] = []
    for table in settings.data:
        samples = chosen(table, root, words)
        sizes = Counter(s.source for s in samples)
        shown = [1 + settings.rare * bool((s.alike == PLATELET).any()) for s in samples]
        weights.append(
            np.array(
                [table.weight * sizes[s.source] ** -settings.balance * n for s, n in zip(samples, shown, strict=True)]
            )
        )
        out += [outlined(loaded(s, min(1.0, most / s.red_cell_px))) for s in samples]
    drawn = [loaded(s, min(1.0, most / s.red_cell_px)) for s in _drawn(settings)]
    real = np.concatenate(weights) if weights else np.zeros(0)
    share = settings.synthetic.share
    if len(real) and not real.sum() > 0:
        raise UsageError("every data set has weight 0", cure="Give one of them a weight")
    if share == 1:
        return drawn, np.full(len(drawn), 1.0 / len(drawn))
    parts = [real / real.sum() * (1 - share), np.full(len(drawn), share / max(1, len(drawn)))]
    return out + drawn, np.concatenate(parts)


def load_validation(settings: FieldSettings, root: Path, words: Vocabulary | None = None) -> list[Loaded]:
    """Return the fields to judge by, at the working scale."""
    samples = (s for table in settings.validation for s in chosen(table, root, words))
    return [loaded(s, settings.red_cell_px / s.red_cell_px) for s in samples]


def chosen(table: DataTable, root: Path, words: Vocabulary | None = None) -> list[Sample]:
    """Return the samples of a data set that its patterns choose. Law: a pattern that fits no field is an error."""
    scale = table.red_cell_px or float("nan")
    data = DataSet(root / table.path, table.format, table.split, table.source, table.complete, scale)
    samples, _ = read(data, skip_bad=table.skip_bad, words=words)
    for pattern in (*table.only, *table.without):
        if not any(fnmatchcase(s.name, pattern) for s in samples):
            raise UsageError(f"no field is called {pattern!r}", path=data.root, cure="Mend the list of fields")
    kept = [s for s in samples if not table.only or _fits(s.name, table.only)]
    kept = [s for s in kept if not _fits(s.name, table.without)]
    if not kept:
        raise UsageError("its patterns leave no field", path=data.root, cure="Mend only and without")
    return kept


def loaded(sample: Sample, zoom: float) -> Loaded:
    """Return a sample decoded and resized."""
    pixels = sample.image
    height, width = pixels.shape[:2]
    size = (max(1, round(width * zoom)), max(1, round(height * zoom)))
    pixels = resized(pixels, size)
    ratio = np.array([size[0] / width, size[1] / height] * 2, np.float32)
    return Loaded(
        name=sample.name, source=sample.source, encoded=b"", size=size, boxes=sample.boxes * ratio,
        classes=sample.classes, outlines=sample.outlines, unsure=sample.unsure * ratio,
        red_cell_px=sample.red_cell_px * float(np.sqrt(ratio[0] * ratio[1])), pixels=pixels, names=sample.names,
        likes=sample.likes,
    )  # fmt: skip


def outlined(sample: Loaded) -> Loaded:
    """Return a sample with an outline for every cell that shows one."""
    known = np.isfinite(sample.outlines)
    if known.all():
        return sample
    alike = np.maximum(sample.alike, RED).astype(np.uint8)  # what is like none is outlined as most cells are
    found = refined_outlines(sample.pixels, sample.boxes, alike, sample.red_cell_px)
    return replace(sample, outlines=np.where(known, sample.outlines, found))


def _drawn(settings: FieldSettings) -> Iterator[Sample]:
    asked = settings.synthetic
    if asked.share > 0:
        from pbsbatch.train.synthetic import synthetic_samples  # drawing compiles kernels: only where it is asked for

        yield from synthetic_samples(asked.fields, settings.seed, asked.size_px, settings.red_cell_px)


def _fits(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
