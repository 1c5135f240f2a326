"""The settings of one classifier's training: a TOML file's tables as frozen values.

Law: what a run needs to be made again stands here; paths are relative to the folder that --data names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pbsbatch.errors import UsageError
from pbsbatch.models.classifier_facts import ARCHITECTURES, SMALL
from pbsbatch.nets.classifier import STRIDE, ClassifierSize
from pbsbatch.train.classifier.augment_study import vector_of
from pbsbatch.train.tables import make, one_of, read_table, within

__all__ = [
    "AUGMENTED",
    "GROUPS",
    "LABORATORIES",
    "PICTURES",
    "Pictures",
    "Rename",
    "Settings",
    "read_settings",
    "settings_from_table",
]


LABORATORIES = "laboratories"
"""The augmentation of the shipped classifier (crops.Cutter): other laboratories' colours, scanners and boxes."""
GROUPS, PICTURES, AUGMENTED = "groups", "pictures", "augmented"
"""What is dealt out to the splits: groups of pictures of one cell or field; pictures; or, which leaks, pictures and
their augmented copies."""


@dataclass(frozen=True, slots=True)
class Rename:
    """What pictures are: those of a folder ("ig"), or whose names begin so ("ig/PMY")."""

    begins: str
    is_a: str  # a type or a kind of models.taxonomy


@dataclass(frozen=True, slots=True)
class Pictures:
    """One data set of class folders; a folder without a rename is called by its type or kind."""

    path: str
    mpp: float = within(0.02, 2.0)  # um per pixel of its pictures
    rename: tuple[Rename, ...] = ()
    name: str = ""  # how the model's facts call it; empty: its path
    licence: str = "unknown"


@dataclass(frozen=True, slots=True)
class Network:
    """What decides the cost of the network; see nets.classifier.ClassifierSize."""

    channels: tuple[int, int, int, int] = within(1, 1024, (16, 40, 72, 112))
    blocks: tuple[int, int, int] = within(0, 64, (1, 1, 2))


@dataclass(frozen=True, slots=True)
class Settings:
    """All that decides a training run."""

    pictures: tuple[Pictures, ...]
    name: str = "classifier"
    version: str = "1"
    licence: str = "Apache-2.0"
    crop_mpp: float = within(0.05, 1.0, 0.25)
    crop_px: int = within(STRIDE, 1024, 96)
    seed: int = within(0, 2**31, 1)
    steps: int = within(1, 10**8, 8000)
    minutes: float = within(0.0, 1e5, 0.0)  # 0: as many steps as said; else as long as said
    batch: int = within(1, 4096, 32)
    learning_rate: float = within(1e-8, 1.0, 2e-3)
    weight_decay: float = within(0.0, 1.0, 0.05)
    warm_up: int = within(0, 10**6, 200)  # steps
    clip: float = within(1e-3, 1e6, 5.0)  # norm of the gradient
    ema: float = within(0.0, 0.99999, 0.998)
    smoothing: float = within(0.0, 0.5, 0.05)  # of labels
    fine: float = within(0.0, 1.0, 0.3)  # weight of the kind against the type
    dropout: float = within(0.0, 0.9, 0.2)
    balance: float = within(0.0, 1.0, 0.5)  # a kind is drawn less often by its number to this power
    precision: str = one_of(("bf16", "fp32"), "bf16")
    strength: float = within(0.0, 1.0, 1.0)  # how far crops go towards another laboratory's colours, at most
    validate_every: int = within(1, 10**8, 1000)  # steps
    int8_crops: int = within(0, 10_000, 0)  # that an int8 network is calibrated on; 0: there is none
    loaders: int = within(0, 256, 1)  # processes that make crops
    network: Network = Network()
    arch: str = one_of(ARCHITECTURES, SMALL)
    freeze: str = one_of(("none", "backbone"), "none")
    weights: str = ""  # a file that the backbone begins with
    optimiser: str = one_of(("adamw", "adam", "adadelta", "sgd"), "adamw")
    schedule: str = one_of(("cosine", "constant"), "cosine")
    epochs: float = within(0.0, 1e5, 0.0)  # instead of steps: so many times as many crops as pictures to learn from
    augment: tuple[str, ...] = (LABORATORIES,)  # or switches of augment_study, by name or study
    split: str = one_of((GROUPS, PICTURES, AUGMENTED), GROUPS)
    shares: tuple[float, float, float] = within(0.01, 0.98, (0.7, 0.1, 0.2))  # learn, calibrate, hold out
    split_seed: int = within(0, 2**31, 0)
    copies: int = within(0, 1000, 0)  # augmented ones of each picture, before the split: with split = "augmented"

    def __post_init__(self) -> None:
        if not self.pictures:
            raise UsageError("no data: give at least one [[pictures]] table")
        if self.crop_px % STRIDE:
            raise UsageError(f"crop_px must be a multiple of {STRIDE}, not {self.crop_px}")
        if abs(sum(self.shares) - 1) > 1e-6:
            raise UsageError(f"shares must sum up to 1, not {sum(self.shares):g}")
        if self.augment != (LABORATORIES,):
            vector_of(self.augment)
        bodiless = self.arch == SMALL or self.arch.startswith(("crp-", "microcell"))
        if bodiless and (self.freeze != "none" or self.weights):
            raise UsageError(f"{self.arch} has no backbone to freeze or to begin with weights", cure="Leave that out")
        if self.split == AUGMENTED and self.augment == (LABORATORIES,):
            raise UsageError("copies before the split are made by a study's switches", cure='Set augment = ["small"]')
        if self.copies and self.split != AUGMENTED:
            raise UsageError("copies before the split leak", cure=f'Set split = "{AUGMENTED}" to say that it is meant')

    @property
    def size(self) -> ClassifierSize:
        """Return the network that is asked for."""
        return ClassifierSize(self.crop_px, self.network.channels, self.network.blocks)

    def table(self) -> dict[str, Any]:
        """Return the settings as plain values for JSON."""
        return asdict(self)


def read_settings(path: Path, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Return the checked settings of a TOML file; overrides win over it."""
    return settings_from_table({**read_table(path), **(overrides or {})}, path)


def settings_from_table(table: Mapping[str, Any], path: Path) -> Settings:
    """Return the checked settings of a table as TOML gives it; path is where it stands."""
    made: Settings = make(Settings, {"pictures": (), **table}, path)
    return made
