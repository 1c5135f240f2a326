"""A data set of a few drawn fields on disk, and settings that train on it in seconds."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import torch

from pbsbatch.datasets.samples import CLASSES, Sample
from pbsbatch.train.detector import Data, Event, Run, begin, teach
from pbsbatch.train.fields import load_training, load_validation
from pbsbatch.train.settings import Settings, settings_from_table
from pbsbatch.train.synthetic import synthetic_samples

SETTINGS = """
name = "tiny"
work_mpp = 0.4
steps = 20
batch = 2
canvas_px = 64
warm_up = 5
precision = "fp32"
validate_every = 10
loaders = 0

[network]
channels = [4, 8, 8, 8]
head = 8
blocks = [0, 1, 0]

[[data]]
path = "set"
split = "train"
licence = "CC0"

[[validation]]
path = "set"
split = "val"
"""


@cache
def fields() -> tuple[Sample, ...]:
    """Draw three fields."""
    return tuple(synthetic_samples(3, 1, 128, 18.0))


def write_set(root: Path, sources: tuple[str, ...] = ("a", "a", "b")) -> Path:
    """Write the fields as a YOLO data set root/set with the splits train and val; return root."""
    for split in ("train", "val"):
        for part in ("images", "labels"):
            (root / "set" / part / split).mkdir(parents=True)
        for i, (source, sample) in enumerate(zip(sources, fields(), strict=True)):
            stem = f"{source}_{split}{i}"
            cv2.imwrite(str(root / "set/images" / split / f"{stem}.png"), sample.image[..., ::-1])
            lines = [_line(sample, k) for k in range(len(sample.boxes))]
            (root / "set/labels" / split / f"{stem}.txt").write_text("\n".join(lines))
    (root / "set/classes.txt").write_text("\n".join(CLASSES))
    return root


def tiny_settings(tmp: Path, **changes: object) -> Settings:
    """Return the settings above with some changed."""
    import tomllib

    return settings_from_table({**tomllib.loads(SETTINGS), **changes}, tmp / "tiny.toml")


def load(settings: Settings, root: Path) -> Data:
    """Read the fields that settings ask for."""
    return Data(*load_training(settings, root), load_validation(settings, root))


def trained(
    settings: Settings, data: Data, output: Path, *, until: int = 10**9, resume: bool = False
) -> tuple[Run, list[Event]]:
    """Train on one thread of the CPU until the run is done or a step is reached."""
    torch.set_num_threads(1)
    output.mkdir(exist_ok=True)
    run = begin(settings, output, torch.device("cpu"), resume=resume)
    return run, list(teach(run, data, output, lambda r: r.step >= until))


def _line(sample: Sample, k: int) -> str:
    (x0, y0, x1, y1), (width, height) = sample.boxes[k].tolist(), sample.size
    numbers = ((x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height)
    return f"{sample.classes[k]} " + " ".join(f"{n:.6f}" for n in numbers)
