"""Typed grids: a detector of eight types taught on composites of single cells, judged on grids of 1x1, 2x2 and 3x3.

The pictures are of pbc, "ig" being what the study calls immunoglobulin. Their labels have no boxes: a cell's box is
what the classical model finds in its picture's middle, a platelet's the violet spot there (the model misses most of
these large ones); pictures in which nothing is found are left out and counted.
Networks are the shipped detector's, with its weights to begin with but for what names classes, and see composites as
they are: nothing tells them the magnification. The cut from which a cell is reported is the one of the best F1 on fresh
composites of the pictures that were taught: after a short course chances are anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import safetensors.torch
import torch

from benchmarks.accuracy import cells_of, figure
from pbsbatch import engines, models
from pbsbatch.datasets.compose import ComposeSpec, Composite, Source, load_source
from pbsbatch.datasets.compose.source import Item
from pbsbatch.datasets.readers import DataSet
from pbsbatch.datasets.samples import RAYS, WHITE, Sample
from pbsbatch.engines.base import Engine
from pbsbatch.evaluate import fields_found, fields_truth
from pbsbatch.evaluate.figures import figures
from pbsbatch.evaluate.together import Compared
from pbsbatch.models.base import Model
from pbsbatch.models.load import SHIPPED
from pbsbatch.nets.detector import DetectorNet, NetSize
from pbsbatch.train.batches import batches, normalised
from pbsbatch.train.compose import Canvas
from pbsbatch.train.detect import detect
from pbsbatch.train.ema import Ema
from pbsbatch.train.loss import detector_loss
from pbsbatch.train.steps import optimiser, rate_of

__all__ = ["typed"]

DIAMETER = 51.0
"""Of red cells in these pictures, by the data's own description."""
CUTS = tuple(k / 40 for k in range(1, 40))
"""Chances from which on a cell may be reported."""
GRIDS = (1, 2, 3)
MOST_NEW = 4
"""Tensors that begin at random: weight and bias of the layer that names classes, twice at most."""


