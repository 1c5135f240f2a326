"""End a training: the best weights, scores that are chances, thresholds, and a model folder.

Law: what is measured here went through the decoding that runs use, in fp32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pbsbatch.datasets.samples import CLASSES
from pbsbatch.disk import remove_tree
from pbsbatch.errors import UsageError
from pbsbatch.models.facts import DetectorFacts
from pbsbatch.models.folder import write_folder
from pbsbatch.nets.detector import DetectorNet, NetSize
from pbsbatch.nets.export import export_onnx, export_weights, quantise_onnx
from pbsbatch.train.batches import MEAN, STD
from pbsbatch.train.calibrate import platt
from pbsbatch.train.checkpoint import load_weights
from pbsbatch.train.compose import Composer
from pbsbatch.train.detect import LEAST_SCORE, detect_as_run
from pbsbatch.train.detector import BEST, net_size
from pbsbatch.train.fields import Loaded
from pbsbatch.train.judge import Report, fates, judge
from pbsbatch.train.level import levelled
from pbsbatch.train.settings import Settings

__all__ = ["EVEN", "MODEL", "Finished", "calibration_tiles", "chance", "finish", "reach"]

MODEL = "model"
EVEN = 0.5
"""Threshold of a class of which nothing right was found; it is named in Finished.unseen."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A model that was written, and how good it is on the validation fields."""

    folder: Path
    report: Report
    unseen: tuple[str, ...]  # classes whose scores could not be calibrated: nothing right, or nothing wrong, was found


def finish(
    settings: Settings, output: Path, fields: Sequence[Loaded], device: torch.device,
    tiles: Sequence[NDArray[np.uint8]] = (),
) -> Finished:  # fmt: skip
    """Write the model folder of a run's best weights; one that an earlier end of this run wrote is replaced.

    With tiles to calibrate on it holds an int8 network too.
    """
    net, step = _best(settings, output, device)
    raw = _facts(settings, step)
    seen = fates(fields, detect_as_run(net, fields, raw))
    right = np.zeros(len(seen.scores), np.bool_)
    right[seen.hits[:, 0]] = True
    lines: dict[str, tuple[float, float]] = {}
    for kind, name in enumerate(CLASSES):
        own = seen.found_classes == kind
        if 0 < right[own].sum() < own.sum():
            lines[name] = platt(seen.scores[own], right[own])
    calibrated = replace(raw, calibration=tuple(lines.get(name, (1.0, 0.0)) for name in CLASSES))
    report = judge(fields, detect_as_run(net, fields, calibrated))
    cuts = [report.classes[name].threshold for name in CLASSES]
    facts = replace(
        calibrated, thresholds=tuple(EVEN if cut is None else chance(cut) for cut in cuts),
        metrics={"step": step, "validation": report.table()},
    )  # fmt: skip
    remove_tree(output / MODEL)
    onnx = export_onnx(net, MEAN, STD)
    int8 = _int8(net, tiles) if len(tiles) else None
    write_folder(output / MODEL, facts, onnx=onnx, weights=export_weights(net), int8=int8)
    return Finished(output / MODEL, report, tuple(name for name in CLASSES if name not in lines))


def _int8(net: DetectorNet, tiles: Sequence[NDArray[np.uint8]]) -> bytes:
    """Return the network in int8, its boxes as large as they were."""
    whole = export_onnx(net, MEAN, STD, half=False)
    return levelled(quantise_onnx(whole, tiles), whole, tiles)


def calibration_tiles(
    settings: Settings, fields: Sequence[Loaded], weights: NDArray[np.float64]
) -> list[NDArray[np.uint8]]:
    """Return the canvases that an int8 network is calibrated on: others than those of the training."""
    composer = Composer(fields, weights, settings.canvas_px, settings.red_cell_px, settings.variety)
    return [composer.compose(settings.seed + 1, 0, number).image for number in range(settings.int8_tiles)]


def reach(size: NetSize) -> int:
    """Return how many pixels from a place's centre something may lie that changes what it says, by walking back.

    The deepest path sees furthest: through the coarsest grid, whose places lie over several finer ones.
    """
    furthest = 0.0
    for place in range(16 // size.stride):  # then the grids lie over each other as before
        low, high = place - 1, place + 1
        for _ in range(2 if size.stride == 4 else 1):
            low, high = (low - 1) // 2, (high + 1) // 2
        for blocks in (*reversed(size.blocks), 0):
            low, high = 2 * (low - 2 * blocks) - 1, 2 * (high + 2 * blocks) + 1
        centre = (place + 0.5) * size.stride
        furthest = max(furthest, centre - low, high + 1 - centre)
    return math.ceil(furthest)


def _best(settings: Settings, output: Path, device: torch.device) -> tuple[DetectorNet, int]:
    """Return the network with the best averaged weights, and the step they are of."""
    if not (output / BEST).exists():
        raise UsageError("nothing was judged yet", path=output / BEST, cure="Train on with --resume")
    tensors, rest = load_weights(output / BEST)
    net = DetectorNet(len(CLASSES), net_size(settings))
    net.load_state_dict(tensors)
    return net.eval().to(device, memory_format=torch.channels_last), int(rest["step"])  # type: ignore[call-overload]


def _facts(settings: Settings, step: int) -> DetectorFacts:
    """Return the facts of a model whose scores are not calibrated and whose thresholds let nearly all through."""
    size, n = net_size(settings), len(CLASSES)
    share = settings.synthetic.share
    data = [(table.name or table.path, table.licence) for table in settings.data if share < 1]
    data += [("drawn smears (pbsbatch.synth)", "Apache-2.0")] if share > 0 else []
    return DetectorFacts(
        name=settings.name, version=settings.version, classes=CLASSES, work_mpp=settings.work_mpp,
        max_cell_um=settings.max_cell_um, context_px=settings.context_px or reach(size), stride=size.stride,
        channels=size.channels, head_channels=size.head, blocks=size.blocks, mean=MEAN, std=STD,
        thresholds=(LEAST_SCORE,) * n, calibration=((1.0, 0.0),) * n, nms_iou=settings.nms_iou,
        cross_iou=settings.cross_iou, licence=settings.licence, training_data=tuple(dict.fromkeys(data)),
    )  # fmt: skip


def chance(logit: float) -> float:
    """Return the score of a logit, within what thresholds may be."""
    return float(np.clip(1 / (1 + np.exp(-logit)), 0.001, 0.999))
