"""A classifier's training from pictures to a model folder: what a command calls.

Law: the same settings and pictures give the same files, with or without a break.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch

from pbsbatch.disk import make_folder, output_errors, remove_tree
from pbsbatch.models.classifier_facts import ClassifierFacts
from pbsbatch.models.folder import write_classifier
from pbsbatch.models.taxonomy import KINDS
from pbsbatch.nets.export import export_weights, quantise_onnx
from pbsbatch.train.classifier.export import calibrated_net, export_classifier
from pbsbatch.train.classifier.finish import Finished, finish
from pbsbatch.train.classifier.loop import Event, begin, cutter_of, teach
from pbsbatch.train.classifier.pictures import Split, load
from pbsbatch.train.classifier.report import protocol_of, write_report
from pbsbatch.train.classifier.settings import Settings
from pbsbatch.train.finish import MODEL
from pbsbatch.train.metrics import CLASSIFIER_MEANS, METRICS, Metrics

__all__ = ["in_steps", "placed_weights", "train"]

SHOWN = 5
"""Pictures that are named, of those that cannot be read."""


def train(
    settings: Settings, data: Path, output: Path, device: torch.device, *, resume: bool = False,
    on_event: Callable[[Event], None] = lambda event: None, stop: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = lambda text: None,
) -> Finished | None:  # fmt: skip
    """Teach, calibrate, judge and write the folder; None if it was stopped before the end."""
    with output_errors(output):
        make_folder(output)
    settings = placed_weights(settings, data)
    run = begin(settings, output, device, resume=resume)
    say("reading pictures and finding those that show one cell or field")
    skipped: list[str] = []
    splits, groups = load(settings, data, lambda path, why: skipped.append(f"{path.relative_to(data)} ({why})"))
    if skipped:
        more = " ..." if len(skipped) > SHOWN else ""
        say(f"{len(skipped):,} picture{'s'[: len(skipped) - 1]} skipped: {', '.join(skipped[:SHOWN])}{more}")
    if settings.epochs:
        run.settings = settings = in_steps(settings, len(splits["train"].cells))
    say(", ".join(f"{len(split.cells):,} for {name}" for name, split in splits.items()))
    metrics = Metrics(output / METRICS, run.step, CLASSIFIER_MEANS)
    for event in teach(run, splits["train"], splits["calibration"], output, lambda _: stop()):
        metrics.on_event(event)
        on_event(event)
    if run.share < 1:
        return None
    say("finishing the model")
    done = finish(settings, output, splits, device)
    _write(settings, output, done, splits, {**groups.summary(), "skipped": len(skipped)})
    write_report(settings, output, done, splits["hold-out"], run.seconds)
    return done


def placed_weights(settings: Settings, data: Path) -> Settings:
    """Return settings with the path of a backbone's weights as it is from anywhere."""
    return replace(settings, weights=str(data.resolve() / settings.weights)) if settings.weights else settings


def in_steps(settings: Settings, pictures: int) -> Settings:
    """Return settings whose epochs are said in steps; each epoch ends with a judgement."""
    epoch = math.ceil(pictures / settings.batch)
    return replace(settings, steps=max(1, round(settings.epochs * epoch)), validate_every=epoch)


def _write(
    settings: Settings, output: Path, done: Finished, splits: Mapping[str, Split], pictures: Mapping[str, int]
) -> None:
    """Write the model's folder; one that an earlier end of this run wrote is replaced."""
    facts = ClassifierFacts(
        name=settings.name, version=settings.version, kinds=KINDS, crop_mpp=settings.crop_mpp,
        crop_px=settings.crop_px, channels=settings.network.channels, blocks=settings.network.blocks,
        mean=done.net.mean, std=done.net.std,
        sure_from=done.calibrated.sure_from, strange_from=done.calibrated.strange_from,
        licence=settings.licence, training_data=tuple((p.name or p.path, p.licence) for p in settings.pictures),
        metrics={**done.metrics(), "pictures": pictures, "split": protocol_of(settings)}, arch=settings.arch,
    )  # fmt: skip
    cutter = cutter_of(settings, splits["train"])
    crops = [cutter.cut(settings.seed + 1, number)[0] for number in range(settings.int8_crops)]
    remove_tree(output / MODEL)
    write_classifier(
        output / MODEL, facts, onnx=export_classifier(done.net, done.calibrated),
        weights=export_weights(calibrated_net(done.net, done.calibrated)),
        int8=quantise_onnx(export_classifier(done.net, done.calibrated, half=False), crops) if crops else None,
    )  # fmt: skip
