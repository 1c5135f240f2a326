"""Teach the detector: a plain loop that says what happens as events.

Laws. On one kind of CPU the same settings and data give the same weights, with or without a break. What is judged and
kept as best are the averaged weights. A loss that is not finite stops the run before it harms the weights.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pbsbatch.datasets.samples import CLASSES
from pbsbatch.errors import PbsbatchError, UsageError
from pbsbatch.nets.detector import DetectorNet, NetSize
from pbsbatch.train.batches import Batch, batches, normalised
from pbsbatch.train.checkpoint import load_into, load_run, load_weights, save_run, save_weights
from pbsbatch.train.compose import Composer
from pbsbatch.train.detect import detect
from pbsbatch.train.ema import Ema
from pbsbatch.train.fields import Loaded
from pbsbatch.train.judge import Report, judge
from pbsbatch.train.loss import Losses, detector_loss
from pbsbatch.train.settings import Settings
from pbsbatch.train.steps import optimiser, rate_of, refuse_other

__all__ = [
    "BEST",
    "CHECKPOINT",
    "Data",
    "Event",
    "Judged",
    "Run",
    "Taught",
    "TrainingError",
    "begin",
    "net_size",
    "teach",
]

CHECKPOINT, BEST = "checkpoint.safetensors", "best.safetensors"
SECONDS_BETWEEN_CHECKPOINTS = 300.0


class TrainingError(PbsbatchError):
    """Training went wrong in a way that going on would make worse."""


@dataclass(frozen=True, slots=True)
class Data:
    """What a run learns from and is judged by."""

    fields: Sequence[Loaded]
    weights: NDArray[np.float64]
    validation: Sequence[Loaded]


@dataclass(frozen=True, slots=True)
class Taught:
    """A step was taken."""

    step: int
    share: float  # of the run that is done
    seconds: float  # since the run began, breaks left out
    rate: float  # learning rate
    images: int
    total: float
    score: float
    box: float
    outline: float


@dataclass(frozen=True, slots=True)
class Judged:
    """The averaged weights were held against the validation fields."""

    step: int
    seconds: float
    report: Report
    best: bool


Event = Taught | Judged


@dataclass(slots=True)
class Run:
    """A run under way: the one value that changes."""

    settings: Settings
    net: DetectorNet
    ema: Ema[DetectorNet]
    optimiser: torch.optim.AdamW
    step: int = 0
    seconds: float = 0.0
    best: float = -1.0
    started: float = field(default_factory=time.monotonic)

    @property
    def calm(self) -> bool:
        """Say whether the last part of the run has begun, in which canvases stray less."""
        return self.share >= 1 - self.settings.calm.share

    @property
    def share(self) -> float:
        """Return how much of the run is done."""
        if self.settings.minutes:
            return min(1.0, self.seconds / (60 * self.settings.minutes))
        return self.step / self.settings.steps

    def rest(self) -> dict[str, Any]:
        """Return what a checkpoint holds beside the tensors."""
        return {"step": self.step, "seconds": self.seconds, "best": self.best, "settings": self.settings.table()}


def begin(settings: Settings, output: Path, device: torch.device, *, resume: bool, weights: Path | None = None) -> Run:
    """Return a new run, or one that goes on from the checkpoint in the output folder.

    A new run starts from nothing, or from another model's weights; one that goes on asks for none.
    """
    torch.manual_seed(settings.seed)
    net = DetectorNet(len(CLASSES), net_size(settings))
    if weights is not None and not (resume and (output / CHECKPOINT).exists()):
        load_into(net, weights)
    net.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    run = Run(settings, net, Ema(net, settings.ema), optimiser(net, settings))
    file = output / CHECKPOINT
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


def net_size(settings: Settings) -> NetSize:
    """Return the network that settings ask for."""
    asked = settings.network
    return NetSize(asked.channels, asked.head, asked.blocks, asked.stride)


def teach(run: Run, data: Data, output: Path, stop: Callable[[Run], bool] = lambda run: False) -> Iterator[Event]:
    """Teach until the run is done or `stop` says so after a step; save now and then, and at the end."""
    settings = run.settings
    feed, calm = _feed(run, data), run.calm
    saved, before = time.monotonic(), run.seconds
    run.started = time.monotonic()
    while run.share < 1 and not (run.step and stop(run)):
        if run.calm != calm:
            feed, calm = _feed(run, data), run.calm
        yield _step(run, _next(feed))
        run.seconds = before + time.monotonic() - run.started
        if run.step % settings.validate_every == 0 or run.share >= 1:
            yield _judge(run, data.validation, output)
        elif time.monotonic() - saved < SECONDS_BETWEEN_CHECKPOINTS:
            continue
        save(run, output)
        saved = time.monotonic()
    if run.step:
        save(run, output)


def _feed(run: Run, data: Data) -> Iterator[Batch]:
    """Return the batches from the run's next step on, as varied as its part of the run asks for."""
    settings = run.settings
    variety = settings.calm.variety if run.calm else settings.variety
    composer = Composer(data.fields, data.weights, settings.canvas_px, settings.red_cell_px, variety)
    return batches(
        composer, settings.seed, settings.batch, settings.network.stride, first=run.step, loaders=settings.loaders
    )


def save(run: Run, output: Path) -> None:
    """Write the run's checkpoint."""
    save_run(output / CHECKPOINT, run.net, run.ema, run.optimiser, run.rest())


def _step(run: Run, batch: Batch) -> Taught:
    """Take one step."""
    settings, device = run.settings, next(run.net.parameters()).device
    rate = rate_of(settings, run.step, run.share)
    for group in run.optimiser.param_groups:
        group["lr"] = rate
    losses = _losses(run.net, batch.to(device), settings)
    run.optimiser.zero_grad(set_to_none=True)
    losses.total.backward()  # type: ignore[no-untyped-call]
    norm = torch.nn.utils.clip_grad_norm_(run.net.parameters(), settings.clip)
    values = torch.stack([losses.total.detach(), losses.score, losses.box, losses.outline, norm]).tolist()
    if not all(math.isfinite(v) for v in values):
        raise TrainingError(
            f"the loss is not finite in step {run.step + 1}",
            cure="Lower learning_rate and go on from the last checkpoint with --resume",
        )
    run.optimiser.step()
    run.ema.follow(run.step)
    run.step += 1
    return Taught(run.step, run.share, run.seconds, rate, len(batch.pixels), *values[:4])


def _next(feed: Iterator[Batch]) -> Batch:
    try:
        return next(feed)
    except RuntimeError as error:  # torch says so when a process that composes was killed
        raise TrainingError(
            f"a canvas could not be composed: {error}",
            cure="If memory ran out, lower loaders or batch; go on with --resume",
        ) from error


def _losses(net: DetectorNet, batch: Batch, settings: Settings) -> Losses:
    device = batch.pixels.device.type
    with torch.autocast(device, torch.bfloat16, enabled=settings.precision == "bf16"):
        kind, place = net.features(normalised(batch.pixels))
    output = net.heads(kind.float(), place.float())
    return detector_loss(output, batch.truth, settings.network.stride, settings.box_weight)


def _judge(run: Run, fields: Sequence[Loaded], output: Path) -> Judged:
    """Judge the averaged weights and keep them if they are the best so far."""
    settings = run.settings
    found = detect(run.ema.net, fields, precision=settings.precision, nms_iou=settings.nms_iou)
    report = judge(fields, found)
    best = report.map > run.best
    if best:
        run.best = report.map
        save_weights(output / BEST, dict(run.ema.net.state_dict()), {**run.rest(), "report": report.table()})
    return Judged(run.step, run.seconds, report, best)
