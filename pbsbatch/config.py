"""The settings of one run: frozen, from defaults, then a TOML file, then flags. Resolving returns a new Config."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from pbsbatch.deadline import parse_until
from pbsbatch.errors import UsageError

__all__ = ["Config", "parse_bytes", "read_config_file", "resolve"]

ENGINES = ("auto", "opencv", "openvino", "torch", "tensorrt")


@dataclass(frozen=True, slots=True)
class Config:
    """What a person decides about a run. Fields in RESULT_FIELDS are part of every slide's resume key."""

    inputs: tuple[Path, ...] = ()
    output: Path = Path("pbsbatch-results")
    model: str = "smear"
    engine: str = "auto"
    mpp: float | None = None
    scales: str = "auto"  # or single, or how many times larger cells are in parts of an image: "0.5,1,1.5"
    score_threshold: float | None = None
    thresholds: tuple[tuple[str, float], ...] = ()  # least score by class, in place of the model's own
    nms_iou: float | None = None  # overlap above which the better cell of a class stays; None: the model's
    preset: str | None = None  # thresholds and suppression of a study, by its name
    keep_candidates: bool = False  # keep what cells were chosen from, for `tune`
    differential: bool = True  # give white cells their types
    classifier: str = "differential"
    second_opinion: str | None = None  # another classifier that is asked too
    second_opinion_map: tuple[tuple[str, str], ...] = ()  # what a detector's own types mean, by its words
    core: int | None = None  # side of a tile's core in work pixels; None lets the plan choose
    halo: int | None = None  # in work pixels; None takes the smallest that the laws allow
    origin: tuple[int, int] = (0, 0)  # where the grid of cores starts, in work pixels
    max_failed_tiles: float = 0.2  # a slide with a larger share of unreadable tiles fails
    workers: int | None = None  # None: one for every two cores
    scheduler: str | None = None
    memory: int | None = None  # budget in bytes; None: what the machine has free
    stage: Path | None = None  # a fast folder that the next slides are copied to
    stage_bytes: int | None = None  # None: half of what is free there
    deidentify: bool = False
    key_file: Path | None = None  # None: in the user's own folder of settings
    until: str | None = None  # a time of day or a duration: what must be over by then (deadline.py)
    patience: float = 600.0  # seconds without a strip, or a commit, after which a worker is given up
    fresh: bool = False
    quiet: bool = False


CORES_PER_WORKER = 2
"""One worker feeds two cores and shares its network between them. That it takes less memory than two is expected, not
shown: of two pairs of runs on a busy machine one said so, one the contrary. More cores would wait for its one
interpreter: of an archive of small fields a third of the processor time is Python's."""


