"""End a classifier's training: chances that mean something, when to be unsure, what is strange, and how good it is.

Laws. Temperature and thresholds are set on the calibration split; the hold-out is looked at once, here. What is
measured went through fp32. What is strange is what is unlike taught crops, in whichever laboratory's colours: held
against plain pictures alone, a quarter of another laboratory's cells was strange.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pbsbatch.errors import UsageError
from pbsbatch.models.taxonomy import KINDS, Named, chances_of, name_cells, of_types
from pbsbatch.nets.architectures import build
from pbsbatch.nets.classifier import KindsNet
from pbsbatch.train.checkpoint import load_weights
from pbsbatch.train.classifier.judge import Report, judge, log_loss
from pbsbatch.train.classifier.look import crops_of, look
from pbsbatch.train.classifier.loop import cutter_of
from pbsbatch.train.classifier.outliers import outliers
from pbsbatch.train.classifier.pictures import Split
from pbsbatch.train.classifier.settings import Settings
from pbsbatch.train.classifier.strange import Strangeness, learn
from pbsbatch.train.detector import BEST

__all__ = ["Calibrated", "Finished", "best_net", "calibrate", "finish", "temperature_of"]

F64 = NDArray[np.float64]

RIGHT = 0.99
"""Share of the sure calibration cells that are right."""
ORDINARY = 0.99
"""Share of the calibration split's crops that are not strange."""
TEMPERATURES = np.exp(np.linspace(np.log(0.2), np.log(5.0), 161))
OUTLIERS, SEED = 400, 1
TAUGHT = 4000
"""Crops that say what is ordinary."""


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What turns logits and features into names."""

    temperature: float
    sure_from: float
    strange_from: float
    strangeness: Strangeness

    def names(self, logits: F64, features: F64) -> Named:
        """Return what cells are."""
        chances, strange = chances_of(logits, self.temperature), self.strangeness.of(features)
        return name_cells(chances, strange, sure_from=self.sure_from, strange_from=self.strange_from)


@dataclass(frozen=True, slots=True)
class Sureness:
    """How often a classifier is unsure of some cells, and how often it is right where it is sure."""

    cells: int
    unsure: float
    abnormal: float
    right_of_sure: float | None


@dataclass(frozen=True, slots=True)
class Finished:
    """A classifier that is ready, and how good it is on cells that decided nothing about it."""

    net: KindsNet
    step: int
    calibrated: Calibrated
    report: Report
    sureness: Sureness
    noticed: Mapping[str, Sureness]  # by set of outliers

    def metrics(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "step": self.step, "temperature": self.calibrated.temperature, "sure_from": self.calibrated.sure_from,
            "strange_from": self.calibrated.strange_from, "hold_out": self.report.table(),
            "sureness": asdict(self.sureness), "outliers": {k: asdict(v) for k, v in self.noticed.items()},
        }  # fmt: skip


def finish(settings: Settings, output: Path, splits: Mapping[str, Split], device: torch.device) -> Finished:
    """Return a run's best network, calibrated and judged."""
    net, step = best_net(settings, output, device)
    seen = {part: look(net, crops_of(settings, splits[part].cells)) for part in ("calibration", "hold-out")}
    strangeness = learn(*_taught(settings, net, splits["train"], TAUGHT))
    dressed, _ = _taught(settings, net, splits["calibration"], TAUGHT)
    calibrated = calibrate(*seen["calibration"], splits["calibration"].types, strangeness, dressed)
    held = splits["hold-out"]
    logits, features = seen["hold-out"]
    noticed = {
        kind: _sureness(calibrated.names(*look(net, crops)), None)
        for kind, crops in outliers(settings, held.cells, OUTLIERS, SEED).items()
    }
    report = judge(chances_of(logits, calibrated.temperature), held.types)
    return Finished(net, step, calibrated, report, _sureness(calibrated.names(logits, features), held.types), noticed)


def _taught(settings: Settings, net: KindsNet, split: Split, count: int) -> tuple[F64, NDArray[np.int64]]:
    """Return the features of crops as training makes them of a split's cells, and their types."""
    cutter = cutter_of(settings, split)
    made = [cutter.cut(settings.seed + 1, number) for number in range(count)]
    _, features = look(net, [crop for crop, _ in made])
    return features, split.types[[which for _, which in made]]


def best_net(settings: Settings, output: Path, device: torch.device) -> tuple[KindsNet, int]:
    """Return the network with the best averaged weights, and the step they are of."""
    if not (output / BEST).exists():
        raise UsageError("nothing was judged yet", path=output / BEST, cure="Train on with --resume")
    tensors, rest = load_weights(output / BEST)
    net = build(settings.arch, len(KINDS), settings.size)
    net.load_state_dict(tensors)
    return net.eval().to(device, memory_format=torch.channels_last), int(rest["step"])  # type: ignore[call-overload]


def calibrate(
    logits: F64, features: F64, types: NDArray[np.int64], strangeness: Strangeness, dressed: F64 | None = None
) -> Calibrated:
    """Return temperature and thresholds from cells that taught nothing.

    dressed: features of such cells in other laboratories' colours; what is ordinary is said by them.
    """
    temperature = temperature_of(logits, types)
    strange = strangeness.of(features)
    usual = strange if dressed is None else strangeness.of(dressed)
    strange_from = float(np.quantile(usual, ORDINARY, method="higher"))
    chances = of_types(chances_of(logits, temperature))
    ordinary = strange <= strange_from
    right = (chances.argmax(1) == types)[ordinary]
    return Calibrated(temperature, _sure_from(chances.max(1)[ordinary], right), strange_from, strangeness)


def temperature_of(logits: F64, types: NDArray[np.int64]) -> float:
    """Return the temperature that makes the types' chances the likeliest (Guo 2017)."""
    losses = [log_loss(of_types(chances_of(logits, t)), types) for t in TEMPERATURES]
    return float(TEMPERATURES[int(np.argmin(losses))])


def _sure_from(chance: F64, right: NDArray[np.bool_]) -> float:
    """Return the lowest chance from which on so many are right; above 1, so that none is sure, where there is none."""
    order = np.argsort(-chance, kind="stable")
    share = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    last_of_ties = np.append(np.diff(chance[order]) < 0, True)
    good = np.flatnonzero((share >= RIGHT) & last_of_ties)
    return float(chance[order][good[-1]]) if len(good) else 1.01


def _sureness(named: Named, types: NDArray[np.int64] | None) -> Sureness:
    sure = ~named.unsure
    right = None if types is None or not sure.any() else float((named.types == types)[sure].mean())
    return Sureness(len(sure), float(named.unsure.mean()), float(named.abnormal.mean()), right)
