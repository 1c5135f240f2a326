"""Draw a folder of slides with its truth file: the body of `pbsbatch data synth`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pbsbatch.errors import OutputError, UsageError
from pbsbatch.synth.scene import Scene
from pbsbatch.synth.truth import TruthWriter
from pbsbatch.synth.write import IdMap, write_field, write_labels, write_slide

__all__ = ["FORMATS", "ArchiveSpec", "Tick", "clear", "draw_archive", "may_write", "parse_size"]

FORMATS = ("tiff", "jpeg", "png", "mixed")
_SUFFIX = {"tiff": ".tif", "jpeg": ".jpg", "png": ".png"}
_OURS = re.compile(r"slide_\d{3,}(\.labels\.tif|\.tif|\.jpg|\.png)|broken\.tif|truth\.json")
_FIELD_MP = 100
_FIELD_MM = 4.0

Tick = Callable[[str, int, int], None]
"""Called with (file name, steps done, steps in all)."""


@dataclass(frozen=True, slots=True)
class ArchiveSpec:
    """What to draw. Law: one spec and seed give the same files on any number of workers."""

    output: Path
    slides: int = 4
    width: int = 4096
    height: int = 4096
    mpp: float = 0.25
    seed: int = 0
    format: str = "tiff"
    profile: str = "auto"  # auto: slide from 4 mm on, else field
    white_per_1000: float | None = None
    labels: bool = False
    outlines: bool = True
    broken: bool = False
    force: bool = False
    workers: int = 1


def parse_size(text: str) -> tuple[int, int]:
    """Return (width, height) from text such as 4096x4096."""
    width, x, height = text.lower().partition("x")
    if not (x and width.isascii() and width.isdigit() and height.isascii() and height.isdigit()):
        raise UsageError(f"--size {text!r} is not WIDTHxHEIGHT", cure="Write it like 4096x4096")
    if not (0 < int(width) <= 500_000 and 0 < int(height) <= 500_000):
        raise UsageError(f"--size {text!r} is out of range", cure="Each side may have 1 to 500000 pixels")
    return int(width), int(height)


def _check(spec: ArchiveSpec) -> None:
    if spec.slides < 1:
        raise UsageError(f"--slides {spec.slides} draws nothing", cure="Ask for one slide at least")
    if spec.format not in FORMATS:
        raise UsageError(f"--format {spec.format!r} is unknown", cure=f"Choose one of {', '.join(FORMATS)}")
    if spec.format != "tiff" and spec.width * spec.height > _FIELD_MP * 10**6:
        raise UsageError(f"a JPEG or PNG field may have {_FIELD_MP} megapixels", cure="Choose --format tiff")
    may_write(spec.output, force=spec.force)


def may_write(folder: Path, *, force: bool) -> None:
    """Refuse a folder that holds something, unless it may be written into."""
    if folder.exists() and not folder.is_dir():
        raise UsageError("is not a folder", path=folder)
    if folder.is_dir() and any(folder.iterdir()) and not force:
        raise UsageError("the folder is not empty", path=folder, cure="Choose another or add --force")


def _scenes(spec: ArchiveSpec) -> Iterator[Scene]:
    """Yield the scenes: each slide has a stain, density, overlap and focus of its own."""
    profile = spec.profile
    if profile == "auto":
        profile = "slide" if min(spec.width, spec.height) * spec.mpp >= _FIELD_MM * 1000 else "field"
    for i in range(spec.slides):
        rng = np.random.default_rng([spec.seed % 2**64, i])
        try:
            yield Scene(
                spec.width, spec.height, mpp=spec.mpp, seed=spec.seed * 1_000_003 + i, profile=profile,
                density_per_mm2=round(float(np.clip(rng.normal(10500, 1000), 7500, 13500)), 1),
                overlap=round(float(rng.uniform(0.1, 0.3)), 3), white_per_1000=spec.white_per_1000,
                focus_um=round(float(rng.uniform(0.2, 0.36)), 3), noise=round(float(rng.uniform(0.8, 1.6)), 2),
            )  # fmt: skip
        except ValueError as error:
            raise UsageError(str(error)) from error


def draw_archive(spec: ArchiveSpec, tick: Tick | None = None) -> int:
    """Draw the slides and truth.json into the output folder; return the number of cells."""
    _check(spec)
    scenes = list(_scenes(spec))
    try:
        spec.output.mkdir(parents=True, exist_ok=True)
        clear(spec.output, _OURS)
        with TruthWriter(spec.output / "truth.json", outlines=spec.outlines) as truth:
            for i, scene in enumerate(scenes):
                kind = ("tiff", "jpeg", "png")[i % 3] if spec.format == "mixed" else spec.format
                _draw(spec, scene, spec.output / f"slide_{i:03d}{_SUFFIX[kind]}", truth, tick)
        if spec.broken:
            _break(spec.output / "broken.tif", spec.seed)
    except OSError as error:
        raise OutputError(error.strerror or str(error), path=error.filename or spec.output) from error
    return truth.count


def clear(folder: Path, ours: re.Pattern[str]) -> None:
    """Remove what an earlier writing left, so that no picture stands beside another one's truth."""
    if (folder / "truth.json").exists():
        for path in [*folder.iterdir(), *(folder / "labels").glob("*")]:
            if ours.fullmatch(path.name) and path.is_file():
                path.unlink()


def _draw(spec: ArchiveSpec, scene: Scene, path: Path, truth: TruthWriter, tick: Tick | None) -> None:
    def advance(done: int, of: int) -> None:
        if tick:
            tick(path.name, done, of)

    if path.suffix == ".tif":
        write_slide(scene, path, workers=spec.workers, progress=advance)
    else:
        write_field(scene, path)
    ids = truth.add(scene, path.name)
    advance(1, 1)
    if spec.labels:
        folder = spec.output / "labels"
        folder.mkdir(exist_ok=True)
        write_labels(scene, folder / f"{path.stem}.labels.tif", ids=IdMap(ids), workers=spec.workers)


def _break(path: Path, seed: int) -> None:
    """Write a slide and cut its file off, as a full disk or a broken transfer does."""
    write_slide(Scene(1024, 1024, seed=seed * 1_000_003 + 999_983), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 3 // 5])
