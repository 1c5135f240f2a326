"""A training run of a two-stage detector: the one value that changes, begun anew or from its checkpoint."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torchvision.models.detection import FasterRCNN

from pbsbatch.errors import UsageError
from pbsbatch.models.rcnn_facts import RcnnFacts, rcnn_from_json, rcnn_to_json
from pbsbatch.nets.rcnn import build
from pbsbatch.train.checkpoint import load_run, load_weights
from pbsbatch.train.detector import CHECKPOINT
from pbsbatch.train.ema import Ema
from pbsbatch.train.rcnn.settings import RcnnSettings
from pbsbatch.train.rcnn.weights import Start, as_taught, begin_from
from pbsbatch.train.steps import refuse_other

__all__ = ["RcnnRun", "begin"]


@dataclass(slots=True)
class RcnnRun:
    """A run under way: the one value that changes."""

    settings: RcnnSettings
    facts: RcnnFacts
    epoch_steps: int
    net: FasterRCNN
    ema: Ema[FasterRCNN]
    optimiser: torch.optim.SGD
    frozen_norms: bool  # the weights came with norms that hold for many more pictures than these
    step: int = 0
    seconds: float = 0.0
    best: float = -1.0
    random: list[str] = field(default_factory=list)  # what the weights that it began from left as it was

    @property
    def epoch(self) -> int:
        """Return how many epochs are over."""
        return self.step // self.epoch_steps

    @property
    def steps(self) -> int:
        """Return how many steps there are in all."""
        return self.settings.steps or self.settings.epochs * self.epoch_steps

    @property
    def share(self) -> float:
        """Return how much of the run is done."""
        if self.settings.minutes:
            return min(1.0, self.seconds / (60 * self.settings.minutes))
        return min(1.0, self.step / self.steps)

    def rest(self) -> dict[str, Any]:
        """Return what a checkpoint holds beside the tensors."""
        return {
            "step": self.step, "seconds": self.seconds, "best": self.best, "settings": self.settings.table(),
            "facts": rcnn_to_json(self.facts), "epoch_steps": self.epoch_steps, "frozen_norms": self.frozen_norms,
        }  # fmt: skip


def begin(
    settings: RcnnSettings, facts: RcnnFacts, fields: int, output: Path, device: torch.device, *, resume: bool,
    start: Start = None,
) -> RcnnRun:  # fmt: skip
    """Return a new run on so many fields, or one that goes on from the checkpoint in the output folder."""
    file = output / CHECKPOINT
    if file.exists() and not resume:
        raise UsageError("a run stands there already", path=output, cure="Go on with --resume, or choose another")
    rest: dict[str, Any] = {}
    if file.exists():
        _, rest = load_weights(file)
        refuse_other(rest["settings"], settings, file)
        facts, start = rcnn_from_json(rest["facts"], file), None
    facts = as_taught(facts, start)
    torch.manual_seed(settings.seed)
    net = _network(settings, facts)
    random = [] if start is None else begin_from(net, start)
    net.to(device)
    optimiser = torch.optim.SGD(
        net.parameters(), lr=settings.learning_rate, momentum=settings.momentum, weight_decay=settings.weight_decay
    )
    steps = rest.get("epoch_steps") or settings.epoch_steps or math.ceil(fields / settings.batch)
    frozen = bool(rest.get("frozen_norms", start is not None))
    run = RcnnRun(settings, facts, steps, net, Ema(net, settings.ema), optimiser, frozen, random=random)
    if rest:
        load_run(file, run.net, run.ema, run.optimiser)
        run.step, run.seconds, run.best = rest["step"], rest["seconds"], rest["best"]
    return run


def _network(settings: RcnnSettings, facts: RcnnFacts) -> FasterRCNN:
    net = build(facts)
    net.transform.min_size, net.transform.max_size = (settings.canvas_px,), settings.canvas_px  # canvases as they are
    net.roi_heads.fg_bg_sampler.batch_size_per_image = settings.regions
    return net
