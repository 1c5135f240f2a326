"""The settings of one training of a two-stage detector: a TOML file's tables as frozen values, as for the dense one.

Law: a preset is a set of settings by its name; what the file or the command line says wins over it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pbsbatch.errors import UsageError
from pbsbatch.models.rcnn_facts import STEP_PX
from pbsbatch.models.scale import RED_CELL_UM
from pbsbatch.models.words import COUNTED
from pbsbatch.train.rcnn.presets import preset_of
from pbsbatch.train.settings import DataTable, Synthetic, Variety
from pbsbatch.train.tables import make, one_of, read_table, within

__all__ = ["FREEZE", "RcnnSettings", "read_settings", "settings_from_table"]

FREEZE = ("none", "backbone", "heads-first")


@dataclass(frozen=True, slots=True)
class RcnnSettings:
    """All that decides a training run. An epoch is so many steps as the fields fill batches, or as epoch_steps says."""

    data: tuple[DataTable, ...]
    validation: tuple[DataTable, ...]
    arch: str = "fasterrcnn-r50-fpn"
    preset: str = ""  # thresholds of a study instead of those that fit the validation fields best
    name: str = "two-stage"
    version: str = "1"
    licence: str = "Apache-2.0"
    work_mpp: float = within(0.05, 1.0, 0.25)  # um per pixel at which the network sees cells
    max_cell_um: float = within(5.0, 100.0, 30.0)
    context_px: int = within(0, 2048, 64)
    input_px: int = within(2 * STEP_PX, 4096, 1024)  # side of a run's tiles
    seed: int = within(0, 2**31, 1)
    epochs: int = within(1, 10**6, 5)
    head_epochs: int = within(0, 10**6, 0)  # of freeze = heads-first: before the backbone learns too
    epoch_steps: int = within(0, 10**6, 0)  # 0: a pass over the fields
    steps: int = within(0, 10**8, 0)  # 0: as many as the epochs take
    minutes: float = within(0.0, 1e5, 0.0)  # 0: as many steps as said; else as long as said
    batch: int = within(1, 4096, 4)
    canvas_px: int = within(64, 4096, 512)
    learning_rate: float = within(1e-8, 1e6, 1e-3)
    momentum: float = within(0.0, 0.9999, 0.9)
    weight_decay: float = within(0.0, 1.0, 1e-4)
    course: str = one_of(("constant", "cosine"), "constant")
    warm_up: int = within(0, 10**6, 100)  # steps
    clip: float = within(1e-3, 1e6, 10.0)  # norm of the gradient
    ema: float = within(0.0, 0.99999, 0.0)  # 0: the last weights are judged, not their average
    freeze: str = one_of(FREEZE, "none")
    regions: int = within(1, 10_000, 512)  # proposals of a canvas that the second stage is taught on
    balance: float = within(0.0, 1.0, 0.5)
    rare: float = within(0.0, 100.0, 0.0)  # so much more often is a field taken that shows platelets
    nms_iou: float = within(0.05, 1.0, 0.5)
    cross_iou: float = within(0.05, 1.0, 0.75)  # between classes: one cell is counted once
    validate_every: int = within(1, 10**6, 1)  # epochs
    loaders: int = within(0, 256, 1)
    count_as: Mapping[str, str] = field(default_factory=dict)  # RBC, WBC, Platelet or NRBC by class
    variety: Variety = field(default_factory=Variety)
    synthetic: Synthetic = field(default_factory=Synthetic)

    def __post_init__(self) -> None:
        for holds, said in (
            (self.canvas_px % 32 == 0, f"canvas_px must be a multiple of 32, not {self.canvas_px}"),
            (self.input_px % STEP_PX == 0, f"input_px must be a multiple of {STEP_PX}, not {self.input_px}"),
            (self.data or self.synthetic.share == 1, "no data: give [[data]] tables, or synthetic.share = 1"),
            (self.validation, "no validation sets: give at least one [[validation]] table"),
            (
                (self.head_epochs > 0) == (self.freeze == "heads-first"),
                "head_epochs must be above 0 with freeze = heads-first, and 0 without it",
            ),
            (set(self.count_as.values()) <= {*COUNTED}, f"count_as must say one of {', '.join(COUNTED)} of each class"),
        ):
            if not holds:
                raise UsageError(said)
        if self.preset:
            preset_of(self.preset)

    @property
    def red_cell_px(self) -> float:
        """Return the diameter of a red cell at the working scale."""
        return RED_CELL_UM / self.work_mpp

    def table(self) -> dict[str, Any]:
        """Return the settings as plain values for JSON."""
        return asdict(self)


def read_settings(path: Path, overrides: Mapping[str, Any] | None = None) -> RcnnSettings:
    """Return the checked settings of a TOML file; overrides win over it."""
    return settings_from_table({**read_table(path), **(overrides or {})}, path)


def settings_from_table(table: Mapping[str, Any], path: Path) -> RcnnSettings:
    """Return the checked settings of a table as TOML gives it; path is where it stands."""
    name = table.get("preset", "")
    over = preset_of(name).training if isinstance(name, str) and name else {}
    made: RcnnSettings = make(RcnnSettings, {"data": (), "validation": (), **over, **table}, path)
    return made
