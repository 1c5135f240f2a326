"""The settings of one training run: a TOML file's tables as frozen values, each key known, typed and bounded.

Law: what a run needs to be made again stands here; paths are relative to the folder that --data names, lists of
fields to the settings file.
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from pbsbatch.errors import UsageError
from pbsbatch.models.scale import RED_CELL_UM

__all__ = ["DataTable", "Network", "Settings", "Synthetic", "read_settings", "settings_from_table"]

FORMATS = ("voc", "yolo", "coco")


def _within(low: float, high: float, default: Any = MISSING) -> Any:
    """Declare a number, or a list of numbers, with its bounds."""
    bounds = {"low": low, "high": high}
    return field(metadata=bounds) if default is MISSING else field(default=default, metadata=bounds)


def _one_of(choices: tuple[str, ...], default: str) -> Any:
    return field(default=default, metadata={"choices": choices})


@dataclass(frozen=True, slots=True)
class Network:
    """What decides the cost of the network; see nets.detector.NetSize."""

    channels: tuple[int, int, int, int] = _within(1, 1024, (16, 32, 64, 128))
    head: int = _within(1, 1024, 64)
    blocks: tuple[int, int, int] = _within(0, 64, (1, 2, 3))
    stride: int = _within(4, 8, 4)


@dataclass(frozen=True, slots=True)
class Synthetic:
    """Drawn fields among the real ones: how many, and how often one is taken."""

    share: float = _within(0.0, 1.0, 0.0)
    fields: int = _within(1, 100_000, 200)
    size_px: int = _within(64, 4096, 512)


@dataclass(frozen=True, slots=True)
class DataTable:
    """One data set. Fields are chosen by their names: shell patterns, or @FILE for a file with one on each line."""

    path: str
    format: str = _one_of(FORMATS, "yolo")
    split: str = ""
    source: str = ""  # empty: what stands before the first _ of a field's name
    complete: bool = True  # false: not every cell is marked, so nothing is taught as background
    weight: float = _within(0.0, 1e6, 1.0)
    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    skip_bad: bool = False
    name: str = ""  # how the model's facts call it; empty: its path
    licence: str = "unknown"


@dataclass(frozen=True, slots=True)
class Settings:
    """All that decides a training run."""

    data: tuple[DataTable, ...]
    validation: tuple[DataTable, ...]
    name: str = "detector"
    version: str = "1"
    licence: str = "Apache-2.0"
    work_mpp: float = _within(0.05, 1.0, 0.2)  # um per pixel at which the network sees cells
    max_cell_um: float = _within(5.0, 100.0, 30.0)
    context_px: int = _within(0, 2048, 0)  # that tiles overlap by for the network's sake; 0: all that it can see
    seed: int = _within(0, 2**31, 1)
    steps: int = _within(1, 10**8, 10_000)
    minutes: float = _within(0.0, 1e5, 0.0)  # 0: as many steps as said; else as long as said
    batch: int = _within(1, 4096, 8)
    canvas_px: int = _within(64, 4096, 384)
    learning_rate: float = _within(1e-8, 1.0, 2e-3)
    weight_decay: float = _within(0.0, 1.0, 0.02)
    warm_up: int = _within(0, 10**6, 100)  # steps
    clip: float = _within(1e-3, 1e6, 10.0)  # norm of the gradient
    ema: float = _within(0.0, 0.99999, 0.998)
    precision: str = _one_of(("bf16", "fp32"), "bf16")
    strength: float = _within(0.0, 5.0, 1.0)  # of stain changes
    balance: float = _within(0.0, 1.0, 0.5)  # a field's weight falls with its source's size to this power
    nms_iou: float = _within(0.1, 1.0, 0.6)
    cross_iou: float = _within(0.1, 1.0, 0.75)
    validate_every: int = _within(1, 10**8, 1000)  # steps
    int8_tiles: int = _within(0, 10_000, 0)  # canvases that an int8 network is calibrated on; 0: there is none
    loaders: int = _within(0, 256, 1)  # processes that compose canvases
    network: Network = Network()
    synthetic: Synthetic = Synthetic()

    def __post_init__(self) -> None:
        if self.canvas_px % 32:
            raise UsageError(f"canvas_px must be a multiple of 32, not {self.canvas_px}")
        if self.network.stride not in (4, 8):
            raise UsageError(f"network.stride must be 4 or 8, not {self.network.stride}")
        if not self.data and self.synthetic.share == 0:
            raise UsageError("no data: give [[data]] tables, or synthetic.share = 1")
        if not self.data and self.synthetic.share < 1:
            raise UsageError("without [[data]] tables synthetic.share must be 1")
        if not self.validation:
            raise UsageError("no validation sets: give at least one [[validation]] table")

    @property
    def red_cell_px(self) -> float:
        """Return the diameter of a red cell at the working scale."""
        return RED_CELL_UM / self.work_mpp

    def table(self) -> dict[str, Any]:
        """Return the settings as plain values for JSON."""
        return asdict(self)


def read_settings(path: Path, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Return the checked settings of a TOML file; overrides win over it, lists of fields are read in."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read the settings ({error.strerror})", path=path) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"not valid TOML: {error}", path=path) from error
    return settings_from_table({**table, **(overrides or {})}, path)


def settings_from_table(table: Mapping[str, Any], path: Path) -> Settings:
    """Return the checked settings of a table as TOML gives it; path is where it stands."""
    try:
        made: Settings = _made(Settings, table, "", path)
    except UsageError as error:
        raise UsageError(error.what, path=path, cure=error.cure) from error
    return made


def _made(kind: Any, table: object, where: str, path: Path) -> Any:
    """Return a dataclass made from a table: every key known, every value typed and in its bounds."""
    if not isinstance(table, Mapping):
        raise UsageError(f"{where or 'the settings'} must be a table")
    known = {f.name: f for f in fields(kind)}
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known settings: {', '.join(sorted(known))}"
            raise UsageError(f"unknown setting {_dotted(where, str(key))!r}", cure=hint)
    hints = get_type_hints(kind)
    values = {key: _value(known[key], hints[key], value, _dotted(where, key), path) for key, value in table.items()}
    empty = {"data": (), "validation": ()} if kind is Settings else {}
    missing = [f.name for f in known.values() if f.default is MISSING and f.name not in {**empty, **values}]
    if missing:
        raise UsageError(f"{_dotted(where, missing[0])} is missing")
    return kind(**{**empty, **values})


def _value(of: Field[Any], kind: Any, value: object, where: str, path: Path) -> Any:
    """Return one value as its type, or say what is wrong with it."""
    if hasattr(kind, "__dataclass_fields__"):
        return _made(kind, value, where, path)
    if get_origin(kind) is tuple:
        return _list(of, kind, value, where, path)
    said = {str: "text", bool: "true or false", int: "a whole number", float: "a number"}[kind]
    wanted = (int, float) if kind is float else (kind,)
    if not isinstance(value, wanted) or (isinstance(value, bool) and kind is not bool):
        raise UsageError(f"{where} must be {said}, not {value!r}")
    choices, low, high = of.metadata.get("choices"), of.metadata.get("low"), of.metadata.get("high")
    if choices is not None and value not in choices:
        raise UsageError(f"{where} must be one of {', '.join(choices)}, not {value!r}")
    if low is not None and high is not None and not (math.isfinite(value) and low <= value <= high):
        raise UsageError(f"{where} must lie between {low:g} and {high:g}, not {value}")
    return kind(value)


def _list(of: Field[Any], kind: Any, value: object, where: str, path: Path) -> tuple[Any, ...]:
    """Return a list as a tuple, each entry checked; names of fields may stand in files."""
    inner = get_args(kind)
    if not isinstance(value, list | tuple):
        raise UsageError(f"{where} must be a list")
    if inner[-1] is not Ellipsis and len(value) != len(inner):
        raise UsageError(f"{where} must be a list of {len(inner)}")
    entries = tuple(_value(of, inner[0], v, f"{where}[{i}]", path) for i, v in enumerate(value))
    return _patterns(entries, where, path) if inner[0] is str else entries


def _patterns(entries: tuple[str, ...], where: str, path: Path) -> tuple[str, ...]:
    """Return patterns with every @FILE replaced by the lines of the file."""
    out: list[str] = []
    for entry in entries:
        if not entry.startswith("@"):
            out.append(entry)
            continue
        listed = path.parent / entry[1:]
        try:
            lines = listed.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{where}: cannot read {listed}", cure="Write one field name on each line") from error
        out += [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return tuple(out)


def _dotted(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key
