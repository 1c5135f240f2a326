"""End a training of a two-stage detector: the best weights, thresholds, and a model folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from pbsbatch.disk import remove_tree
from pbsbatch.errors import UsageError
from pbsbatch.models.rcnn_facts import rcnn_from_json
from pbsbatch.nets.rcnn import build
from pbsbatch.nets.rcnn_export import export_rcnn
from pbsbatch.train.checkpoint import load_weights
from pbsbatch.train.detector import BEST
from pbsbatch.train.fields import Loaded
from pbsbatch.train.finish import EVEN, MODEL, Finished, chance
from pbsbatch.train.judge import judge
from pbsbatch.train.rcnn.detect import detect
from pbsbatch.train.rcnn.presets import preset_of
from pbsbatch.train.rcnn.settings import RcnnSettings

__all__ = ["finish"]


def finish(settings: RcnnSettings, output: Path, fields: Sequence[Loaded], device: torch.device) -> Finished:
    """Write the model folder of a run's best weights; one that an earlier end of this run wrote is replaced.

    Thresholds are a preset's, or those at which counts on the validation fields are best.
    """
    if not (output / BEST).exists():
        raise UsageError("nothing was judged yet", path=output / BEST, cure="Train on with --resume")
    tensors, rest = load_weights(output / BEST)
    facts = rcnn_from_json(rest["facts"], output / BEST)
    net = build(facts)
    net.load_state_dict(tensors)
    report = judge(fields, detect(net.to(device).eval(), facts, fields, device))
    cuts = {name: report.classes[name].threshold for name in facts.classes}
    unseen = tuple(name for name in facts.classes if cuts[name] is None)
    thresholds = tuple(EVEN if (cut := cuts[name]) is None else chance(cut) for name in facts.classes)
    facts = replace(facts, thresholds=thresholds)
    if settings.preset:
        facts = preset_of(settings.preset).applied(facts)
    metrics = {"step": int(rest["step"]), "validation": report.table()}
    remove_tree(output / MODEL)
    export_rcnn(net, replace(facts, metrics=metrics), output / MODEL)
    return Finished(output / MODEL, report, unseen)
