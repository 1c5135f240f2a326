"""Teach the classifier: a plain loop that says what happens as events.

Laws. On one kind of CPU the same settings and data give the same weights, with or without a break, unless the
settings say how long instead of how far. What is judged and kept as best are the averaged weights, by their log loss
on the calibration split; the hold-out is never looked at here. A loss that is not finite stops the run before it
harms the weights.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from pbsbatch.errors import UsageError
from pbsbatch.models.taxonomy import KINDS, chances_of
from pbsbatch.nets.architectures import build
from pbsbatch.nets.backbones import BackboneNet, fill_body
from pbsbatch.nets.classifier import KindsNet
from pbsbatch.train.batches import normalised
from pbsbatch.train.checkpoint import load_run, load_weights, save_run, save_weights
from pbsbatch.train.classifier.augment_study import vector_of
from pbsbatch.train.classifier.batches import Batch, Cuts, batches
from pbsbatch.train.classifier.crops import Cutter, StudyCutter, eased
from pbsbatch.train.classifier.judge import Report, judge
from pbsbatch.train.classifier.look import crops_of, look
from pbsbatch.train.classifier.loss import label_loss
from pbsbatch.train.classifier.optimisers import optimiser_of, rate
from pbsbatch.train.classifier.pictures import Split
from pbsbatch.train.classifier.settings import AUGMENTED, LABORATORIES, Settings
from pbsbatch.train.detector import (
    BEST,
    CHECKPOINT,
    SECONDS_BETWEEN_CHECKPOINTS,
    TrainingError,
)
from pbsbatch.train.ema import Ema
from pbsbatch.train.steps import refuse_other

__all__ = ["Event", "Judged", "Run", "Taught", "begin", "cutter_of", "teach"]


@dataclass(frozen=True, slots=True)
class Taught:
    """A step was taken."""

    step: int
    share: float  # of the run that is done
    seconds: float  # since the run began, breaks left out
    rate: float  # learning rate
    images: int
    total: float


@dataclass(frozen=True, slots=True)
class Judged:
    """The averaged weights were held against the calibration split."""

    step: int
    seconds: float
    report: Report
    best: bool


Event = Taught | Judged


@dataclass(slots=True)
class Run:
    """A run under way: the one value that changes."""

    settings: Settings
    net: KindsNet
    ema: Ema[KindsNet]
    optimiser: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0
    best: float | None = None
    started: float = field(default_factory=time.monotonic)

    @property
    def share(self) -> float:
        """Return how much of the run is done."""
        if self.settings.minutes:
            return min(1.0, self.seconds / (60 * self.settings.minutes))
        return self.step / self.settings.steps

    def rest(self) -> dict[str, Any]:
        """Return what a checkpoint holds beside the tensors."""
        return {"step": self.step, "seconds": self.seconds, "best": self.best, "settings": self.settings.table()}


def begin(settings: Settings, output: Path, device: torch.device, *, resume: bool) -> Run:
    """Return a new run, or one that goes on from the checkpoint in the output folder."""
    torch.manual_seed(settings.seed)
    file = output / CHECKPOINT
    net = _net(settings, fresh=not file.exists()).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    run = Run(settings, net.train(), Ema(net, settings.ema), optimiser_of(net, settings))
    if not resume:
        if file.exists():
            raise UsageError("a run stands there already", path=output, cure="Go on with --resume, or choose another")
        return run
    if file.exists():
        _, rest = load_weights(file)
        refuse_other(rest["settings"], settings, file)
        load_run(file, run.net, run.ema, run.optimiser)
        run.step, run.seconds, run.best = rest["step"], rest["seconds"], rest["best"]
    return run


def _net(settings: Settings, *, fresh: bool) -> KindsNet:
    """Return the network that is asked for; a fresh one begins with a file's weights where there is one."""
    net = build(settings.arch, len(KINDS), settings.size, settings.dropout, frozen=settings.freeze == "backbone")
    if settings.weights and fresh:
        assert isinstance(net, BackboneNet)
        fill_body(net, Path(settings.weights))
    return net


def teach(
    run: Run, train: Split, calibration: Split, output: Path, stop: Callable[[Run], bool] = lambda run: False
) -> Iterator[Event]:
    """Teach until the run is done or `stop` says so after a step; save now and then, and at the end."""
    settings = run.settings
    cutter = cutter_of(settings, train)
    feed = batches(cutter, train.kinds, settings.seed, settings.batch, first=run.step, loaders=settings.loaders)
    saved, before = time.monotonic(), run.seconds
    run.started = time.monotonic()
    while run.share < 1 and not (run.step and stop(run)):
        yield _step(run, next(feed))
        run.seconds = before + time.monotonic() - run.started
        if run.step % settings.validate_every == 0 or run.share >= 1:
            yield _judge(run, calibration, output)
        elif time.monotonic() - saved < SECONDS_BETWEEN_CHECKPOINTS:
            continue
        save(run, output)
        saved = time.monotonic()
    if run.step:
        save(run, output)


def cutter_of(settings: Settings, train: Split) -> Cuts:
    """Return what makes the crops that a run is taught on."""
    if settings.augment != (LABORATORIES,):
        vector = () if settings.split == AUGMENTED else vector_of(settings.augment)
        weights = train.weights(settings.balance) if settings.balance else None
        return StudyCutter(crops_of(settings, train.cells), vector, weights)
    cells = eased(train.cells, settings.crop_mpp)
    return Cutter(cells, train.weights(settings.balance), settings.crop_px, settings.crop_mpp, settings.strength)


def save(run: Run, output: Path) -> None:
    """Write the run's checkpoint."""
    save_run(output / CHECKPOINT, run.net, run.ema, run.optimiser, run.rest())


def _step(run: Run, batch: Batch) -> Taught:
    """Take one step."""
    settings, device = run.settings, next(run.net.parameters()).device
    now = rate(settings, run.step, run.share)
    for group in run.optimiser.param_groups:
        group["lr"] = now
    batch = batch.to(device)
    torch.manual_seed(settings.seed * 1_000_003 + run.step)  # what is dropped does not depend on breaks
    with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
        features = run.net.features(normalised(batch.pixels, run.net.mean, run.net.std))
    logits = run.net.kinds(run.net.drop(features.float()))
    loss = label_loss(logits, batch.kinds, settings.smoothing, settings.fine)
    run.optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    norm = torch.nn.utils.clip_grad_norm_(run.net.parameters(), settings.clip)
    total = loss.item()
    if not (math.isfinite(total) and math.isfinite(norm.item())):
        raise TrainingError(
            f"the loss is not finite in step {run.step + 1}",
            cure="Lower learning_rate and go on from the last checkpoint with --resume",
        )
    run.optimiser.step()
    run.ema.follow(run.step)
    run.step += 1
    return Taught(run.step, run.share, run.seconds, now, len(batch.pixels), total)


def _judge(run: Run, calibration: Split, output: Path) -> Judged:
    """Judge the averaged weights and keep them if they are the best so far."""
    logits, _ = look(run.ema.net, crops_of(run.settings, calibration.cells))
    report = judge(chances_of(logits), calibration.types)
    best = run.best is None or report.log_loss < run.best
    if best:
        run.best = report.log_loss
        save_weights(output / BEST, dict(run.ema.net.state_dict()), run.rest())
    return Judged(run.step, run.seconds, report, best)