@dataclass(frozen=True)
class Course:
    """How long and how fast a network is taught."""

    steps: int
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    warm_up: int = 100

    def table(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Taught:
    """Composites as a training's canvases; stands where train.compose.Composer does."""

    source: Source
    specs: Sequence[ComposeSpec]

    def compose(self, seed: int, epoch: int, number: int) -> Canvas:
        """Return one canvas."""
        spec = replace(self.specs[number % len(self.specs)], seed=seed + epoch)
        scene = Composite(spec, self.source, number)
        cells = [c for row in scene.cells() for c in row]
        named = [c for c in cells if not c.crowd]
        return Canvas(
            scene.render(0, 0, spec.width, spec.height), np.array([c.box for c in named], np.float32).reshape(-1, 4),
            np.array([c.kind for c in named], np.uint8), np.full((len(named), RAYS), np.nan, np.float32),
            np.array([c.box for c in cells if c.crowd], np.float32).reshape(-1, 4),
        )  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """A test grid as a network sees it."""

    pixels: np.ndarray
    size: tuple[int, int]


def typed(settings: Mapping[str, Any], data: Path, _model: str) -> list[dict[str, Any]]:
    """Return the combined table of each variant, by grid and in all."""
    parts, left_out = _boxed(load_source([DataSet(data / "pbc", "folder", red_cell_px=DIAMETER)]), settings)
    rows = []
    for variant in settings["variants"]:
        net = _teach(Taught(parts[0], list(_specs(variant, settings["size"]))), settings)
        facts = {"variant": variant["name"], "left_out": left_out}
        facts |= {name: settings[name] for name in ("setting", "steps", "size", "batch")}
        cut = _best_cut(net, parts[0], settings)
        rows += [facts | {"cut": cut} | row for row in _judged(net, parts[1], settings, cut)]
    return rows


def _boxed(source: Source, settings: Mapping[str, Any]) -> tuple[tuple[Source, Source], int]:
    """Return pictures to learn from and to be judged on, each with its cell's box, and how many had none."""
    model = models.load("classical")
    engine = engines.load(model)
    rng, left_out = np.random.default_rng(0), 0
    parts: tuple[list[Item], list[Item]] = ([], [])
    for kind in range(len(source.classes)):
        items = [i for i in source.items if i.classes[0] == kind]
        wanted = settings["train_per_class"], settings["test_per_class"]
        for k in rng.permutation(len(items)).tolist():
            part = parts[0] if sum(i.classes[0] == kind for i in parts[0]) < wanted[0] else parts[1]
            if part is parts[1] and sum(i.classes[0] == kind for i in part) == wanted[1]:
                break
            platelet = source.classes[kind] == "platelet"
            box = _violet(items[k].pixels) if platelet else _middle(model, engine, items[k])
            left_out += box is None
            if box is not None:
                part.append(replace(items[k], boxes=box[None]))
    engine.close()
    learn, test = (Source(source.classes, part) for part in parts)
    return (learn, test), left_out


def _middle(model: Model, engine: Engine, item: Item) -> np.ndarray | None:
    """Return the box of the white cell that holds a picture's middle."""
    empty = np.zeros((0, 4), np.float32)
    sample = Sample(
        item.name, "pbc", item.path.read_bytes(), item.size, empty, np.zeros(0, np.uint8),
        np.zeros((0, RAYS), np.float32), empty, item.red_cell_px,
    )  # fmt: skip
    found = cells_of(model, engine, sample, "labels")
    if found is None:
        return None
    middle = np.array(item.size, np.float32) / 2
    holds = (found.classes == WHITE) & (found.boxes[:, :2] < middle).all(1) & (found.boxes[:, 2:] > middle).all(1)
    if not holds.any():
        return None
    best = np.flatnonzero(holds)[np.argmax(found.scores[holds])]
    return np.clip(found.boxes[best], 0, [*item.size, *item.size]).astype(np.float32)


def _violet(pixels: np.ndarray) -> np.ndarray | None:
    """Return the box of the violet spot nearest to a picture's middle; None where none is near and as small as one."""
    middle = np.array(pixels.shape[1::-1]) / 2
    violet = np.clip(pixels[..., 2].astype(np.int16) - pixels[..., 1], 0, 255).astype(np.uint8)
    _, mask = cv2.threshold(cv2.GaussianBlur(violet, (0, 0), 1.5), 0, 255, cv2.THRESH_OTSU)
    _, _, stats, centres = cv2.connectedComponentsWithStats(mask)
    far = np.hypot(*(centres[1:] - middle).T)
    fits = (far < DIAMETER * 0.4) & (stats[1:, 4] > 60) & (stats[1:, 2:4].max(axis=1) < DIAMETER * 1.8)
    if not fits.any():
        return None
    x, y, w, h, _ = stats[1 + np.argmin(np.where(fits, far, np.inf))]
    return np.array([x, y, x + w, y + h], np.float32)


def _specs(variant: Mapping[str, Any], size: int) -> Iterator[ComposeSpec]:
    for n in variant.get("grids", GRIDS[:1]):
        yield ComposeSpec(
            size, size, grid=(n, n), scales=(1.0,), balance=True, mosaic=variant["mosaic"], mixup=variant["mixup"]
        )


def _teach(taught: Taught, settings: Mapping[str, Any]) -> DetectorNet:
    """Return averaged weights after so many steps."""
    torch.manual_seed(0)
    course, size = Course(settings["steps"]), NetSize((16, 32, 64, 128), 64, (1, 2, 3), 4)
    net = DetectorNet(len(taught.source.classes), size).train()
    _begin_as_shipped(net)
    mean, steps = Ema(net, 0.998), optimiser(net, course)
    feed = batches(taught, 1, settings["batch"], size.stride)  # type: ignore[arg-type]
    for step in range(course.steps):
        for group in steps.param_groups:
            group["lr"] = rate_of(course, step, step / course.steps)
        batch = next(feed)
        with torch.autocast("cpu", torch.bfloat16):
            kind, place = net.features(normalised(batch.pixels))
        losses = detector_loss(net.heads(kind.float(), place.float()), batch.truth, size.stride)
        steps.zero_grad(set_to_none=True)
        losses.total.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        steps.step()
        mean.follow(step)
    return mean.net


def _begin_as_shipped(net: DetectorNet) -> None:
    """Take the shipped detector's weights for all that has its shapes: all but the last layer of classes."""
    shipped = safetensors.torch.load_file(SHIPPED / "smear" / "weights.safetensors")
    own = net.state_dict()
    fits = {name: tensor for name, tensor in shipped.items() if name in own and own[name].shape == tensor.shape}
    if len(own) - len(fits) > MOST_NEW:
        raise ValueError(f"only {len(fits)} of {len(own)} tensors are those of the shipped detector")
    net.load_state_dict(own | fits)


def _best_cut(net: DetectorNet, source: Source, settings: Mapping[str, Any]) -> float:
    """Return the chance with the best F1 on composites of the taught pictures that it did not see."""
    pairs = [p for n in GRIDS for p in _looked(net, source, settings, n, seed=20_000)]
    return max(CUTS, key=lambda cut: float(_combined(pairs, cut)["f1"] or 0))


def _judged(net: DetectorNet, source: Source, settings: Mapping[str, Any], cut: float) -> Iterator[dict[str, Any]]:
    """Yield the combined table of each grid, and of all of them."""
    everything: list[tuple[Composite, Any]] = []
    for n in GRIDS:
        part = _looked(net, source, settings, n, seed=10_000)
        everything += part
        yield {"images": f"{n}x{n}", **_combined(part, cut)}
    yield {"images": "all", **_combined(everything, cut)}


def _looked(
    net: DetectorNet, source: Source, settings: Mapping[str, Any], n: int, seed: int
) -> list[tuple[Composite, Any]]:
    """Return grids of n x n pictures, each with what a network finds in it."""
    spec = ComposeSpec(settings["size"], settings["size"], seed + n, grid=(n, n), scales=(1.0,), balance=True)
    scenes = [Composite(spec, source, i) for i in range(settings["test_images"])]
    pictures = [Seen(s.render(0, 0, spec.width, spec.height), (spec.width, spec.height)) for s in scenes]
    found = detect(net, pictures, precision="bf16", nms_iou=0.6)  # type: ignore[arg-type]
    return list(zip(scenes, found, strict=True))


def _combined(pairs: Sequence[tuple[Composite, Any]], chance: float) -> dict[str, Any]:
    """Return the study's table: what was right, wrong and missed over all types."""
    truth = [[c for row in scene.cells() for c in row if not c.crowd] for scene, _ in pairs]
    cut = float(np.log(chance / (1 - chance)))
    kept = [np.flatnonzero(cells.logits >= cut) for _, cells in pairs]
    both = Compared(
        pairs[0][0].source.classes, tuple(f"{i}" for i in range(len(pairs))),
        fields_truth([np.array([c.box for c in t]) for t in truth], [np.array([c.kind for c in t]) for t in truth]),
        fields_found(
            [c.boxes[k] for (_, c), k in zip(pairs, kept, strict=True)],
            [c.classes[k] for (_, c), k in zip(pairs, kept, strict=True)],
            [c.logits[k] for (_, c), k in zip(pairs, kept, strict=True)],
        ), (),
    )  # fmt: skip
    row = figures(both).rows[-1]
    counts = {n: getattr(row, n) for n in ("tp", "fp", "fn", "found", "true")}
    rates = ("precision", "recall", "f1", "found_per_true", "accuracy", "ap50")
    return counts | {n: "" if getattr(row, n) != getattr(row, n) else figure(getattr(row, n)) for n in rates}
