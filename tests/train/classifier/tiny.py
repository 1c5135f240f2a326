"""Folders of a few made-up cells, and settings that train on them in seconds."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from pbsbatch.train.classifier.loop import Event, Run, begin, teach
from pbsbatch.train.classifier.pictures import Split, load
from pbsbatch.train.classifier.settings import Settings, settings_from_table

SETTINGS = """
name = "tiny"
crop_mpp = 0.4
crop_px = 32
steps = 12
batch = 4
warm_up = 2
precision = "fp32"
validate_every = 6
loaders = 0

[network]
channels = [4, 8, 8, 8]
blocks = [0, 0, 1]

[[pictures]]
path = "cells"
mpp = 0.4
licence = "CC0"
rename = [
    { begins = "neutrophil/BNE", is_a = "band_neutrophil" },
    { begins = "ig", is_a = "immature_granulocyte" },
]
"""
NUCLEUS = {
    "neutrophil": (90, 40, 150), "lymphocyte": (30, 30, 160), "ig": (170, 60, 90), "platelet": (200, 120, 200),
}  # fmt: skip


def picture(kind: str, seed: int, side: int = 48) -> NDArray[np.uint8]:
    """Return a disc of the kind's colour among pale ones that no other picture has."""
    rng = np.random.default_rng((seed, list(NUCLEUS).index(kind)))
    image = np.full((side, side, 3), 230, np.uint8)
    for _ in range(9):
        x, y, shade = (int(v) for v in rng.integers((0, 0, 120), (side, side, 220)))
        cv2.circle(image, (x, y), int(rng.integers(3, 7)), (shade + 20, shade, shade), -1)
    cv2.circle(image, (side // 2, side // 2), 4 if kind == "platelet" else 10, NUCLEUS[kind], -1)
    noise = rng.normal(0, 3, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def write_cells(root: Path, count: int = 24) -> Path:
    """Write a data set root/cells; return root."""
    for kind in NUCLEUS:
        folder = root / "cells" / kind
        folder.mkdir(parents=True)
        for i in range(count):
            begins = "BNE" if kind == "neutrophil" and i % 2 else "x"
            cv2.imwrite(str(folder / f"{begins}_{i}.png"), picture(kind, i)[..., ::-1])
    return root


def tiny_settings(tmp: Path, **changes: object) -> Settings:
    """Return the settings above with some changed."""
    return settings_from_table({**tomllib.loads(SETTINGS), **changes}, tmp / "tiny.toml")


def splits(root: Path) -> dict[str, Split]:
    """Read what write_cells wrote."""
    return load(tiny_settings(root), root)[0]


def trained(
    settings: Settings, parts: Mapping[str, Split], output: Path, *, until: int = 10**9, resume: bool = False
) -> tuple[Run, list[Event]]:
    """Train on one thread of the CPU until the run is done or a step is reached."""
    torch.set_num_threads(1)
    output.mkdir(exist_ok=True)
    run = begin(settings, output, torch.device("cpu"), resume=resume)
    return run, list(teach(run, parts["train"], parts["calibration"], output, lambda r: r.step >= until))
