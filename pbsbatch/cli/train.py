"""Run a training for the command line: settings, data, signals, and what a person sees of it."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any

from pbsbatch.cli.console import some
from pbsbatch.disk import make_folder, output_errors
from pbsbatch.errors import UsageError
from pbsbatch.train.settings import FORMATS, Settings, read_settings

__all__ = [
    "INTERRUPTED",
    "Wish",
    "config_of",
    "course_of",
    "need",
    "sets_of",
    "stopped_by_signals",
    "train_detector",
]

NEEDED = ("torch", "safetensors", "matplotlib", "onnx")
INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line asks for."""

    data: Path
    output: Path
    config: Path | None
    format: str | None
    weights: Path | None
    resume: bool
    device: str
    threads: int
    minutes: float | None
    steps: int | None


def train_detector(wish: Wish) -> int:
    """Train and finish; return the exit code."""
    settings = _settings(wish)
    need()
    from pbsbatch.cli.train_view import DetectorView
    from pbsbatch.train.detector import Data, Judged, begin, teach
    from pbsbatch.train.fields import load_training, load_validation
    from pbsbatch.train.finish import calibration_tiles, finish
    from pbsbatch.train.machine import choose_device
    from pbsbatch.train.metrics import METRICS, Metrics
    from pbsbatch.train.plot import PLOT, plot

    device = choose_device(wish.device, wish.threads)
    with output_errors(wish.output):
        make_folder(wish.output)
    run = begin(settings, wish.output, device, resume=wish.resume, weights=wish.weights)
    with DetectorView(settings.steps, settings.minutes) as view:
        view.say("reading fields")
        start = time.monotonic()
        fields, weights = load_training(settings, wish.data)
        validation = load_validation(settings, wish.data)
        view.say(
            f"{some(len(fields), 'field')} to learn from, {len(validation):,} to be judged by, "
            f"read in {time.monotonic() - start:.0f} s"
        )
        metrics = Metrics(wish.output / METRICS, run.step)
        with stopped_by_signals() as stopped:
            for event in teach(run, Data(fields, weights, validation), wish.output, lambda _: stopped()):
                metrics.on_event(event)
                view.on_event(event)
                if isinstance(event, Judged):
                    plot(wish.output / METRICS, wish.output / PLOT)
        if run.share < 1:
            view.say(f"stopped after step {run.step:,}: go on with the same command and --resume")
            return INTERRUPTED
        view.say("finishing the model")
        done = finish(settings, wish.output, validation, device, calibration_tiles(settings, fields, weights))
    view.show_end(done, wish.output)
    return 0


@contextmanager
def config_of(wish: Wish, shipped: str) -> Iterator[Path]:
    """Yield the file of settings: the one given, or the one that comes with the package."""
    if wish.config is not None:
        yield wish.config
        return
    with resources.as_file(resources.files("pbsbatch.train") / "configs") as folder:
        yield folder / shipped


def course_of(wish: Wish) -> dict[str, Any]:
    """Return what the command line says of how long to train."""
    if wish.minutes is not None and wish.steps is not None:
        raise UsageError("--minutes and --steps exclude each other")
    if not wish.data.is_dir():
        raise UsageError("no such folder", path=wish.data, cure="Give the folder of the data sets with --data")
    if wish.minutes is not None:
        return {"minutes": wish.minutes}
    return {} if wish.steps is None else {"steps": wish.steps, "minutes": 0.0}


def _settings(wish: Wish) -> Settings:
    """Return a detector's settings with what the command line says put over them."""
    over = {**course_of(wish), **sets_of(wish)}
    with config_of(wish, "detector.toml" if wish.weights is None else "tune.toml") as path:
        return read_settings(path, over)


def sets_of(wish: Wish) -> dict[str, Any]:
    """Return the data set that the command line gives instead of the settings'."""
    if wish.format is None:
        return {}
    if wish.format not in FORMATS:
        raise UsageError(f"--format must be one of {', '.join(FORMATS)}, not {wish.format!r}")
    name = wish.data.resolve().name
    sets = {s: {"path": ".", "format": wish.format, "split": s, "name": name} for s in ("train", "val")}
    return {"data": [sets["train"]], "validation": [sets["val"]]}


def need(*more: str) -> None:
    """Refuse where the libraries of training are missing."""
    missing = [name for name in (*NEEDED, *more) if find_spec(name) is None]
    if missing:
        raise UsageError(f"training needs {', '.join(missing)}", cure='Install it with: pip install "pbsbatch[train]"')


@contextmanager
def stopped_by_signals() -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether SIGINT or SIGTERM came; a second one ends at once."""
    came: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        if came:
            sys.exit(INTERRUPTED)
        came.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
