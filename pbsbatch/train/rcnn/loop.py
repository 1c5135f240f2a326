"""Teach a two-stage detector: torchvision's own losses on composed canvases, told as events.

Laws. On one kind of CPU the same settings and data give the same weights, with or without a break: what torchvision
draws at random in a step hangs on the seed and the step alone. A loss that is not finite stops the run before it harms
the weights; the last checkpoint stays. What is frozen neither learns nor moves its norms.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from pbsbatch.datasets.samples import names_of
from pbsbatch.train.batches import Batch, batches
from pbsbatch.train.checkpoint import save_run, save_weights
from pbsbatch.train.compose import Composer
from pbsbatch.train.detector import BEST, CHECKPOINT, Data, TrainingError
from pbsbatch.train.judge import Report, judge
from pbsbatch.train.rcnn.data import images_of, targets_of
from pbsbatch.train.rcnn.detect import detect
from pbsbatch.train.rcnn.run import RcnnRun
from pbsbatch.train.steps import rate_of

__all__ = ["LOSSES", "Event", "Judged", "Taught", "teach"]

LOSSES = ("objectness", "proposal", "label", "box", "mask")
_THEIRS = ("loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg", "loss_mask")
UNSURE_STRIDE = 4


@dataclass(frozen=True, slots=True)
class Taught:
    """A step was taken. mask is 0 where there is no such branch."""

    step: int
    epoch: int
    share: float  # of the run that is done
    seconds: float  # since the run began, breaks left out
    rate: float  # learning rate
    images: int
    total: float
    objectness: float
    proposal: float
    label: float
    box: float
    mask: float


@dataclass(frozen=True, slots=True)
class Judged:
    """The weights were held against the validation fields at the end of an epoch."""

    step: int
    epoch: int
    seconds: float
    epoch_seconds: float  # of the epoch's steps, without this judgement
    report: Report
    best: bool


Event = Taught | Judged


def teach(
    run: RcnnRun, data: Data, output: Path, stop: Callable[[RcnnRun], bool] = lambda run: False
) -> Iterator[Event]:
    """Teach until the run is done or `stop` says so after a step; judge and save at the ends of epochs."""
    settings, names = run.settings, names_of(data.fields)
    composer = Composer(data.fields, data.weights, settings.canvas_px, settings.red_cell_px, settings.variety)
    feed = batches(composer, settings.seed, settings.batch, UNSURE_STRIDE, first=run.step, loaders=settings.loaders)
    epoch_seconds = 0.0
    while run.share < 1 and not (run.step and stop(run)):
        before = time.monotonic()
        taught = _step(run, next(feed), names)
        took = time.monotonic() - before
        run.seconds, epoch_seconds = run.seconds + took, epoch_seconds + took
        yield taught
        over = run.step % run.epoch_steps == 0
        if run.share >= 1 or (over and run.epoch % settings.validate_every == 0):
            yield _judge(run, data, output, epoch_seconds)
        if over or run.share >= 1:
            save_run(output / CHECKPOINT, run.net, run.ema, run.optimiser, run.rest())
            epoch_seconds = 0.0
    if run.step:
        save_run(output / CHECKPOINT, run.net, run.ema, run.optimiser, run.rest())


def _step(run: RcnnRun, batch: Batch, names: Sequence[str]) -> Taught:
    """Take one step."""
    settings, device = run.settings, next(run.net.parameters()).device
    _thaw(run)
    rate = rate_of(settings, run.step, run.share if settings.course == "cosine" else 0.0)
    for group in run.optimiser.param_groups:
        group["lr"] = rate
    targets = [{k: v.to(device) for k, v in t.items()} for t in targets_of(batch, run.facts, names)]
    torch.manual_seed(settings.seed * 1_000_003 + run.step)  # torchvision draws which boxes it is taught on
    told = run.net([one.to(device) for one in images_of(batch)], targets)
    parts = [told.get(name, torch.zeros((), device=device)) for name in _THEIRS]
    total = torch.stack(parts).sum()
    run.optimiser.zero_grad(set_to_none=True)
    total.backward()  # type: ignore[no-untyped-call]
    norm = torch.nn.utils.clip_grad_norm_([p for p in run.net.parameters() if p.grad is not None], settings.clip)
    values = torch.stack([total.detach(), *(p.detach() for p in parts), norm]).tolist()
    if not all(math.isfinite(v) for v in values):
        raise TrainingError(
            f"the loss is not finite in step {run.step + 1}",
            cure=f"Lower learning_rate from {settings.learning_rate:g} and begin again, or raise warm_up; the last "
            f"checkpoint is kept",
        )
    run.optimiser.step()
    run.ema.follow(run.step)
    run.step += 1
    epoch = math.ceil(run.step / run.epoch_steps)
    return Taught(run.step, epoch, run.share, run.seconds, rate, len(batch.pixels), *values[:6])


def _thaw(run: RcnnRun) -> None:
    """Freeze what is frozen in this epoch; everything else learns."""
    settings = run.settings
    body: nn.Module = run.net.backbone.body
    first = settings.freeze == "heads-first" and run.epoch < settings.head_epochs
    still = settings.freeze == "backbone" or first
    run.net.train()
    for module in body.modules():
        if isinstance(module, nn.BatchNorm2d) and (still or run.frozen_norms):
            module.eval()
    for weight in body.parameters():
        weight.requires_grad_(not still)
        if still:
            weight.grad = None
    if run.frozen_norms:
        for module in body.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.requires_grad_(False)


def _judge(run: RcnnRun, data: Data, output: Path, epoch_seconds: float) -> Judged:
    """Judge the averaged weights and keep them if they are the best so far."""
    device = next(run.net.parameters()).device
    report = judge(data.validation, detect(run.ema.net, run.facts, data.validation, device))
    best = report.map > run.best
    if best:
        run.best = report.map
        save_weights(output / BEST, dict(run.ema.net.state_dict()), {**run.rest(), "report": report.table()})
    return Judged(run.step, math.ceil(run.step / run.epoch_steps), run.seconds, epoch_seconds, report, best)
