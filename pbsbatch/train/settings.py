"""The settings of one training run: a TOML file's tables as frozen values, each key known, typed and bounded.

Law: what a run needs to be made again stands here; paths are relative to the folder that --data names, lists of
fields to the settings file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pbsbatch.errors import UsageError
from pbsbatch.models.scale import RED_CELL_UM
from pbsbatch.train.tables import make, one_of, read_table, within

__all__ = ["Calm", "DataTable", "Network", "Settings", "Synthetic", "Variety", "read_settings", "settings_from_table"]

FORMATS = ("voc", "yolo", "coco", "cvat", "labels")


@dataclass(frozen=True, slots=True)
class Network:
    """What decides the cost of the network; see nets.detector.NetSize."""

    channels: tuple[int, int, int, int] = within(1, 1024, (16, 32, 64, 128))
    head: int = within(1, 1024, 64)
    blocks: tuple[int, int, int] = within(0, 64, (1, 2, 3))
    stride: int = within(4, 8, 4)


@dataclass(frozen=True, slots=True)
class Synthetic:
    """Drawn fields among the real ones: how many, and how often one is taken."""

    share: float = within(0.0, 1.0, 0.0)
    fields: int = within(1, 100_000, 200)
    size_px: int = within(64, 4096, 512)


@dataclass(frozen=True, slots=True)
class Variety:
    """How far canvases stray from the fields that they show; 1 is as far as other laboratories do."""

    stain: float = within(0.0, 5.0, 1.0)
    harm: float = within(0.0, 3.0, 1.0)  # how often blur, noise and compression are added
    scale: float = within(0.0, 3.0, 1.0)
    whole: float = within(0.0, 1.0, 0.0)  # how many canvases show whole fields on white, as runs see small images
    turns: float = within(0.0, 1.0, 1.0)  # 0: none; labels may lean to one side, which turned fields cannot teach


@dataclass(frozen=True, slots=True)
class Calm:
    """The last share of a run, in which canvases stray less: borders are learned as they are."""

    share: float = within(0.0, 1.0, 0.0)
    variety: Variety = Variety(stain=0.4, harm=0.35, scale=0.4, turns=0.0)


@dataclass(frozen=True, slots=True)
class DataTable:
    """One data set. Fields are chosen by their names: shell patterns, or @FILE for a file with one on each line."""

    path: str
    format: str = one_of(FORMATS, "yolo")
    split: str = ""
    source: str = ""  # empty: what stands before the first _ of a field's name
    complete: bool = True  # false: not every cell is marked, so nothing is taught as background
    weight: float = within(0.0, 1e6, 1.0)
    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    skip_bad: bool = False
    red_cell_px: float = within(0.0, 1000.0, 0.0)  # of fields that show too few red cells to tell; 0: as their source's
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
    work_mpp: float = within(0.05, 1.0, 0.2)  # um per pixel at which the network sees cells
    max_cell_um: float = within(5.0, 100.0, 30.0)
    context_px: int = within(0, 2048, 0)  # that tiles overlap by for the network's sake; 0: all that it can see
    seed: int = within(0, 2**31, 1)
    steps: int = within(1, 10**8, 10_000)
    minutes: float = within(0.0, 1e5, 0.0)  # 0: as many steps as said; else as long as said
    batch: int = within(1, 4096, 8)
    canvas_px: int = within(64, 4096, 384)
    learning_rate: float = within(1e-8, 1.0, 2e-3)
    weight_decay: float = within(0.0, 1.0, 0.02)
    warm_up: int = within(0, 10**6, 100)  # steps
    clip: float = within(1e-3, 1e6, 10.0)  # norm of the gradient
    ema: float = within(0.0, 0.99999, 0.998)
    precision: str = one_of(("bf16", "fp32"), "bf16")
    balance: float = within(0.0, 1.0, 0.5)  # a field's weight falls with its source's size to this power
    rare: float = within(0.0, 100.0, 0.0)  # the weight of a field that shows a platelet grows by so many times
    box_weight: float = within(0.0, 1000.0, 5.0)  # of a box's loss beside a score's
    nms_iou: float = within(0.1, 1.0, 0.6)
    cross_iou: float = within(0.1, 1.0, 0.75)
    validate_every: int = within(1, 10**8, 1000)  # steps
    int8_tiles: int = within(0, 10_000, 0)  # canvases that an int8 network is calibrated on; 0: there is none
    loaders: int = within(0, 256, 1)  # processes that compose canvases
    network: Network = Network()
    variety: Variety = Variety()
    calm: Calm = Calm()
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
    return settings_from_table({**read_table(path), **(overrides or {})}, path)


def settings_from_table(table: Mapping[str, Any], path: Path) -> Settings:
    """Return the checked settings of a table as TOML gives it; path is where it stands."""
    made: Settings = make(Settings, {"data": (), "validation": (), **table}, path)
    return made