def worker_count(config: Config) -> int:
    """Return how many workers a run starts on this machine."""
    return config.workers or max(1, cores() // CORES_PER_WORKER)


def cores_per_worker(config: Config) -> int:
    """Return how many cores each of them keeps busy."""
    return max(1, cores() // worker_count(config))


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


UNUSUAL_FIELDS = ("thresholds", "nms_iou", "preset", "keep_candidates")
"""Result fields that are part of the key only where they are set: results made before there were any stay."""
RESULT_FIELDS = ("scales", "score_threshold", "core", "halo", "origin", "max_failed_tiles")


def resolve(flags: Mapping[str, Any], config_file: Path | None = None) -> Config:
    """Return the checked Config of a command line: flags win over the file, the file over the defaults."""
    given = {name: value for name, value in flags.items() if value is not None}
    from_file = read_config_file(config_file) if config_file is not None else {}
    return _checked(replace(Config(), **{**from_file, **given}))


def read_config_file(path: Path) -> dict[str, Any]:
    """Read a TOML file whose keys are the long flags without their dashes; relative inputs are the file's."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read the config file ({error.strerror})", path=path) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"not valid TOML: {error}", path=path) from error
    known = {f.name for f in fields(Config)} | {"input"}
    values: dict[str, Any] = {}
    for raw_name, value in table.items():
        name = raw_name.replace("-", "_")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known settings: {', '.join(sorted(known))}"
            raise UsageError(f"unknown setting {raw_name!r}", path=path, cure=hint)
        values["inputs" if name == "input" else name] = value
    return _typed(values, path)


def _typed(values: dict[str, Any], path: Path) -> dict[str, Any]:
    """Turn TOML's plain values into the types of Config, or say which one is wrong."""
    if "inputs" in values:
        entries = [values["inputs"]] if isinstance(values["inputs"], str) else values["inputs"]
        _expect(
            isinstance(entries, list) and all(isinstance(e, str) for e in entries), "inputs", "a list of paths", path
        )
        values["inputs"] = tuple(path.parent / e for e in entries)
    if "output" in values:
        _expect(isinstance(values["output"], str), "output", "a path", path)
        values["output"] = path.parent / values["output"]
    for name in {"key_file", "stage"} & values.keys():
        _expect(isinstance(values[name], str), name, "a path", path)
        values[name] = path.parent / values[name]
    if "origin" in values:
        pair = values["origin"]
        _expect(isinstance(pair, list) and len(pair) == 2, "origin", "two whole numbers", path)
        _expect(all(type(v) is int for v in pair), "origin", "two whole numbers", path)
        values["origin"] = (pair[0], pair[1])
    if "thresholds" in values:
        table = values["thresholds"]
        fits = isinstance(table, dict) and all(type(v) in (int, float) for v in table.values())
        _expect(fits, "thresholds", "a table of class names and numbers", path)
        values["thresholds"] = tuple(sorted((str(name), float(v)) for name, v in table.items()))
    if "second_opinion_map" in values:
        table = values["second_opinion_map"]
        fits = isinstance(table, dict) and all(isinstance(v, str) for v in table.values())
        _expect(fits, "second_opinion_map", "a table of a detector's words and types", path)
        values["second_opinion_map"] = tuple(sorted(table.items()))
    for name in ("memory", "stage_bytes"):
        if isinstance(values.get(name), str):
            values[name] = parse_bytes(values[name])
    for names, kinds, said in (
        (("model", "classifier", "engine", "scheduler", "until", "scales", "preset", "second_opinion"), (str,), "text"),
        (("mpp", "score_threshold", "max_failed_tiles", "patience", "nms_iou"), (int, float), "a number"),
        (("core", "halo", "workers", "memory", "stage_bytes"), (int,), "a whole number"),
        (("fresh", "quiet", "deidentify", "differential", "keep_candidates"), (bool,), "true or false"),
    ):
        for name in names:
            value = values.get(name)
            fits = isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
            _expect(name not in values or fits, name, said, path)
    return values


def _expect(holds: bool, name: str, said: str, path: Path) -> None:
    if not holds:
        raise UsageError(f"{name} must be {said}", path=path)


def _checked(config: Config) -> Config:
    """Refuse values that cannot be meant, before anything is touched."""
    rules: tuple[tuple[bool, str], ...] = (
        (
            config.engine.partition(":")[0] in ENGINES and config.engine != "auto:",
            f"--engine must be one of {', '.join(ENGINES)}, with a precision if need be, as openvino:fp32, "
            f"not {config.engine!r}",
        ),
        (config.mpp is None or 0.01 <= config.mpp <= 10, f"--mpp is um per pixel, 0.01 to 10, not {config.mpp}"),
        (
            config.score_threshold is None or 0 <= config.score_threshold <= 1,
            f"--score-threshold must lie between 0 and 1, not {config.score_threshold}",
        ),
        (config.core is None or 32 <= config.core <= 8192, f"core must lie between 32 and 8192, not {config.core}"),
        (config.halo is None or 0 <= config.halo <= 4096, f"halo must lie between 0 and 4096, not {config.halo}"),
        (config.workers is None or 1 <= config.workers <= 4096, f"--workers must be 1 or more, not {config.workers}"),
        (config.patience >= 1, f"patience is seconds, 1 or more, not {config.patience}"),
        (0 <= config.max_failed_tiles <= 1, f"max_failed_tiles is a share, 0 to 1, not {config.max_failed_tiles}"),
    )
    rules += ((config.key_file is None or config.deidentify, "--key-file says nothing without --deidentify"),)
    rules += ((config.stage_bytes is None or config.stage is not None, "--stage-bytes says nothing without --stage"),)
    rules += (
        (all(0.001 <= v <= 0.999 for _, v in config.thresholds), "thresholds must lie between 0.001 and 0.999"),
        (config.nms_iou is None or 0.1 <= config.nms_iou <= 1, f"nms_iou must lie in 0.1 to 1, not {config.nms_iou}"),
    )
    rules += (
        (
            config.second_opinion is not None or not config.second_opinion_map,
            "--second-opinion-map says nothing without --second-opinion",
        ),
    )
    if config.until is not None:
        parse_until(config.until, datetime.now().astimezone())
    parse_scales(config.scales)
    for holds, what in rules:
        if not holds:
            raise UsageError(what)
    return config


def parse_scales(text: str) -> tuple[float, ...] | None:
    """Read "0.5,1,1.5"; None for auto, (1,) for single."""
    if text in ("auto", "single"):
        return None if text == "auto" else (1.0,)
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if not (1 <= len(values) <= 8 and all(0.1 <= v <= 10 for v in values)):
        cure = "Write for example --scales 0.5,1,1.5: how many times larger cells are than --mpp says"
        raise UsageError(f"--scales is auto, single or 1 to 8 numbers from 0.1 to 10, not {text!r}", cure=cure)
    return tuple(sorted({*values}))


def parse_bytes(text: str) -> int:
    """Read "8GB", "500 MB", "2.5GiB" or a plain number of bytes."""
    units = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
    units |= {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
    number = text.strip().rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
    unit = text.strip()[len(number) :].strip().lower()
    try:
        value = float(number) * units[unit]
    except (ValueError, KeyError):
        raise UsageError(f"{text!r} is not an amount of memory", cure="Write for example 8GB or 500MB") from None
    if not 0 < value < 2**60:
        raise UsageError(f"{text!r} is not a sensible amount of memory")
    return int(value)
