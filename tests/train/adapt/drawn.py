"""Drawn cells that differ by the shape of their nuclei, a classifier taught on them in seconds, another laboratory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from pbsbatch.models.classifier_facts import ClassifierFacts
from pbsbatch.models.folder import read_classifier, write_classifier
from pbsbatch.models.taxonomy import KINDS
from pbsbatch.nets.classifier import ClassifierNet, ClassifierSize
from pbsbatch.nets.export import export_weights
from pbsbatch.train.adapt.task import Model, opened
from pbsbatch.train.adapt.teach import teach
from pbsbatch.train.batches import MEAN, STD, normalised
from pbsbatch.train.classifier.batches import batches
from pbsbatch.train.classifier.crops import Cutter, plain
from pbsbatch.train.classifier.export import calibrated_net, export_classifier
from pbsbatch.train.classifier.finish import calibrate
from pbsbatch.train.classifier.look import look
from pbsbatch.train.classifier.loss import label_loss
from pbsbatch.train.classifier.pictures import Cell, Split
from pbsbatch.train.classifier.strange import learn
from pbsbatch.train.stain import densities, of_densities

NAMES = ("neutrophil", "lymphocyte", "monocyte", "platelet")
SIDE, MPP, CROP = 48, 0.4, 32
SIZE = ClassifierSize(CROP, (8, 16, 24, 32), (0, 0, 1))
ABROAD = np.array([[0.5, 0.0, 0.6], [0.1, 0.7, 0.1], [0.4, 0.1, 0.3]])


def drawn(kind: str, number: int) -> Cell:
    """Return a cell: three lobes, a disc, a crescent or a dot, never twice the same."""
    rng = np.random.default_rng((number, NAMES.index(kind)))
    image = np.full((SIDE, SIDE, 3), (236, 232, 238), np.uint8)
    for _ in range(5):
        x, y = (int(v) for v in rng.integers(0, SIDE, 2))
        if max(abs(x - SIDE // 2), abs(y - SIDE // 2)) > 15:
            cv2.circle(image, (x, y), 7, (222, 180, 176), -1)
    x, y = (int(SIDE // 2 + v) for v in rng.integers(-1, 2, 2))
    dark, turn = (104, 50, 140), rng.uniform(0, 2 * np.pi)
    if kind != "platelet":
        cv2.circle(image, (x, y), 13, (214, 190, 216), -1)
    if kind == "neutrophil":
        for k in range(3):
            at = turn + 2 * np.pi / 3 * k
            cv2.circle(image, (round(x + 7 * np.cos(at)), round(y + 7 * np.sin(at))), 4, dark, -1)
    elif kind == "lymphocyte":
        cv2.circle(image, (x, y), 11, dark, -1)
    elif kind == "monocyte":
        cv2.circle(image, (x, y), 11, dark, -1)
        cv2.circle(image, (round(x + 6 * np.cos(turn)), round(y + 6 * np.sin(turn))), 8, (214, 190, 216), -1)
    else:
        cv2.circle(image, (x, y), 3, dark, -1)
    noisy = image + rng.normal(0, 3, image.shape)
    return Cell(f"{kind}-{number}.png", kind, np.clip(noisy, 0, 255).astype(np.uint8), MPP)


def home(count: int, first: int = 0) -> Split:
    """Return cells of the laboratory that the classifier is from."""
    return Split([drawn(kind, n) for kind in NAMES for n in range(first, first + count)])


def abroad(count: int, first: int = 0) -> Split:
    """Return cells of another one, which stains otherwise and says a wrong scale."""
    return Split([
        replace(cell, pixels=of_densities(densities(cell.pixels), ABROAD, np.array([0.1, 0.0, 0.3])), mpp=1.4 * MPP)
        for cell in home(count, first).cells
    ])  # fmt: skip


def unnamed(split: Split) -> list[Cell]:
    return [replace(cell, label="") for cell in split.cells]


def taught(path: Path) -> Path:
    """Write the folder of a classifier that knows the home laboratory and no other."""
    torch.set_num_threads(1)
    torch.manual_seed(1)
    cells, held = home(40), home(25, 5000)
    cutter = Cutter(cells.cells, cells.weights(0.0), CROP, MPP, strength=0.0)
    feed = batches(cutter, cells.kinds, 1, 16)
    net = ClassifierNet(len(KINDS), SIZE)

    def loss(_: int) -> torch.Tensor:
        batch = next(feed)
        return label_loss(net(normalised(batch.pixels))[0], batch.kinds, 0.05, 0.3)

    net = teach(net, loss, 100, 5e-3, norms=True)
    _, features = look(net, [plain(cell, CROP, MPP) for cell in cells.cells])
    logits, mine = look(net, [plain(cell, CROP, MPP) for cell in held.cells])
    ready = calibrate(logits, mine, held.types, learn(features, cells.types))
    facts = ClassifierFacts(
        name="drawn", version="1", kinds=KINDS, crop_mpp=MPP, crop_px=CROP, channels=SIZE.channels, blocks=SIZE.blocks,
        mean=MEAN, std=STD, sure_from=ready.sure_from, strange_from=ready.strange_from, licence="CC0",
    )  # fmt: skip
    weights = export_weights(calibrated_net(net, ready))
    return write_classifier(path, facts, onnx=export_classifier(net, ready), weights=weights).path


def model_of(folder: Path) -> Model:
    return opened(read_classifier(folder))


def write_pictures(root: Path, split: Split) -> Path:
    """Write cells as files, in one folder."""
    root.mkdir(parents=True, exist_ok=True)
    for cell in split.cells:
        assert cv2.imwrite(str(root / cell.name), cell.pixels[..., ::-1])
    return root


def strip(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture that shows no cell: stripes."""
    out = np.zeros_like(pixels)
    out[:, ::4] = 255
    return out
