"""Detectors taught for an equally small budget from random weights, so that they can be ranked.

Laws. The budget is steps of canvases of one size in pixels: the machine's load decides how long a training takes, not
what it gives. A training that has not ended gives no figure: it stands in its folder, and the next run goes on from
there. What was left out of a training is nowhere in it.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pbsbatch.datasets.samples import CLASSES
from pbsbatch.nets.detector import DetectorNet
from pbsbatch.train.checkpoint import load_weights
from pbsbatch.train.detect import Cells, detect
from pbsbatch.train.detector import BEST, CHECKPOINT, Data, Run, Taught, begin, net_size, teach
from pbsbatch.train.fields import Loaded, load_training, load_validation
from pbsbatch.train.settings import Settings, read_settings

__all__ = ["Shelf", "Short", "short_settings"]

PACE = "pace.json"
Training = tuple[list[Loaded], NDArray[np.float64]]


def short_settings(course: Mapping[str, Any], own: Mapping[str, Any]) -> Settings:
    """Return the shipped detector's settings with a study's short course, and what is a training's own."""
    with resources.as_file(resources.files("pbsbatch.train") / "configs") as folder:
        usual = {"loaders": 0, "validate_every": 10**6, "int8_tiles": 0, "synthetic": {"share": 0.0}}
        return read_settings(folder / "detector.toml", {**usual, **course, **own})


@dataclass(frozen=True)
class Short:
    """A training that ended: its network, and what that finds in the fields to judge by."""

    settings: Settings
    folder: Path
    net: DetectorNet
    fields: Sequence[Loaded]
    cpu_minutes: float

    @cached_property
    def found(self) -> list[Cells]:
        return detect(self.net, self.fields, precision=self.settings.precision, nms_iou=self.settings.nms_iou)

    def of(self, source: str, *, others: bool = False) -> tuple[list[Loaded], list[Cells]]:
        """Return the fields of a source, or of all others, with what was found in them."""
        chosen = [i for i, field in enumerate(self.fields) if (field.source == source) != others]
        return [self.fields[i] for i in chosen], [self.found[i] for i in chosen]


class Shelf:
    """The trainings of a study in a folder, each by its settings; what several share is done and loaded once."""

    def __init__(self, folder: Path, data: Path, until: float = float("inf")) -> None:
        self.folder, self.data, self.until = folder, data, until
        self._training: dict[str, Training] = {}
        self._validation: dict[float, list[Loaded]] = {}

    def taught(self, settings: Settings, without: str = "") -> Short | None:
        """Return a training's end, None if it has not come yet. without: the source whose fields are left out."""
        torch.set_num_threads(1)
        told = json.dumps([settings.table(), without], sort_keys=True)
        output = self.folder / hashlib.sha256(told.encode()).hexdigest()[:16]
        output.mkdir(parents=True, exist_ok=True)
        fields = self._fields(settings)
        if not _ended(output, settings) and not self._teach(settings, without, fields, output):
            return None
        weights, _ = load_weights(output / BEST)
        net = DetectorNet(len(CLASSES), net_size(settings))
        net.load_state_dict(weights)
        spent = json.loads((output / PACE).read_text()) * settings.steps / 60
        return Short(settings, output, net.eval().to(memory_format=torch.channels_last), fields, spent)  # type: ignore[call-overload]

    def _teach(self, settings: Settings, without: str, fields: list[Loaded], output: Path) -> bool:
        """Go on with a training; say whether it has ended."""
        if time.monotonic() >= self.until:
            return False
        chosen, weights = self._fields_to_learn(settings)
        kept = [i for i, field in enumerate(chosen) if field.source != without]
        data = Data([chosen[i] for i in kept], weights[kept] / weights[kept].sum(), fields)
        run = begin(settings, output, torch.device("cpu"), resume=True)
        paces, before = [], time.process_time()
        for event in teach(run, data, output, lambda _: time.monotonic() >= self.until):
            now = time.process_time()
            if isinstance(event, Taught):
                paces.append(now - before)
            before = now
        if run.share < 1:
            _tell(run, without)
            return False
        (output / PACE).write_text(json.dumps(statistics.median(paces)))
        return True

    def _fields_to_learn(self, settings: Settings) -> Training:
        key = json.dumps([settings.table()[name] for name in ("data", "work_mpp", "synthetic", "balance", "rare")])
        if key not in self._training:
            self._training = {key: load_training(settings, self.data)}  # one at a time: memory
        return self._training[key]

    def _fields(self, settings: Settings) -> list[Loaded]:
        if settings.work_mpp not in self._validation:
            self._validation[settings.work_mpp] = load_validation(settings, self.data)
        return self._validation[settings.work_mpp]


def _ended(output: Path, settings: Settings) -> bool:
    return (output / PACE).exists() and load_weights(output / CHECKPOINT)[1]["step"] == settings.steps


def _tell(run: Run, without: str) -> None:
    about = f"{run.settings.work_mpp} um/px, {run.settings.network.channels}{', without ' * bool(without)}{without}"
    print(f"not complete: {about}: step {run.step} of {run.settings.steps}; run again to go on", file=sys.stderr)
